//! The checks of what one connection receives: each request is answered once, with a code, and pushes come in
//! order and without gaps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::auth::fuzzing::signed;
use crate::clock;
use crate::frame;
use crate::reject::Code;
use crate::testing::{Said, value};

/// How long a token is valid, in milliseconds.
const TOKEN_MS: u64 = 100_000;

/// Ids and positions that later lines of the script can refer to.
#[derive(Default)]
pub(super) struct Names {
    pub(super) mids: Vec<String>,
    pub(super) convs: Vec<String>,
    pub(super) next: String,
}

/// What the connection has received of a conversation since its last register.
#[derive(Default)]
struct Heard {
    last: u64,
    ts: u64,
    seqs: BTreeSet<u64>,
    /// The user joined or left the conversation in between, so that messages may be missing.
    moved: bool,
}

/// What a connection has asked for and received.
#[derive(Default)]
pub(super) struct Hearing {
    asked: BTreeMap<u64, usize>,
    requested: BTreeMap<String, isize>,
    uid: String,
    /// Whether a register requires a token.
    by_token: bool,
    /// The users whose tokens the client has sent.
    shown: BTreeSet<String>,
    heard: BTreeMap<String, Heard>,
    over: bool,
}

impl Hearing {
    /// `by_token` says whether a register requires a token.
    pub(super) fn new(by_token: bool) -> Self {
        Self {
            by_token,
            ..Self::default()
        }
    }

    /// Records the tokens in a line of the script.
    pub(super) fn shows(&mut self, line: &str) {
        let named = line.split("$t").skip(1);
        self.shown
            .extend(named.filter_map(|rest| Some(rest.get(..1)?.to_owned())));
    }

    /// Records a request with a callback, and returns the number of the callback.
    pub(super) fn asks(&mut self) -> u64 {
        let id = self.asked.len() as u64;
        self.asked.insert(id, 0);
        id
    }

    /// Records a request without a callback.
    pub(super) fn sends(&mut self, text: &str) {
        let req = match frame::decode(text) {
            Ok(frame) => frame.req,
            Err(wrong) => wrong.req,
        };
        if let Some(req) = req {
            *self.requested.entry(value(req.get()).to_string()).or_default() += 1;
        }
    }

    /// Checks what the connection has received.
    pub(super) fn hears(&mut self, said: Vec<Said>, names: &mut Names) {
        for said in said {
            assert!(!self.over, "received after the end: {said:?}");
            match said {
                Said::Ack(id, answer) => {
                    let count = self.asked.get_mut(&id).expect("only known callbacks are called");
                    *count += 1;
                    assert_eq!(*count, 1, "answered twice: {answer}");
                    self.answer(&answer, names);
                }
                Said::Frame(frame, _) => self.frame(&frame, names),
                Said::Away | Said::Cut | Said::Back => self.over = true,
            }
        }
    }

    fn frame(&mut self, frame: &Value, names: &mut Names) {
        if let Some(req) = frame.get("req") {
            let due = self.requested.entry(req.to_string()).or_default();
            *due -= 1;
            assert!(*due >= 0, "unexpected or repeated response: {frame}");
        }
        match frame["type"].as_u64() {
            Some(2 | 100 | 102 | 105 | 111) => self.answer(&frame["data"], names),
            Some(_) if frame.get("seq").is_some() => self.push(frame, names),
            Some(_) => assert!(frame["ts"].is_u64(), "{frame}"),
            None => panic!("a frame has a kind: {frame}"),
        }
    }

    fn answer(&mut self, answer: &Value, names: &mut Names) {
        let code = answer["code"].as_u64();
        let known = code == Some(0) || Code::ALL.iter().any(|known| code == Some(known.number().into()));
        assert!(known, "the response has no known code: {answer}");
        assert_ne!(code, Some(500), "{answer}");
        if code != Some(0) {
            let sentence = answer["error"].as_str();
            assert!(
                sentence.is_some_and(|text| text.ends_with(['.', '…'])),
                "the refusal has no sentence: {answer}"
            );
            return;
        }
        if answer.get("sid").is_some() {
            self.heard.clear();
            self.uid = answer["uid"].as_str().expect("a uid").to_owned();
            assert!(
                !self.by_token || self.shown.contains(&self.uid),
                "no token allows {answer}"
            );
        }
        names.hear(answer);
        if let (Some(conv), Some(seq)) = (answer["conv"].as_str(), answer["seq"].as_u64())
            && answer.get("duplicate").is_none()
        {
            self.heard.entry(conv.to_owned()).or_default().seqs.insert(seq);
        }
        if let Some(messages) = answer["messages"].as_array() {
            let seqs: Vec<_> = messages.iter().map(|message| message["seq"].as_u64()).collect();
            let follows = |step: i64| {
                let follow = |pair: &[Option<u64>]| match (pair[0], pair[1]) {
                    (Some(one), Some(next)) => one.checked_add_signed(step) == Some(next),
                    _ => false,
                };
                seqs.windows(2).all(follow)
            };
            assert!(follows(1) || follows(-1), "{seqs:?}");
            assert!(
                answer["head"].as_u64() >= seqs.iter().copied().max().flatten(),
                "{answer}"
            );
        }
    }

    fn push(&mut self, frame: &Value, names: &mut Names) {
        names.hear(frame);
        let conv = frame["conv"]
            .as_str()
            .expect("stored messages have a conversation");
        let (seq, ts) = (frame["seq"].as_u64(), frame["ts"].as_u64());
        let (Some(seq), Some(ts)) = (seq, ts) else {
            panic!("{frame}")
        };
        assert!(frame["mid"].is_string(), "{frame}");
        let heard = self.heard.entry(conv.to_owned()).or_default();
        assert!(
            seq > heard.last,
            "{seq} comes after {} in {conv}: {frame}",
            heard.last
        );
        assert!(ts >= heard.ts, "ts decreases: {frame}");
        (heard.last, heard.ts) = (seq, ts);
        heard.seqs.insert(seq);
        let membership = matches!(frame["type"].as_u64(), Some(16 | 17));
        heard.moved |= membership && frame["data"]["uid"] == *self.uid;
    }

    /// Checks that nothing is missing, after everything has come to rest.
    pub(super) fn rests(&self) {
        for (conv, heard) in &self.heard {
            if let (Some(first), Some(last), false) = (heard.seqs.first(), heard.seqs.last(), heard.moved) {
                assert_eq!(
                    last - first + 1,
                    heard.seqs.len() as u64,
                    "a gap in {conv}: {:?}",
                    heard.seqs
                );
            }
        }
        if self.over {
            return;
        }
        for (id, count) in &self.asked {
            assert_eq!(*count, 1, "callback {id}");
        }
        for (req, due) in &self.requested {
            assert_eq!(*due, 0, "req {req}");
        }
    }
}

impl Names {
    fn hear(&mut self, said: &Value) {
        if let (Some(mid), Some(conv)) = (said["mid"].as_str(), said["conv"].as_str())
            && self.mids.last().is_none_or(|last| last != mid)
        {
            self.mids.push(mid.to_owned());
            self.convs.push(conv.to_owned());
        }
        if let Some(next) = said["next"].as_str() {
            next.clone_into(&mut self.next);
        }
    }

    /// Records the ids in the response to a call: one message to a team, or one for each user.
    pub(super) fn hear_call(&mut self, answer: &Value) {
        self.hear(answer);
        for result in answer["results"].as_array().into_iter().flatten() {
            self.hear(result);
        }
    }

    /// Replaces `$m0`, `$c0` and `$n` in `text` by ids, and `$ta` by a token of the user `a`.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut parts = text.split('$');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let index = |part: &str| part.bytes().next().map(|digit| usize::from(digit % 10));
            let (names, rest) = match part.split_at_checked(1) {
                Some(("m", rest)) => (&self.mids, rest),
                Some(("c", rest)) => (&self.convs, rest),
                Some(("t", rest)) if rest.starts_with(|uid: char| uid.is_ascii_lowercase()) => {
                    let (uid, rest) = rest.split_at(1);
                    filled.push_str(&signed(uid, clock::unix_millis() + TOKEN_MS));
                    filled.push_str(rest);
                    continue;
                }
                Some(("n", rest)) => {
                    filled.push_str(&self.next);
                    filled.push_str(rest);
                    continue;
                }
                _ => {
                    filled.push('$');
                    filled.push_str(part);
                    continue;
                }
            };
            match (
                index(rest).and_then(|index| names.get(index)),
                rest.split_at_checked(1),
            ) {
                (Some(name), Some((_, rest))) => {
                    filled.push_str(name);
                    filled.push_str(rest);
                }
                _ => filled.push_str(rest),
            }
        }
        filled
    }
}

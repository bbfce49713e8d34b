//! After kill -9 at any moment, everything that was answered is there.
//!
//! The test runs itself as a child process that appends messages and prints the answered ones, kills it, and
//! checks the store that it left.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mynah_store::ids::{ConvId, Mid, Seq};
use mynah_store::{Span, Store, TeamChange};

use super::kit::{page, pair, to_team, uid, uids};
use crate::{Embedded, Options};

/// The variable that tells the child where the store is.
const DIRECTORY: &str = "MYNAH_TEST_KILL_DIRECTORY";
const CONVERSATIONS: usize = 7;

/// The child process, which never ends by itself.
#[test]
#[ignore = "is the child process of the test below"]
fn child() {
    let Some(path) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = Embedded::open(Options::new(PathBuf::from(path))).unwrap();
    store.change_team(
        super::kit::team_id("t"),
        TeamChange::Put {
            name: "T".into(),
            members: uids(&["a", "b"]),
        },
        Box::new(|told| drop(told.unwrap())),
    );
    let out = Arc::new(parking_lot::Mutex::new(std::io::stdout()));
    // As many messages are in flight as the channel holds.
    let (begun, done) = std::sync::mpsc::sync_channel(64);
    let done = Arc::new(parking_lot::Mutex::new(done));
    for number in 0.. {
        let order = match number % CONVERSATIONS {
            0 => to_team("a", "t"),
            other => pair("a", &format!("b{other}")),
        };
        let (out, done) = (out.clone(), done.clone());
        begun.send(()).unwrap();
        let told = move |told: Result<mynah_store::Appended, _>| {
            let told = told.unwrap();
            // One write for each line, so that a kill in the middle of a line is noticed.
            let line = format!(
                "ack {} {} {} {}\n",
                told.conv,
                told.seq,
                told.mid,
                told.push.is_some()
            );
            out.lock().write_all(line.as_bytes()).unwrap();
            done.lock().recv().unwrap();
        };
        store.append(&mut std::iter::once((Arc::new(order), Box::new(told) as _)));
    }
}

#[tokio::test]
async fn answered_messages_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked: HashMap<(ConvId, Seq), Mid> = HashMap::new();
    let mut epochs = HashSet::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "tests::kill::child"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // When this number of lines was printed, the child may be doing anything.
        let enough = 100 + round * 777;
        let (mut line, mut seen) = (String::new(), 0);
        while lines.read_line(&mut line).unwrap() > 0 {
            if line.ends_with('\n')
                && let [_, conv, seq, mid, push] = line.split(' ').collect::<Vec<_>>()[..]
                && line.contains("ack ")
            {
                assert_eq!(push.trim(), "true");
                let key = (ConvId::parse(conv).unwrap(), Seq(seq.parse().unwrap()));
                assert_eq!(
                    acked.insert(key, Mid::parse(mid).unwrap()),
                    None,
                    "acknowledged once"
                );
                seen += 1;
            }
            if seen == enough {
                child.kill().unwrap();
            }
            line.clear();
        }
        child.wait().unwrap();
        assert!(seen >= enough, "the child ended by itself after {seen}");
        epochs.insert(check(dir.path(), &acked).await);
        assert_eq!(epochs.len(), 1, "it is the same history");
    }
}

/// Checks that every answered message is there with its job, and that none before it is missing. Returns the
/// epoch.
async fn check(path: &std::path::Path, acked: &HashMap<(ConvId, Seq), Mid>) -> String {
    let store = Embedded::open(Options::new(path)).unwrap();
    let mut found = HashMap::new();
    for line in store
        .conversations(uid("a"), None, None, page(500))
        .await
        .unwrap()
        .conversations
    {
        let mut after = Seq(0);
        loop {
            let page = store
                .history(line.conv, None, Span::After(after), page(500))
                .await
                .unwrap();
            assert_eq!(page.head, line.head);
            for message in page.messages {
                assert_eq!(message.seq, Seq(after.0 + 1), "no gap");
                after = message.seq;
                found.insert((line.conv, message.seq), message.mid);
            }
            if !page.more {
                break;
            }
        }
        assert_eq!(after, line.head);
    }
    for (key, mid) in acked {
        assert_eq!(found.get(key), Some(mid), "{key:?}");
    }
    let counts = store.job_counts().await.unwrap();
    assert_eq!(counts.waiting, found.len() as u64, "one job for each message");
    store.close().await;
    store.epoch().to_owned()
}

//! The polling transport: GET waits for packets, POST brings them.
//!
//! Invariant: at most one GET and one POST of a session are under way; a second one ends the session.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::{Request, Response, StatusCode, header};
use mynah_wire::engine::payload::{self, GetForm, PostForm, Reader, TextHabit};
use mynah_wire::engine::{CloseReason, HttpError, Packet, PacketType, Protocol, Reads, Transport};
use tokio::sync::oneshot;

use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::front::admission::Held;
use crate::front::body::Body;
use crate::front::listener::{AwaitBehind, Behind, RequestBody};
use crate::front::refusals::Refusal;
use crate::http;
use crate::pending::{Answer, Goodbye, Post};
use crate::session::{Session, State};

/// While a WebSocket takes over, a GET is ended after this long (as Node's server does).
const UPGRADING_GET: Duration = Duration::from_millis(100);

/// Tells the client, as far as polling can, that the session is over. True when the next GET has to be waited for.
pub(crate) fn leave(session: &Session, closing: Closing) -> bool {
    let mut state = session.state();
    if let Closing::Now(_) = closing {
        state.clear_queue();
    }
    state.end();
    let queued = state.has_queued();
    let Some(poll) = &mut state.poll else { return false };
    match closing.reason() {
        CloseReason::ClientClose => {
            poll.answer(Answer::Noop);
            false
        }
        CloseReason::SentAway => {
            poll.goodbye = Some(Goodbye::ClosePacket);
            // A GET that waits fetches what is queued; the next one is told.
            poll.answer(if queued { Answer::Fetch } else { Answer::Close });
            true
        }
        // With the session goes the GET that waits: it is refused.
        reason if reason.wants_reconnect() => {
            if queued {
                poll.goodbye = Some(Goodbye::Rest);
                poll.answer(Answer::Fetch);
            }
            queued
        }
        _ => {
            poll.answer(Answer::Close);
            false
        }
    }
}

/// Its packets, being handled; while they wait for a handler, the body is kept as it came.
pub(crate) struct Posted {
    /// None when the body is none.
    reader: Option<Reader>,
    _held: Held,
    done: oneshot::Sender<bool>,
}

impl Posted {
    pub(crate) fn read(post: Post, session: &Session, habit: &mut TextHabit) -> Self {
        Self {
            reader: Reader::new(session.protocol(), post.form, post.body, habit).ok(),
            _held: post.held,
            done: post.done,
        }
    }

    pub(crate) fn next_packet(&mut self) -> Option<Packet<'_>> {
        self.reader.as_mut()?.next_packet()
    }

    /// All packets have been handled; a reason closes the session.
    pub(crate) fn finish(self, session: &Session) -> Option<CloseReason> {
        session.state().posting = false;
        let valid = self.reader.is_some();
        // The request may be gone; its packets have been handled all the same.
        let _ = self.done.send(valid);
        (!valid).then_some(CloseReason::ParseError)
    }

    /// The session ended before all packets were handled.
    pub(crate) fn abandon(self, reason: CloseReason) {
        let _ = self
            .done
            .send(self.reader.is_some() && reason != CloseReason::ParseError);
    }
}

/// Ends the session when a GET is given up by its client before it was answered.
struct Waiting<'a>(Option<&'a Session>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // One that is given up while a WebSocket takes over is no loss.
        if let Some(session) = self.0
            && session.transport() == Transport::Polling
        {
            session.close(Closing::Now(CloseReason::TransportClose));
        }
    }
}

/// Lets the next POST come once this one is given up, or its packets have been handled.
struct Posting<'a>(Option<&'a Session>);

impl<'a> Posting<'a> {
    /// None when another POST is under way.
    fn begin(session: &'a Session) -> Option<Self> {
        let first = !std::mem::replace(&mut session.state().posting, true);
        first.then_some(Self(Some(session)))
    }

    /// Gives the body to the session's task, which ends it.
    fn hand_over(mut self, state: &mut State, post: Post) {
        self.0 = None;
        state.post = Some(Box::new(post));
        state.wake_driver();
    }
}

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.state().posting = false;
        }
    }
}

/// What a GET learns when it comes.
enum Arrival {
    Packets(Vec<Outgoing>),
    Waits(oneshot::Receiver<Answer>, bool),
    Overlaps,
    Ended,
}

fn arrive(session: &Session) -> Arrival {
    session.hear(session.now());
    let mut state = session.state();
    let over = state.ended;
    let queued = state.has_queued();
    let Some(poll) = &mut state.poll else {
        return Arrival::Ended;
    };
    if over && poll.goodbye.is_none() {
        return Arrival::Ended;
    }
    if poll.is_waiting() {
        return Arrival::Overlaps;
    }
    if over || queued {
        return Arrival::Packets(fetch_locked(&mut state));
    }
    Arrival::Waits(poll.wait(), poll.upgrading)
}

/// Takes what is queued; of a session that is over the close packet, if there is one, once nothing is queued:
/// clients from 3.0 handle a close before the events and disconnects that stand in front of it in the same
/// payload.
fn fetch_locked(state: &mut State) -> Vec<Outgoing> {
    let mut packets = state.drain();
    let said = match state.poll.as_ref().and_then(|poll| poll.goodbye) {
        Some(Goodbye::Rest) => true,
        Some(Goodbye::ClosePacket) if packets.is_empty() => {
            packets.push(Outgoing::control(PacketType::Close));
            true
        }
        _ => false,
    };
    if said {
        state.poll = None;
        state.wake_driver();
    }
    if packets.is_empty() {
        // A WebSocket has taken over in the meantime, and with it what was queued.
        packets.push(Outgoing::control(PacketType::Noop));
    }
    packets.collect()
}

/// Answers a GET of a session on polling. Another request that comes `behind` it on the same connection ends the waiting: it is handled
/// only when this one has been answered, and may be the POST that the client's next packets depend on. If the
/// client ends its direction of the connection while its GET waits, it has gone: a client that was closed looks
/// the same, and there are many more of those.
pub(crate) async fn get(
    session: &Session,
    request: &http::PollRequest,
    behind: AwaitBehind,
) -> Response<Body> {
    let packets = match arrive(session) {
        Arrival::Ended => return http::refuse(HttpError::SessionUnknown),
        Arrival::Overlaps => {
            session.close(Closing::Now(CloseReason::TransportError));
            return http::refuse(HttpError::BadRequest);
        }
        Arrival::Packets(packets) => packets,
        Arrival::Waits(receiver, upgrading) => {
            let mut waiting = Waiting(Some(session));
            let answer = tokio::select! {
                biased;
                answer = receiver => answer,
                behind = behind => match behind {
                    Behind::Bytes => Ok(Answer::Noop),
                    Behind::End => return http::refuse(HttpError::SessionUnknown),
                },
                () = tokio::time::sleep(UPGRADING_GET), if upgrading => Ok(Answer::Noop),
            };
            waiting.0 = None;
            match answer {
                Ok(Answer::Fetch) => fetch_locked(&mut session.state()),
                Ok(Answer::Noop) => vec![Outgoing::control(PacketType::Noop)],
                Ok(Answer::Close) => {
                    let mut state = session.state();
                    state.poll = None;
                    state.wake_driver();
                    vec![Outgoing::control(PacketType::Close)]
                }
                // By JSONP there are browsers only, which reconnect after a close packet too; those of 1.0 and
                // 1.1 cannot handle a refusal.
                Err(_) if request.jsonp.is_some() => vec![Outgoing::control(PacketType::Close)],
                Err(_) => return http::refuse(HttpError::SessionUnknown),
            }
        }
    };
    answer(session, request, &packets)
}

/// Renders packets as the answer to a GET.
pub(crate) fn answer(session: &Session, request: &http::PollRequest, packets: &[Outgoing]) -> Response<Body> {
    let (server, protocol) = (session.server(), session.protocol());
    let form = match (request.jsonp, session.dialect().reads) {
        (Some(j), _) => GetForm::Jsonp(j),
        (None, Reads::Both) => GetForm::Binary,
        (None, Reads::Octets) => GetForm::Octets,
        (None, Reads::Text) => GetForm::Text,
    };
    let packets: Vec<_> = packets.iter().map(Outgoing::packet).collect();
    let ascii = server.json_texts && protocol == Protocol::V3;
    let (body, content_type) = payload::encode(protocol, form, ascii, &packets);
    let response = http::payload(
        body,
        content_type,
        request.encoding,
        server.config.http_compression_bytes,
        session.nothing_held(),
    );
    response.unwrap_or_else(|| {
        // What was queued is lost with this answer.
        session.close(Closing::Now(CloseReason::SlowReader));
        session.refuse_memory();
        http::too_much_held()
    })
}

/// Why a body was not taken.
enum NoBody {
    TooLarge,
    Broken,
    /// A bound on what is held is in the way.
    Memory,
}

/// Copies a body into memory of its own, because each of hyper's parts may keep a whole buffer alive. The
/// bytes are counted by `held` as they arrive.
async fn take(mut body: RequestBody, most: usize, held: &mut Held) -> Result<Vec<u8>, NoBody> {
    // If the length is announced, hyper does not give out more than that.
    let whole = body
        .size_hint()
        .upper()
        .map_or(most, |bytes| most.min(bytes as usize));
    let mut taken = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| NoBody::Broken)?;
        let Some(part) = frame.data_ref() else { continue };
        let length = taken.len() + part.len();
        if length > most {
            return Err(NoBody::TooLarge);
        }
        if length > taken.capacity() {
            let wanted = (2 * taken.capacity()).min(whole).max(length);
            if !held.resize(wanted) {
                return Err(NoBody::Memory);
            }
            taken.reserve_exact(wanted - taken.len());
        }
        taken.extend_from_slice(part);
    }
    taken.shrink_to_fit();
    Ok(taken)
}

/// Answers a POST of a session on polling.
pub(crate) async fn post(session: &Session, request: Request<RequestBody>) -> Response<Body> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|v| v.as_bytes())
        .unwrap_or_default();
    let octets = content_type.starts_with(b"application/octet-stream");
    let jsonp = content_type.starts_with(b"application/x-www-form-urlencoded");
    let form = match session.protocol() {
        Protocol::V4 if octets => {
            session.close(Closing::Now(CloseReason::TransportError));
            return http::refuse(HttpError::BadRequest);
        }
        Protocol::V3 if octets => PostForm::Binary,
        _ if jsonp && http::PollRequest::new(&request).jsonp.is_some() => PostForm::Jsonp,
        _ => PostForm::Text,
    };
    let Some(posting) = Posting::begin(session) else {
        session.close(Closing::Now(CloseReason::TransportError));
        return http::refuse(HttpError::BadRequest);
    };
    let config = &session.server().config;
    let mut held = session.nothing_held();
    let body = take(request.into_body(), config.max_payload_bytes, &mut held);
    // The client's next heartbeat stands behind this body, so that it could not live longer anyway.
    let patience = u64::from(config.ping_interval_ms) + 2 * u64::from(config.ping_timeout_ms);
    let body = match tokio::time::timeout(Duration::from_millis(patience), body).await {
        Ok(Ok(body)) => body,
        Ok(Err(NoBody::TooLarge)) => {
            return http::text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than maxPayload\n",
            );
        }
        Ok(Err(NoBody::Memory)) => {
            session.refuse_memory();
            return http::too_much_held();
        }
        Ok(Err(NoBody::Broken)) => return http::refuse(HttpError::BadRequest),
        Err(_) => {
            config
                .admission
                .refuse(Refusal::BodyTimeout, session.address().ip());
            return http::empty(StatusCode::REQUEST_TIMEOUT);
        }
    };
    let (done, handled) = oneshot::channel();
    {
        // Both happen under one lock: a body that is stored after the session's end would never be read.
        let mut state = session.state();
        match &state.poll {
            // The next GET learns of the end. A POST that fails would look like the loss of the connection, and the client come back.
            Some(poll) if poll.goodbye.is_some() => return http::ok(),
            _ if state.ended => return http::refuse(HttpError::SessionUnknown),
            _ => {
                let post = Post {
                    form,
                    body,
                    held,
                    done,
                };
                posting.hand_over(&mut state, post);
            }
        }
    }
    if handled.await.unwrap_or(false) {
        http::ok()
    } else {
        http::refuse(HttpError::BadRequest)
    }
}

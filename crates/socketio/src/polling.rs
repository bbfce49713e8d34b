//! The polling transport: GET requests wait for packets, and POST requests bring them.
//!
//! Invariant: at most one GET and one POST of a session are in progress; a second one ends the session.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::{Request, Response, StatusCode, header};
use mynah_front::{Behind, Body, Held, Refusal, RequestBody};
use mynah_wire::engine::payload::{self, GetForm, PostForm, Reader, TextHabit};
use mynah_wire::engine::{CloseReason, HttpError, Packet, PacketType, Protocol, Reads, Transport};
use tokio::sync::oneshot;

use crate::closing::Closing;
use crate::encoded::Outgoing;
use crate::http;
use crate::pending::{Goodbye, PollAnswer, Post};
use crate::session::{Session, SessionState};

/// While a WebSocket probes, a GET is ended after this time, as in Node's server.
const UPGRADING_GET: Duration = Duration::from_millis(100);

/// Tells the client that the session has ended, as far as polling can. Returns true if this has to wait for
/// the next GET.
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
            poll.answer(PollAnswer::Noop);
            false
        }
        CloseReason::DisconnectedForGood => {
            poll.goodbye = Some(Goodbye::ClosePacket);
            // A pending GET fetches the queued packets, and the next one is told of the end.
            poll.answer(if queued {
                PollAnswer::Fetch
            } else {
                PollAnswer::Close
            });
            true
        }
        // If nothing is queued, the caller drops the pending GET, which is then refused.
        reason if reason.wants_reconnect() => {
            if queued {
                poll.goodbye = Some(Goodbye::Rest);
                poll.answer(PollAnswer::Fetch);
            }
            queued
        }
        _ => {
            poll.answer(PollAnswer::Close);
            false
        }
    }
}

/// The packets of a body. While they wait for a handler, the body is kept unchanged.
pub(crate) struct Posted {
    /// `None` if the body is invalid.
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

    /// All packets have been handled. A result closes the session.
    pub(crate) fn finish(self, session: &Session) -> Option<CloseReason> {
        session.state().posting = false;
        let valid = self.reader.is_some();
        // The request may have been cancelled; its packets have been handled anyway.
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

/// Ends the session if its client gives up a GET before it was answered.
struct Waiting<'a>(Option<&'a Session>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // After an upgrade, giving up a GET does not end the session.
        if let Some(session) = self.0
            && session.transport() == Transport::Polling
        {
            session.close(Closing::Now(CloseReason::TransportClose));
        }
    }
}

/// Allows the next POST when this one is given up, or when its packets have been handled.
struct Posting<'a>(Option<&'a Session>);

impl<'a> Posting<'a> {
    /// `None` if another POST is in progress.
    fn begin(session: &'a Session) -> Option<Self> {
        let first = !std::mem::replace(&mut session.state().posting, true);
        first.then_some(Self(Some(session)))
    }

    /// Passes the body to the session's task, which then allows the next POST.
    fn hand_over(mut self, state: &mut SessionState, post: Post) {
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

/// How a GET finds the session.
enum Arrival {
    Packets(Vec<Outgoing>),
    Waits(oneshot::Receiver<PollAnswer>, bool),
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

/// Takes the queued packets. If the session has ended and nothing is queued, takes the close packet, if there
/// is one: clients from 3.0 handle a close packet before the events and disconnects that precede it in the
/// same payload.
fn fetch_locked(state: &mut SessionState) -> Vec<Outgoing> {
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
        // A WebSocket became the transport in the meantime, and took the queued packets.
        packets.push(Outgoing::control(PacketType::Noop));
    }
    packets.collect()
}

/// Answers a GET of a session on polling.
///
/// Another request that arrives `behind` it on the same HTTP connection ends the waiting: that request is
/// handled only after this one is answered, and may be the POST on which the client's next packets depend. If
/// the client ends its direction of the connection while its GET is pending, it counts as disconnected: a
/// client that was closed looks the same, and is much more common.
pub(crate) async fn get(
    session: &Session,
    request: &http::PollRequest,
    behind: impl Future<Output = Behind>,
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
                    Behind::Bytes => Ok(PollAnswer::Noop),
                    Behind::End => return http::refuse(HttpError::SessionUnknown),
                },
                () = tokio::time::sleep(UPGRADING_GET), if upgrading => Ok(PollAnswer::Noop),
            };
            waiting.0 = None;
            match answer {
                Ok(PollAnswer::Fetch) => fetch_locked(&mut session.state()),
                Ok(PollAnswer::Noop) => vec![Outgoing::control(PacketType::Noop)],
                Ok(PollAnswer::Close) => {
                    let mut state = session.state();
                    state.poll = None;
                    state.wake_driver();
                    vec![Outgoing::control(PacketType::Close)]
                }
                // Only browsers use JSONP, and they reconnect after a close packet too. Those of 1.0 and 1.1
                // cannot handle an error.
                Err(_) if request.jsonp.is_some() => vec![Outgoing::control(PacketType::Close)],
                Err(_) => return http::refuse(HttpError::SessionUnknown),
            }
        }
    };
    answer(session, request, &packets)
}

/// Writes packets as the response to a GET.
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
        // The packets are lost with this response.
        session.close(Closing::Now(CloseReason::SlowReader));
        session.refuse_memory();
        http::too_much_held()
    })
}

/// Why a body was refused.
enum NoBody {
    TooLarge,
    Broken,
    /// A limit of buffered bytes is reached.
    Memory,
}

/// Copies a body into memory of its own, because each of hyper's parts may keep a whole buffer alive. `held`
/// counts the bytes as they arrive.
async fn take(mut body: RequestBody, most: usize, held: &mut Held) -> Result<Vec<u8>, NoBody> {
    // If the length is announced, hyper returns at most that.
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
    // The client's next heartbeat is sent after this body, so the session could not live longer anyway.
    let patience = u64::from(config.ping_interval_ms) + 2 * u64::from(config.ping_timeout_ms);
    let body = match tokio::time::timeout(Duration::from_millis(patience), body).await {
        Ok(Ok(body)) => body,
        Ok(Err(NoBody::TooLarge)) => {
            return http::text(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is larger than maxPayload.\n",
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
        // Check and store under one lock: a body that is stored after the session's end would never be read.
        let mut state = session.state();
        match &state.poll {
            // The next GET is told of the end. If this POST failed, the client would take the connection for
            // lost, and reconnect.
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

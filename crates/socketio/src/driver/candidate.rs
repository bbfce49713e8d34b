//! The upgrade of a session from polling to a WebSocket.

use std::task::{Context, Poll};

use mynah_wire::engine::{CandidateStep, Packet, Time, Transport};
use mynah_wire::ws;

use super::{Driver, Moved, Stage};
use crate::encoded::Outgoing;
use crate::pending::PollAnswer;
use crate::websocket::WebSocket;

impl Driver {
    pub(super) fn try_candidate(&mut self, websocket: Box<WebSocket>) {
        let server = self.session.server();
        if self.engine.candidate(&server.times, server.now()) {
            self.candidate = Some(websocket);
        } else {
            websocket.finish(self.session.server(), self.session.address().ip(), None);
        }
    }

    pub(super) fn drop_candidate(&mut self) {
        self.engine.candidate_lost();
        self.session.state().set_upgrading(false);
        if let Some(websocket) = self.candidate.take() {
            websocket.finish(self.session.server(), self.session.address().ip(), None);
        }
    }

    pub(super) fn read_candidate(&mut self, cx: &mut Context<'_>, now: Time) -> Moved {
        // If the end of the session waits for the candidate, it is read although a handler is busy: messages
        // after it are ignored.
        let waits = self.is_busy() && !self.ending;
        if waits || !matches!(self.stage, Stage::Open) {
            return false;
        }
        let Some(mut websocket) = self.candidate.take() else {
            return false;
        };
        let protocol = self.session.protocol();
        // Reads only one packet: those after the one that makes the candidate the transport are read by the
        // transport.
        let mut came = None;
        let read = websocket.poll_messages(cx, |message| {
            came = match message {
                ws::Message::Text(text) => {
                    Some(Packet::decode_text(protocol, text).ok().map(Packet::into_owned))
                }
                ws::Message::Ping(_) | ws::Message::Pong(_) => return Poll::Pending,
                ws::Message::Binary(_) | ws::Message::Close(_) => Some(None),
            };
            Poll::Ready(())
        });
        let websocket = self.candidate.insert(websocket);
        if let Some(packet) = &came {
            let server = self.session.server();
            let step = match packet {
                Some(packet) => {
                    self.session.hear(now);
                    self.engine.handle_candidate(&server.times, now, packet)
                }
                None => CandidateStep::Drop,
            };
            match step {
                CandidateStep::SendProbePong => {
                    websocket.push(Outgoing::added(ws::frame(ws::Opcode::Text, b"3probe")));
                    self.session.state().set_upgrading(true);
                }
                CandidateStep::Switch => return self.switch(),
                CandidateStep::Drop => {
                    self.drop_candidate();
                    return true;
                }
            }
        }
        let written = websocket.poll_write(cx, &mut 0);
        if matches!(read, Poll::Ready(Err(_))) || matches!(written, Poll::Ready(Err(_))) {
            self.drop_candidate();
            return true;
        }
        came.is_some()
    }

    fn switch(&mut self) -> Moved {
        self.websocket = self.candidate.take().map(|websocket| *websocket);
        let mut state = self.session.state();
        state.transport = Transport::WebSocket;
        if let Some(mut poll) = state.poll.take() {
            poll.answer(PollAnswer::Noop);
        }
        true
    }
}

use mynah_wire::engine::{
    CloseReason, Packet, PacketType, Protocol, SessionMachine, Step, Time, TimeoutStep, Transport,
};

use super::pair::{Pair, TIMES};

const BOTH: [Transport; 2] = [Transport::Polling, Transport::WebSocket];

#[test]
fn a_v4_client_that_answers_pings_stays_connected() {
    for transport in BOTH {
        let mut pair = Pair::new(Protocol::V4, transport);
        assert_eq!(pair.pass(299), []);
        assert_eq!(pair.pass(1), [TimeoutStep::SendPing]);
        assert_eq!(pair.pass(30_000), vec![TimeoutStep::SendPing; 100]);
        assert_eq!(pair.session.is_closed(), None);
    }
}

#[test]
fn a_v4_client_that_does_not_answer_pings_is_closed() {
    for transport in BOTH {
        let mut pair = Pair::new(Protocol::V4, transport);
        pair.client_alive = false;
        assert_eq!(pair.pass(499), [TimeoutStep::SendPing]);
        assert_eq!(pair.pass(1), [TimeoutStep::Close(CloseReason::PingTimeout)]);
        assert_eq!(pair.session.is_closed(), Some(CloseReason::PingTimeout));
        assert_eq!(pair.session.poll_timeout(), None);
        assert_eq!(pair.pass(1_000), []);
    }
}

#[test]
fn only_the_first_other_packet_after_a_ping_moves_the_deadline_of_the_pong() {
    let mut pair = Pair::new(Protocol::V4, Transport::WebSocket);
    pair.client_alive = false;
    pair.pass(450);
    for text in ["4a", "4b"] {
        pair.client_sends(Transport::WebSocket, text);
        pair.deliver();
    }
    assert_eq!(pair.pass(150), [], "the first message arrived at 450");
    pair.client_sends(Transport::WebSocket, "4c");
    pair.deliver();
    assert_eq!(pair.pass(49), []);
    assert_eq!(pair.pass(1), [TimeoutStep::Close(CloseReason::PingTimeout)]);
    assert_eq!(pair.server_heard, ["a", "b", "c"]);
}

#[test]
fn messages_do_not_delay_the_next_v4_ping() {
    let mut pair = Pair::new(Protocol::V4, Transport::WebSocket);
    for _ in 0..29 {
        assert_eq!(pair.pass(10), []);
        pair.client_sends(Transport::WebSocket, "4x");
        pair.deliver();
    }
    assert_eq!(pair.pass(10), [TimeoutStep::SendPing]);
}

#[test]
fn an_unsolicited_pong_restarts_the_interval() {
    let mut pair = Pair::new(Protocol::V4, Transport::WebSocket);
    pair.pass(200);
    pair.client_sends(Transport::WebSocket, "3");
    pair.deliver();
    assert_eq!(pair.pass(299), []);
    assert_eq!(pair.pass(1), [TimeoutStep::SendPing]);
}

#[test]
fn a_v3_client_that_pings_stays_connected() {
    for transport in BOTH {
        let mut pair = Pair::new(Protocol::V3, transport);
        assert_eq!(pair.pass(30_000), [], "the server sends no ping of its own");
        assert_eq!(pair.session.is_closed(), None);
    }
}

#[test]
fn the_pong_for_a_v3_ping_has_no_body() {
    for body in ["", "probe", "anything"] {
        let mut session = SessionMachine::new(Protocol::V3, Transport::WebSocket, &TIMES, Time(0));
        let step = session.handle(&TIMES, Time(1), &Packet::text(PacketType::Ping, body));
        assert_eq!(step, Step::SendPong);
    }
}

#[test]
fn a_silent_v3_client_is_closed_after_interval_and_timeout() {
    for transport in BOTH {
        let mut pair = Pair::new(Protocol::V3, transport);
        pair.client_alive = false;
        assert_eq!(pair.pass(400), []);
        pair.client_sends(transport, "4still here");
        pair.deliver();
        assert_eq!(pair.pass(499), []);
        assert_eq!(pair.pass(1), [TimeoutStep::Close(CloseReason::PingTimeout)]);
    }
}

#[test]
fn a_heartbeat_in_the_wrong_direction_is_an_error() {
    for (protocol, kind) in [(Protocol::V4, PacketType::Ping), (Protocol::V3, PacketType::Pong)] {
        let mut session = SessionMachine::new(protocol, Transport::WebSocket, &TIMES, Time(0));
        let step = session.handle(&TIMES, Time(1), &Packet::text(kind, ""));
        assert_eq!(step, Step::Close(CloseReason::TransportError));
        assert_eq!(session.is_closed(), Some(CloseReason::TransportError));
    }
}

#[test]
fn a_late_timer_does_not_move_the_deadline_of_the_pong() {
    let mut session = SessionMachine::new(Protocol::V4, Transport::WebSocket, &TIMES, Time(0));
    assert_eq!(session.handle_timeout(&TIMES, Time(315)), TimeoutStep::SendPing);
    assert_eq!(session.poll_timeout(), Some(Time(500)));
}

#[test]
fn a_clock_jump_does_not_close_the_session_before_a_ping_and_its_timeout() {
    let mut session = SessionMachine::new(Protocol::V4, Transport::WebSocket, &TIMES, Time(0));
    let late = Time(1_000_000);
    assert_eq!(session.handle_timeout(&TIMES, late), TimeoutStep::SendPing);
    assert_eq!(session.handle_timeout(&TIMES, late), TimeoutStep::Nothing);
    assert_eq!(
        session.poll_timeout(),
        Some(late.after(TIMES.ping_timeout * 7 / 8))
    );
}

#[test]
fn a_passed_deadline_can_be_postponed() {
    for (protocol, due) in [(Protocol::V4, 500), (Protocol::V3, 500)] {
        let mut session = SessionMachine::new(protocol, Transport::WebSocket, &TIMES, Time(0));
        while session.handle_timeout(&TIMES, Time(300)) != TimeoutStep::Nothing {}
        session.postpone_deadlines(&TIMES, Time(due - 1));
        assert_eq!(
            session.poll_timeout(),
            Some(Time(due)),
            "the deadline has not passed yet"
        );
        session.postpone_deadlines(&TIMES, Time(due));
        assert_eq!(session.handle_timeout(&TIMES, Time(due)), TimeoutStep::Nothing);
        let put_off = Time(due).after(TIMES.ping_timeout);
        assert_eq!(
            session.handle_timeout(&TIMES, put_off),
            TimeoutStep::Close(CloseReason::PingTimeout)
        );
    }
}

#[test]
fn a_session_is_small() {
    assert!(
        size_of::<SessionMachine>() <= 64,
        "{}",
        size_of::<SessionMachine>()
    );
}

use mynah_wire::engine::{
    CandidateStep, CloseReason, Packet, PacketType, Protocol, SessionMachine, Step, Time, TimeoutStep,
    Transport,
};

use super::pair::{Pair, TIMES};

use Transport::{Polling, WebSocket};

#[test]
fn a_close_packet_ends_the_session() {
    for protocol in [Protocol::V3, Protocol::V4] {
        for transport in [Polling, WebSocket] {
            let mut pair = Pair::new(protocol, transport);
            pair.client_sends(transport, "4last words");
            pair.client_sends(transport, "1");
            pair.client_sends(transport, "4too late");
            pair.deliver();
            assert_eq!(pair.session.is_closed(), Some(CloseReason::ClientClose));
            assert_eq!(pair.server_heard, ["last words"]);
        }
    }
}

#[test]
fn an_invalid_packet_ends_the_session() {
    for wrong in ["", "7", "hello", "b!"] {
        let mut pair = Pair::new(Protocol::V4, WebSocket);
        pair.client_sends(WebSocket, wrong);
        pair.deliver();
        assert_eq!(
            pair.session.is_closed(),
            Some(CloseReason::ParseError),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_close_packet_during_the_upgrade_closes_the_candidate_too() {
    for probe in [false, true] {
        let mut pair = Pair::new(Protocol::V4, Polling);
        assert!(pair.open_candidate());
        if probe {
            pair.client_sends(WebSocket, "2probe");
        }
        pair.client_sends(Polling, "1");
        pair.client_sends(WebSocket, "5");
        pair.deliver();
        assert_eq!(pair.session.is_closed(), Some(CloseReason::ClientClose));
        assert_eq!(pair.session.transport(), Polling);
        assert!(pair.websocket.closed);
        assert!(!pair.session.is_upgrading());
        assert_eq!(pair.pass(10_000), []);
    }
}

#[test]
fn the_first_close_reason_is_kept() {
    let mut session = SessionMachine::new(Protocol::V4, WebSocket, &TIMES, Time(0));
    session.close(CloseReason::SlowReader);
    session.close(CloseReason::TransportClose);
    assert_eq!(session.is_closed(), Some(CloseReason::SlowReader));
    assert_eq!(session.is_closed().map(CloseReason::as_str), Some("slow reader"));
}

#[test]
fn a_closed_session_ignores_packets() {
    let mut session = SessionMachine::new(Protocol::V3, Polling, &TIMES, Time(0));
    assert!(session.candidate(&TIMES, Time(0)));
    session.close(CloseReason::ServerClose);
    for kind in PacketType::ALL {
        let packet = Packet::text(kind, "probe");
        assert_eq!(session.handle(&TIMES, Time(1), &packet), Step::Nothing);
        assert_eq!(
            session.handle_candidate(&TIMES, Time(1), &packet),
            CandidateStep::Drop
        );
    }
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(
        session.handle_timeout(&TIMES, Time(u64::MAX)),
        TimeoutStep::Nothing
    );
}

#[test]
fn packets_that_only_servers_send_are_ignored() {
    for kind in [PacketType::Open, PacketType::Upgrade, PacketType::Noop] {
        let mut session = SessionMachine::new(Protocol::V4, WebSocket, &TIMES, Time(0));
        assert_eq!(
            session.handle(&TIMES, Time(1), &Packet::text(kind, "{}")),
            Step::Nothing
        );
        assert_eq!(session.is_closed(), None);
    }
}

use mynah_wire::engine::{
    CandidateStep, CloseReason, Packet, PacketType, Protocol, SessionMachine, Time, TimeoutStep, Transport,
};

use super::pair::{Pair, TIMES};

use Transport::{Polling, WebSocket};

const BOTH: [Protocol; 2] = [Protocol::V3, Protocol::V4];

fn upgraded(protocol: Protocol) -> Pair {
    let mut pair = Pair::new(protocol, Polling);
    assert!(pair.open_candidate());
    pair.client_sends(WebSocket, "2probe");
    pair.client_sends(WebSocket, "5");
    pair.deliver();
    assert_eq!(pair.session.transport(), WebSocket);
    pair
}

#[test]
fn a_session_upgrades_after_a_probe_and_an_upgrade_packet() {
    for protocol in BOTH {
        let mut pair = Pair::new(protocol, Polling);
        assert!(pair.open_candidate());
        assert!(!pair.session.is_upgrading(), "the candidate has not probed yet");
        pair.client_sends(WebSocket, "2probe");
        pair.deliver_to_server(WebSocket);
        assert_eq!(pair.websocket.to_client, ["3probe"]);
        assert!(pair.session.is_upgrading());
        assert_eq!(pair.noops, 1);
        assert_eq!(pair.session.transport(), Polling);

        pair.client_sends(Polling, "4over polling");
        pair.deliver();
        pair.client_sends(WebSocket, "5");
        pair.deliver();
        assert_eq!(pair.session.transport(), WebSocket);
        assert!(!pair.session.is_upgrading());
        pair.client_sends(WebSocket, "4over websocket");
        pair.deliver();
        assert_eq!(pair.server_heard, ["over polling", "over websocket"]);
    }
}

#[test]
fn probe_and_upgrade_packet_may_be_sent_together() {
    for protocol in BOTH {
        let mut pair = upgraded(protocol);
        pair.client_sends(WebSocket, "4hello");
        pair.deliver();
        assert_eq!(pair.server_heard, ["hello"]);
    }
}

#[test]
fn the_upgrade_packet_alone_is_enough() {
    for protocol in BOTH {
        let mut pair = Pair::new(protocol, Polling);
        assert!(pair.open_candidate());
        pair.server_sends("queued");
        pair.client_sends(WebSocket, "5");
        pair.client_sends(WebSocket, "4hello");
        pair.deliver();
        assert_eq!(pair.session.transport(), WebSocket);
        assert_eq!(pair.server_heard, ["hello"]);
        assert_eq!(pair.client_heard, ["queued"]);
    }
}

#[test]
fn messages_queued_during_the_upgrade_arrive_once_and_in_order() {
    for protocol in BOTH {
        let mut pair = Pair::new(protocol, Polling);
        assert!(pair.open_candidate());
        pair.server_sends("1");
        pair.deliver_to_client(Polling);
        pair.client_sends(WebSocket, "2probe");
        pair.deliver_to_server(WebSocket);
        pair.server_sends("2");
        pair.server_sends("3");
        pair.client_sends(WebSocket, "5");
        pair.deliver_to_server(WebSocket);
        pair.server_sends("4");
        pair.deliver();
        assert_eq!(pair.client_heard, ["1", "2", "3", "4"]);
    }
}

#[test]
fn an_upgrade_that_times_out_leaves_the_session_on_polling() {
    for probe in [false, true] {
        let mut pair = Pair::new(Protocol::V4, Polling);
        assert!(pair.open_candidate());
        if probe {
            pair.pass(60);
            pair.client_sends(WebSocket, "2probe");
            pair.deliver();
        }
        let left = if probe { 39 } else { 99 };
        assert_eq!(pair.pass(left), []);
        assert_eq!(pair.pass(1), [TimeoutStep::DropCandidate]);
        assert!(pair.websocket.closed);
        assert!(!pair.session.is_upgrading());
        pair.client_sends(Polling, "4still polling");
        pair.deliver();
        assert_eq!(pair.server_heard, ["still polling"]);

        assert!(pair.open_candidate(), "another candidate is accepted");
        pair.client_sends(WebSocket, "2probe");
        pair.client_sends(WebSocket, "5");
        pair.deliver();
        assert_eq!(pair.session.transport(), WebSocket);
    }
}

#[test]
fn an_upgrade_that_comes_too_late_is_dropped() {
    let mut session = SessionMachine::new(Protocol::V4, Polling, &TIMES, Time(0));
    assert!(session.candidate(&TIMES, Time(0)));
    let probe = Packet::text(PacketType::Ping, "probe");
    assert_eq!(
        session.handle_candidate(&TIMES, Time(1), &probe),
        CandidateStep::SendProbePong
    );
    assert_eq!(
        session.handle_timeout(&TIMES, Time(100)),
        TimeoutStep::DropCandidate
    );
    let upgrade = Packet::text(PacketType::Upgrade, "");
    assert_eq!(
        session.handle_candidate(&TIMES, Time(101), &upgrade),
        CandidateStep::Drop
    );
    assert_eq!(session.transport(), Polling);
}

#[test]
fn a_lost_candidate_leaves_the_session_on_polling() {
    for probe in [false, true] {
        let mut pair = Pair::new(Protocol::V4, Polling);
        assert!(pair.open_candidate());
        if probe {
            pair.client_sends(WebSocket, "2probe");
            pair.deliver();
        }
        pair.session.candidate_lost();
        assert!(!pair.session.is_upgrading());
        assert_eq!(pair.pass(299), [], "the lost candidate has no deadline any more");
        assert_eq!(pair.pass(1), [TimeoutStep::SendPing]);
        assert!(pair.open_candidate());
    }
}

#[test]
fn a_second_candidate_is_refused_and_does_not_disturb_the_first() {
    for probe in [false, true] {
        let mut pair = Pair::new(Protocol::V4, Polling);
        assert!(pair.open_candidate());
        pair.pass(50);
        if probe {
            pair.client_sends(WebSocket, "2probe");
            pair.deliver();
        }
        assert!(!pair.session.candidate(&TIMES, pair.now));
        assert_eq!(pair.pass(49), [], "the deadline of the first candidate stays");
        if !probe {
            pair.client_sends(WebSocket, "2probe");
        }
        pair.client_sends(WebSocket, "5");
        pair.deliver();
        assert_eq!(pair.session.transport(), WebSocket);
        assert!(!pair.session.candidate(&TIMES, pair.now));
    }
}

#[test]
fn a_session_that_started_on_websocket_accepts_no_candidate() {
    let mut session = SessionMachine::new(Protocol::V4, WebSocket, &TIMES, Time(0));
    assert!(!session.candidate(&TIMES, Time(1)));
    session.close(CloseReason::ServerClose);
    assert!(!session.candidate(&TIMES, Time(1)));
}

#[test]
fn a_candidate_that_does_not_start_with_a_probe_or_upgrade_is_dropped() {
    for protocol in BOTH {
        for wrong in [
            "2", "2prob", "2probe ", "4hello", "3probe", "0", "1", "6", "x", "",
        ] {
            let mut pair = Pair::new(protocol, Polling);
            assert!(pair.open_candidate());
            pair.client_sends(WebSocket, wrong);
            pair.deliver();
            assert!(pair.websocket.closed, "{wrong:?}");
            assert_eq!(pair.session.transport(), Polling, "{wrong:?}");
            assert_eq!(pair.session.is_closed(), None, "{wrong:?}");
            assert!(pair.server_heard.is_empty(), "{wrong:?}");
            assert!(pair.open_candidate(), "{wrong:?}");
        }
    }
}

#[test]
fn a_binary_message_on_a_candidate_drops_it() {
    let mut session = SessionMachine::new(Protocol::V4, Polling, &TIMES, Time(0));
    assert!(session.candidate(&TIMES, Time(0)));
    let packet = Packet::decode_binary(Protocol::V4, b"2probe").unwrap();
    assert_eq!(
        session.handle_candidate(&TIMES, Time(1), &packet),
        CandidateStep::Drop
    );
    let mut session = SessionMachine::new(Protocol::V3, Polling, &TIMES, Time(0));
    assert!(session.candidate(&TIMES, Time(0)));
    let packet = Packet::decode_binary(Protocol::V3, b"\x02probe").unwrap();
    assert_eq!(
        session.handle_candidate(&TIMES, Time(1), &packet),
        CandidateStep::Drop
    );
}

#[test]
fn a_candidate_that_does_not_upgrade_after_its_probe_is_dropped() {
    for wrong in ["2", "4hello", "3probe", "1", "x"] {
        let mut pair = Pair::new(Protocol::V4, Polling);
        assert!(pair.open_candidate());
        pair.client_sends(WebSocket, "2probe");
        pair.client_sends(WebSocket, wrong);
        pair.deliver();
        assert!(pair.websocket.closed, "{wrong:?}");
        assert_eq!(pair.session.transport(), Polling);
        assert!(!pair.session.is_upgrading());
    }
}

#[test]
fn a_repeated_probe_is_answered_but_does_not_move_the_deadline() {
    let mut pair = Pair::new(Protocol::V4, Polling);
    assert!(pair.open_candidate());
    for _ in 0..2 {
        pair.client_sends(WebSocket, "2probe");
        pair.deliver();
        pair.pass(49);
    }
    assert_eq!(pair.noops, 2);
    assert_eq!(pair.pass(2), [TimeoutStep::DropCandidate]);
}

#[test]
fn an_upgrade_packet_on_the_current_transport_is_ignored() {
    for protocol in BOTH {
        let mut pair = upgraded(protocol);
        pair.client_sends(WebSocket, "5");
        pair.client_sends(WebSocket, "4on");
        pair.deliver();
        assert_eq!(pair.server_heard, ["on"]);
        let mut pair = Pair::new(protocol, Polling);
        pair.client_sends(Polling, "5");
        pair.deliver();
        assert_eq!(
            (pair.session.transport(), pair.session.is_closed()),
            (Polling, None)
        );
    }
}

#[test]
fn the_heartbeat_continues_during_the_upgrade() {
    // EIO4: a ping that was sent over polling is answered over the WebSocket.
    let mut pair = Pair::new(Protocol::V4, Polling);
    pair.client_alive = false;
    assert_eq!(pair.pass(300), [TimeoutStep::SendPing]);
    assert!(pair.open_candidate());
    pair.client_sends(WebSocket, "2probe");
    pair.client_sends(WebSocket, "5");
    pair.client_sends(WebSocket, "3");
    pair.deliver();
    assert_eq!(pair.pass(299), []);
    assert_eq!(
        pair.pass(201),
        [
            TimeoutStep::SendPing,
            TimeoutStep::Close(CloseReason::PingTimeout)
        ]
    );

    // EIO3: the server counts its deadline from the last packet on either transport.
    let mut pair = Pair::new(Protocol::V3, Polling);
    pair.client_alive = false;
    pair.pass(400);
    assert!(pair.open_candidate());
    pair.client_sends(WebSocket, "2probe");
    pair.client_sends(WebSocket, "5");
    pair.deliver();
    assert_eq!(pair.pass(499), []);
    assert_eq!(pair.pass(1), [TimeoutStep::Close(CloseReason::PingTimeout)]);
}

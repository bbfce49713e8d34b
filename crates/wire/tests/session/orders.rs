//! Every order of the events around an upgrade, compared with a small model.

use mynah_wire::engine::{CloseReason, Protocol, Transport};

use super::pair::{Pair, TIMES};

use Transport::{Polling, WebSocket};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Candidate,
    Probe,
    Upgrade,
    CandidateLost,
    UpgradeTimeout,
    ServerMessage,
    ClientMessage,
    ClientClose,
}

const EVENTS: [Event; 8] = [
    Event::Candidate,
    Event::Probe,
    Event::Upgrade,
    Event::CandidateLost,
    Event::UpgradeTimeout,
    Event::ServerMessage,
    Event::ClientMessage,
    Event::ClientClose,
];

/// The state that the session should have after each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Polling,
    Opened,
    Probed,
    Upgraded,
    Closed,
}

impl Model {
    fn after(self, event: Event, protocol: Protocol) -> Self {
        match (self, event) {
            (Self::Closed, _) | (_, Event::ClientClose) => Self::Closed,
            // On the current transport a probe is a ping, which EIO4 clients do not send.
            (Self::Upgraded, Event::Probe) if protocol == Protocol::V4 => Self::Closed,
            (Self::Upgraded, _) => Self::Upgraded,
            (Self::Polling, Event::Candidate) => Self::Opened,
            (Self::Opened | Self::Probed, Event::Probe) => Self::Probed,
            (Self::Opened | Self::Probed, Event::Upgrade) => Self::Upgraded,
            (_, Event::CandidateLost | Event::UpgradeTimeout) => Self::Polling,
            (unchanged, _) => unchanged,
        }
    }
}

fn run(protocol: Protocol, order: &[Event]) {
    let mut pair = Pair::new(protocol, Polling);
    let mut model = Model::Polling;
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    for (i, event) in order.iter().enumerate() {
        let open = model != Model::Closed;
        let text = i.to_string();
        match event {
            Event::Candidate => assert_eq!(pair.open_candidate(), model == Model::Polling, "{order:?}"),
            Event::Probe => pair.client_sends(WebSocket, "2probe"),
            Event::Upgrade => pair.client_sends(WebSocket, "5"),
            // Once the candidate is the current transport, this does nothing.
            Event::CandidateLost => pair.session.candidate_lost(),
            Event::UpgradeTimeout => drop(pair.pass(TIMES.upgrade_timeout)),
            Event::ServerMessage if open => {
                pair.server_sends(&text);
                to_client.push(text);
            }
            Event::ClientMessage if open => {
                pair.client_sends(pair.session.transport(), &format!("4{text}"));
                to_server.push(text);
            }
            Event::ServerMessage | Event::ClientMessage => {}
            Event::ClientClose => pair.client_sends(pair.session.transport(), "1"),
        }
        // Messages to the client stay in flight, so that an upgrade can find them there.
        pair.deliver_to_server(Polling);
        pair.deliver_to_server(WebSocket);
        model = model.after(*event, protocol);
        let upgraded = pair.session.transport() == WebSocket;
        match model {
            Model::Closed => assert!(pair.session.is_closed().is_some(), "{order:?}"),
            _ => {
                assert_eq!(pair.session.is_closed(), None, "{order:?}");
                assert_eq!(upgraded, model == Model::Upgraded, "{order:?}");
                assert_eq!(pair.session.is_upgrading(), model == Model::Probed, "{order:?}");
            }
        }
    }
    pair.deliver();
    assert_eq!(pair.server_heard, to_server, "{order:?}");
    assert_eq!(pair.client_heard, to_client, "{order:?}");
    if order.contains(&Event::ClientClose) {
        let reason = pair.session.is_closed();
        assert!(matches!(
            reason,
            Some(CloseReason::ClientClose | CloseReason::TransportError)
        ));
    }
}

#[test]
fn five_events_in_any_order_match_the_model() {
    let mut orders = vec![Vec::new()];
    for _ in 0..5 {
        orders = orders
            .into_iter()
            .flat_map(|order| EVENTS.map(|event| [order.clone(), vec![event]].concat()))
            .collect();
    }
    for order in &orders {
        run(Protocol::V3, order);
        run(Protocol::V4, order);
    }
}

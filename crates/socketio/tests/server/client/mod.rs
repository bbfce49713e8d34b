//! A client that follows orders, even to do what no real client would.

mod http;
mod polling;
mod ws;

pub(crate) use http::{Reply, request, request_with};
pub(crate) use polling::{Polling, packets};
pub(crate) use ws::{Got, Ws};

use std::collections::VecDeque;
use std::net::SocketAddr;

use mynah_socketio::{Protocol, Transport};
use mynah_wire::engine::{Body, Packet, PacketType};

use crate::app::Running;
use crate::within;

/// Both protocols on both transports.
pub(crate) const ALL: [(Protocol, Transport); 4] = [
    (Protocol::V3, Transport::Polling),
    (Protocol::V3, Transport::WebSocket),
    (Protocol::V4, Transport::Polling),
    (Protocol::V4, Transport::WebSocket),
];

enum Wire {
    Ws(Ws),
    Polling(Polling),
}

/// A well-behaved client of either protocol on either transport.
pub(crate) struct Client {
    wire: Wire,
    inbox: VecDeque<Packet<'static>>,
}

impl Client {
    /// Connects to `/`.
    pub(crate) async fn connect(running: &Running, protocol: Protocol, transport: Transport) -> Self {
        Self::connect_with(running, protocol, transport, "").await
    }

    /// Like [`Client::connect`], with more parameters in the query.
    pub(crate) async fn connect_with(
        running: &Running,
        protocol: Protocol,
        transport: Transport,
        query: &str,
    ) -> Self {
        Self::connect_to(running.address, protocol, transport, query).await
    }

    /// Like [`Client::connect_with`], to a server at this address.
    pub(crate) async fn connect_to(
        address: SocketAddr,
        protocol: Protocol,
        transport: Transport,
        query: &str,
    ) -> Self {
        let wire = match transport {
            Transport::WebSocket => Wire::Ws(Ws::open(address, protocol, query).await),
            Transport::Polling => Wire::Polling(Polling::open(address, protocol, query).await),
        };
        let mut client = Self {
            wire,
            inbox: VecDeque::new(),
        };
        if protocol == Protocol::V4 {
            client.send("0").await;
        }
        let connected = client.receive().await;
        assert!(connected.starts_with('0'), "{connected}");
        client
    }

    /// Sends a Socket.IO packet.
    pub(crate) async fn send(&mut self, text: &str) {
        match &mut self.wire {
            Wire::Ws(ws) => ws.text(&format!("4{text}")).await,
            Wire::Polling(polling) => polling.send(&[&format!("4{text}")]).await,
        }
    }

    /// Sends an attachment.
    pub(crate) async fn attach(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Ws(ws) => ws.attachment(bytes).await,
            Wire::Polling(polling) => polling.attach(bytes).await,
        }
    }

    /// The next packet; `None` if the connection was closed (on polling, by a close packet).
    pub(crate) async fn packet(&mut self) -> Option<Packet<'static>> {
        while self.inbox.is_empty() {
            match &mut self.wire {
                Wire::Ws(ws) => self.inbox.push_back(ws.packet().await?),
                Wire::Polling(polling) => self.inbox.extend(polling.poll().await?),
            }
        }
        self.inbox
            .pop_front()
            .filter(|packet| packet.kind != PacketType::Close)
    }

    /// The next Socket.IO packet; `None` if the connection was closed.
    pub(crate) async fn try_receive(&mut self) -> Option<String> {
        within(async {
            loop {
                let packet = self.packet().await?;
                if let (PacketType::Message, Body::Text(text)) = (packet.kind, packet.body) {
                    return Some(text.into_owned());
                }
            }
        })
        .await
    }

    /// The next Socket.IO packet.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            self.try_receive()
                .await
                .unwrap_or_else(|| panic!("the connection was closed, at {caller}"))
        }
    }

    /// The next attachment.
    pub(crate) async fn attachment(&mut self) -> Vec<u8> {
        let packet = within(self.packet()).await.unwrap();
        match packet.body {
            Body::Binary(bytes) => bytes.into_owned(),
            Body::Text(text) => panic!("text where an attachment is expected: {text}"),
        }
    }

    /// Checks that the connection ends without another message.
    pub(crate) async fn is_closed(&mut self) {
        assert_eq!(self.try_receive().await, None);
    }

    /// The polling transport of the client.
    pub(crate) fn polling(&mut self) -> &mut Polling {
        match &mut self.wire {
            Wire::Polling(polling) => polling,
            Wire::Ws(_) => panic!("not on polling"),
        }
    }

    /// The WebSocket of the client.
    pub(crate) fn ws(&mut self) -> &mut Ws {
        match &mut self.wire {
            Wire::Ws(ws) => ws,
            Wire::Polling(_) => panic!("not on websocket"),
        }
    }

    /// Upgrades from polling to WebSocket as real clients do. `between` runs once the server has answered the
    /// probe.
    pub(crate) async fn upgrade(&mut self, between: impl AsyncFnOnce(&mut Polling)) {
        let polling = self.polling();
        let waiting = tokio::spawn(polling.get());
        let mut ws = Ws::join(polling).await;
        ws.text("2probe").await;
        assert_eq!(ws.next().await, Got::Text("3probe".into()));
        let reply = within(waiting).await.unwrap();
        assert_eq!(reply.status, 200);
        let came = packets(polling.protocol, &reply);
        between(polling).await;
        ws.text("5").await;
        self.inbox.extend(came);
        self.wire = Wire::Ws(ws);
    }
}

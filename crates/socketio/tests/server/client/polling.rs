//! The polling transport.

use std::net::SocketAddr;

use mynah_socketio::Protocol;
use mynah_wire::engine::payload::{self, GetForm, PostForm, Reader, TextHabit};
use mynah_wire::engine::{Packet, PacketType};

use super::{Reply, request, request_with};
use crate::within;

/// A session on polling.
pub(crate) struct Polling {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) sid: String,
}

/// The packets in a body.
pub(crate) fn packets(protocol: Protocol, reply: &Reply) -> Vec<Packet<'static>> {
    let form = match reply.header("content-type").as_deref() {
        Some("application/octet-stream") => PostForm::Binary,
        _ => PostForm::Text,
    };
    let habit = &mut TextHabit::default();
    let mut reader = Reader::new(protocol, form, reply.body.to_vec(), habit).unwrap();
    std::iter::from_fn(|| reader.next_packet().map(Packet::into_owned)).collect()
}

impl Polling {
    pub(crate) async fn open(address: SocketAddr, protocol: Protocol, query: &str) -> Self {
        let target = format!("/socket.io/?EIO={}&transport=polling&{query}", protocol.as_str());
        let reply = request(address, "GET", &target).await;
        assert_eq!(reply.status, 200);
        let open = packets(protocol, &reply);
        assert_eq!(open.len(), 1, "only the open packet: {open:?}");
        assert_eq!(open[0].kind, PacketType::Open);
        let text = reply.text();
        let json: serde_json::Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
        assert_eq!(json["upgrades"], serde_json::json!(["websocket"]));
        Self {
            address,
            protocol,
            sid: json["sid"].as_str().unwrap().to_owned(),
        }
    }

    /// The target of this session's requests.
    pub(crate) fn target(&self, transport: &str) -> String {
        format!(
            "/socket.io/?EIO={}&transport={transport}&sid={}",
            self.protocol.as_str(),
            self.sid
        )
    }

    pub(crate) fn get(&self) -> impl Future<Output = Reply> + Send + use<> {
        let (address, target) = (self.address, self.target("polling"));
        async move { request(address, "GET", &target).await }
    }

    pub(crate) fn post(&self, body: &str) -> impl Future<Output = Reply> + Send + use<> {
        let (address, target, body) = (self.address, self.target("polling"), body.to_owned());
        async move {
            let plain = [("Content-Type", "text/plain;charset=UTF-8")];
            request_with(address, "POST", &target, &plain, body.as_bytes()).await
        }
    }

    /// A body with these packets.
    pub(crate) fn body(&self, packets: &[&str]) -> String {
        let packets: Vec<_> = packets
            .iter()
            .map(|packet| Packet::decode_text(Protocol::V4, packet).unwrap())
            .collect();
        let (body, _) = payload::encode(self.protocol, GetForm::Text, false, &packets);
        String::from_utf8(body).unwrap()
    }

    /// Sends packets that the server must accept.
    pub(crate) async fn send(&mut self, packets: &[&str]) {
        let reply = within(self.post(&self.body(packets))).await;
        assert_eq!((reply.status, reply.text()), (200, "ok"));
    }

    pub(crate) async fn attach(&mut self, bytes: &[u8]) {
        let (body, _) = payload::encode(self.protocol, GetForm::Text, false, &[Packet::binary(bytes)]);
        let reply = within(self.post(std::str::from_utf8(&body).unwrap())).await;
        assert_eq!((reply.status, reply.text()), (200, "ok"));
    }

    /// The packets of the next GET; `None` if the session has ended.
    pub(crate) async fn poll(&mut self) -> Option<Vec<Packet<'static>>> {
        let reply = within(self.get()).await;
        (reply.status == 200).then(|| packets(self.protocol, &reply))
    }
}

//! Valid and invalid WebSocket frames.

use mynah_socketio::{Config, Protocol, Transport};
use mynah_wire::ws::{self, Opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::Running;
use crate::client::{Client, Got};
use crate::within;

async fn connected() -> (Running, Client) {
    let running = Running::start(Config::default()).await;
    let client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    (running, client)
}

/// The server closes with this code, the application is told the reason, and nothing is left.
async fn refused(mut running: Running, mut client: Client, code: u16) {
    assert_eq!(client.ws().next().await, Got::Close(Some(code)));
    assert_eq!(client.ws().next().await, Got::End);
    running.expect("/ disconnected: transport error").await;
    running.until_empty().await;
}

#[tokio::test]
async fn fragments_with_control_frames_between_them_are_joined() {
    let (_running, mut client) = connected().await;
    let ws = client.ws();
    ws.fragment(Opcode::Text, b"42[\"echo\",\"h\xc3").await;
    ws.frame(Opcode::Ping, b"between").await;
    assert_eq!(ws.next().await, Got::Pong(b"between".to_vec()));
    ws.frame(Opcode::Pong, b"unasked").await;
    ws.fragment(Opcode::Continuation, b"").await;
    ws.fragment(Opcode::Continuation, b"\xa9").await;
    ws.frame(Opcode::Continuation, b"\"]").await;
    assert_eq!(ws.next().await, Got::Text("42[\"echo\",\"h\u{e9}\"]".into()));
}

#[tokio::test]
async fn bytes_may_arrive_one_by_one() {
    let (_running, mut client) = connected().await;
    let frame = ws::masked_frame(
        Opcode::Text,
        "42[\"echo\",\"\u{1f600}\"]".as_bytes(),
        [1, 2, 3, 4],
    );
    for byte in frame {
        client.ws().raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.receive().await, "2[\"echo\",\"\u{1f600}\"]");
}

#[tokio::test]
async fn pings_are_answered_and_a_flood_of_pings_is_not_queued() {
    let (running, mut client) = connected().await;
    let ws = client.ws();
    let mut pings = Vec::new();
    for n in 0..100_000u32 {
        pings.extend(ws::masked_frame(Opcode::Ping, &n.to_be_bytes(), [5; 4]));
    }
    ws.raw(&pings).await;
    let mut latest = None;
    while latest != Some(99_999) {
        let Got::Pong(pong) = ws.next().await else {
            panic!("no pong");
        };
        let n = u32::from_be_bytes(pong.try_into().unwrap());
        assert!(latest.is_none_or(|before| before < n));
        latest = Some(n);
    }
    assert_eq!(running.server.sessions(), 1);
}

#[tokio::test]
async fn an_unmasked_frame_breaks_the_protocol() {
    let (running, mut client) = connected().await;
    client.ws().raw(&ws::frame(Opcode::Text, b"42[\"echo\"]")).await;
    refused(running, client, 1002).await;
}

#[tokio::test]
async fn frames_out_of_order_break_the_protocol() {
    for wrong in [
        &[0x80, 0x80, 0, 0, 0, 0][..],     // a continuation without a message
        &[0x83, 0x80, 0, 0, 0, 0],         // a reserved opcode
        &[0xc1, 0x80, 0, 0, 0, 0],         // compressed, which was not negotiated
        &[0x09, 0x80, 0, 0, 0, 0],         // a ping in fragments
        &[0x88, 0x81, 0, 0, 0, 0, 1],      // half a close code
        &[0x88, 0x82, 0, 0, 0, 0, 3, 236], // an invalid close code
    ] {
        let (running, mut client) = connected().await;
        client.ws().raw(wrong).await;
        refused(running, client, 1002).await;
    }
}

#[tokio::test]
async fn text_must_be_utf8() {
    let (running, mut client) = connected().await;
    client.ws().frame(Opcode::Text, b"42[\"echo\",\"\xff\"]").await;
    refused(running, client, 1007).await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_because_of_its_header() {
    let (running, mut client) = connected().await;
    // The length in the header is enough: the close frame is sent while 50 MB are still arriving.
    let whole = ws::masked_frame(Opcode::Binary, &vec![b'x'; 50_000_000], [1, 2, 3, 4]);
    let ws = client.ws();
    let (mut read, mut write) = ws.stream.split();
    let mut answer = Vec::new();
    let (_, read) = crate::within(async {
        tokio::join!(
            tokio::io::AsyncWriteExt::write_all(&mut write, &whole),
            tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer)
        )
    })
    .await;
    // A peer that continues to send may get a reset after the close frame.
    drop(read);
    assert_eq!(answer, ws::close_frame(Some(1009), ""));
    drop(client);
    let mut running = running;
    running.expect("/ disconnected: transport error").await;
    running.until_empty().await;
}

#[tokio::test]
async fn fragments_that_together_exceed_the_limit_are_refused() {
    let config = Config {
        max_payload_bytes: 1_000,
        ..Config::default()
    };
    let running = Running::start(config).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.ws().fragment(Opcode::Text, &[b'4'; 600]).await;
    client.ws().fragment(Opcode::Continuation, &[b'4'; 600]).await;
    refused(running, client, 1009).await;
}

#[tokio::test]
async fn the_largest_allowed_message_is_accepted() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    let filler = "x".repeat(1_000_000 - "42[\"size\",\"\"]".len());
    client.send(&format!("2[\"size\",\"{filler}\"]")).await;
    running.expect(&format!("size {}", filler.len() + 2)).await;
}

/// Frames that are sent together with the upgrade request, and are more than hyper reads at once, are all
/// handled.
#[tokio::test]
async fn frames_sent_with_the_upgrade_request_are_handled() {
    let running = Running::start(Config::default()).await;
    let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut piece = head.as_bytes().to_vec();
    piece.extend(ws::masked_frame(Opcode::Text, b"40", [1, 2, 3, 4]));
    let filler = "x".repeat(400);
    for n in 0..30 {
        let text = format!("42[\"echo\",{n},\"{filler}\"]");
        piece.extend(ws::masked_frame(Opcode::Text, text.as_bytes(), [1, 2, 3, 4]));
    }
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&piece).await.unwrap();
    let mut came = Vec::new();
    within(async {
        while !came.windows(10).any(|window| window == b"[\"echo\",29") {
            assert_ne!(stream.read_buf(&mut came).await.unwrap(), 0);
        }
    })
    .await;
    let echoes = came.windows(8).filter(|window| *window == b"[\"echo\",");
    assert_eq!(echoes.count(), 30);
}

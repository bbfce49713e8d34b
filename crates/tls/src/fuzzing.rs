//! TLS between the server's implementation and a rustls client: any order of events, cut anywhere, with bytes
//! changed, inserted and removed in transit.

use std::io::{Read, Write};
use std::sync::LazyLock;

use rustls::ClientConnection;
use rustls::version::{TLS12, TLS13};

use crate::testing::{Bare, Kit};

/// The maximum number of events. Longer inputs only make the fuzzer slower.
const MOST_EVENTS: usize = 400;
/// The maximum number of bytes in flight to the server, which does not read more at once.
const MOST_READ: usize = 32 * 1024;
/// The maximum number of bytes that the server may send in response to [`MOST_READ`] bytes.
const MOST_SAID: usize = 2 * MOST_READ;

/// The number of key updates that rustls always accepts.
const MOST_UPDATES: usize = 16;

/// Bytes that depend on their position in the stream.
fn pattern(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| (at % 251) as u8).collect()
}

/// One direction: what was written, what was received, and what is in flight.
#[derive(Default)]
struct Direction {
    written: usize,
    received: usize,
    wire: Vec<u8>,
}

impl Direction {
    /// Checks that received bytes are those that were written.
    fn check_received(&mut self, bytes: &[u8]) {
        assert!(
            self.received + bytes.len() <= self.written,
            "more was received than written"
        );
        assert_eq!(bytes, pattern(self.received, bytes.len()), "at {}", self.received);
        self.received += bytes.len();
    }
}

struct Connection {
    client: ClientConnection,
    server: Bare,
    up: Direction,
    down: Direction,
    /// Whether the handshake is complete on the server's side.
    open: bool,
    /// Whether bytes were changed in transit, or keys were updated too often.
    disturbed: bool,
    /// The number of key updates that the client requested.
    updates: usize,
    /// Whether one side has sent `close_notify`.
    closing: bool,
    /// Whether the client has sent `close_notify`. Nothing is delivered to it after that, because the client
    /// of rustls does not expect it.
    client_closed: bool,
    failed: bool,
}

/// The first byte selects the client's version. Then each pair of bytes is an event and its amount.
pub fn tls(data: &[u8]) {
    static KITS: LazyLock<[Kit; 2]> = LazyLock::new(|| [Kit::new(&TLS12), Kit::new(&TLS13)]);
    let Some((version, events)) = data.split_first() else {
        return;
    };
    let kit = &KITS[usize::from(version & 1)];
    let mut connection = Connection {
        client: kit.client(),
        server: Bare::new(kit.server.clone()),
        up: Direction::default(),
        down: Direction::default(),
        open: false,
        disturbed: false,
        updates: 0,
        closing: false,
        client_closed: false,
        failed: false,
    };
    if version & 2 != 0 {
        connection.shake_hands();
    }
    for event in events.chunks_exact(2).take(MOST_EVENTS) {
        connection.event(event[0], usize::from(event[1]));
    }
    connection.end();
}

impl Connection {
    fn shake_hands(&mut self) {
        for _ in 0..4 {
            self.deliver_up(usize::MAX);
            self.deliver_down();
        }
        assert!(
            self.open && !self.client.is_handshaking(),
            "the handshake is complete on both sides"
        );
    }

    fn event(&mut self, what: u8, amount: usize) {
        match what % 16 {
            0..=3 => self.deliver_up(amount + 1),
            4 => self.deliver_up(usize::MAX),
            5 => self.deliver_down(),
            6 => self.client_writes(amount * 40),
            7 => self.server_writes(amount * 150),
            8 => self.server_writes(amount),
            9 => {
                // Changes a byte in flight.
                self.client_speaks();
                if let Some(byte) = self.up.wire.get_mut(amount) {
                    *byte ^= 1 << (what >> 5);
                    self.disturbed = true;
                }
            }
            10 => {
                let at = amount.min(self.up.wire.len());
                self.up.wire.insert(at, what >> 4 | 16);
                self.disturbed = true;
            }
            11 => {
                let lost = amount.min(self.up.wire.len());
                self.up.wire.drain(..lost);
                self.disturbed |= lost > 0;
            }
            12 => {
                // Repeats bytes that are in flight.
                self.client_speaks();
                let again: Vec<u8> = self.up.wire.iter().take(amount).copied().collect();
                self.disturbed |= !again.is_empty();
                self.up.wire.splice(..0, again);
            }
            13 => {
                // Updates keys, which the server answers with its own update. rustls accepts some updates,
                // and then closes.
                self.updates += amount;
                self.disturbed |= self.updates > MOST_UPDATES;
                for _ in 0..amount {
                    let _ = self.client.refresh_traffic_keys();
                }
            }
            14 => {
                self.client.send_close_notify();
                (self.closing, self.client_closed) = (true, true);
            }
            _ => {
                if self.open {
                    self.server.close();
                    self.closing = true;
                    self.take_outgoing();
                }
            }
        }
    }

    /// Whether errors are expected: bytes were changed in transit, or a side has closed the connection during
    /// the handshake.
    fn may_fail(&self) -> bool {
        self.disturbed || self.closing && !self.open
    }

    fn client_writes(&mut self, count: usize) {
        // rustls buffers this until it is written.
        match self.client.writer().write(&pattern(self.up.written, count)) {
            Ok(taken) => self.up.written += taken,
            Err(error) => assert!(self.disturbed || self.closing, "{error}"),
        }
    }

    fn client_speaks(&mut self) {
        while self.client.wants_write() && self.up.wire.len() < MOST_READ {
            self.client
                .write_tls(&mut self.up.wire)
                .expect("writing to a vector cannot fail");
        }
    }

    fn deliver_up(&mut self, count: usize) {
        self.client_speaks();
        if self.failed || self.server.ended() {
            // The server's stream does not read any more.
            self.up.wire.clear();
            let fed = self.server.feed(&[]);
            assert_eq!(fed.is_err(), self.failed, "a failed stream stays failed");
            return;
        }
        let room = MOST_READ - self.server.incoming.len();
        let count = count.min(self.up.wire.len()).min(room);
        let bytes: Vec<u8> = self.up.wire.drain(..count).collect();
        let fed = self.server.feed(&bytes);
        match fed {
            Ok(done) => self.open |= done,
            Err(error) => {
                assert!(self.may_fail(), "{error}");
                self.failed = true;
            }
        }
        assert!(
            self.failed || self.server.ended() || self.server.incoming.len() < MOST_READ,
            "a record is shorter than the buffer"
        );
        // Whatever happened in transit, received bytes are those that were written.
        let plain = self.server.plain.split();
        self.up.check_received(&plain);
        self.take_outgoing();
    }

    fn take_outgoing(&mut self) {
        let said = self.server.outgoing().split();
        assert!(said.len() <= MOST_SAID, "{} bytes", said.len());
        self.down.wire.extend_from_slice(&said);
    }

    fn server_writes(&mut self, count: usize) {
        if !self.open {
            return;
        }
        let count = count.min(MOST_READ);
        let mut sealed = vec![0; MOST_READ + 4 * 1024];
        let sent = self
            .server
            .encrypt(&pattern(self.down.written, count), &mut sealed);
        self.take_outgoing();
        match sent {
            Ok(n) => {
                self.down.wire.extend_from_slice(&sealed[..n]);
                self.down.written += count;
            }
            Err(error) => assert!(self.failed || self.closing, "{error}"),
        }
    }

    fn deliver_down(&mut self) {
        let wire = std::mem::take(&mut self.down.wire);
        let mut rest = &wire[..];
        while !rest.is_empty() && !self.client_closed {
            match self.client.read_tls(&mut rest) {
                Ok(1..) => {}
                // The client accepts nothing after the end.
                Ok(0) | Err(_) => {
                    assert!(self.disturbed || self.closing);
                    return;
                }
            }
            let processed = self.client.process_new_packets();
            self.client_reads();
            if let Err(error) = processed {
                assert!(self.may_fail(), "{error}");
                return;
            }
        }
    }

    fn client_reads(&mut self) {
        let mut buf = [0; 4_096];
        while let Ok(n @ 1..) = self.client.reader().read(&mut buf) {
            self.down.check_received(&buf[..n]);
        }
    }

    /// Delivers everything that is in flight. If nothing was changed in transit, all bytes must arrive.
    fn end(&mut self) {
        for _ in 0..100 {
            self.deliver_up(usize::MAX);
            self.deliver_down();
            self.client_speaks();
            if self.up.wire.is_empty() && self.down.wire.is_empty() {
                break;
            }
        }
        if self.disturbed || self.closing {
            return;
        }
        assert!(self.open && !self.server.ended());
        assert_eq!(self.up.received, self.up.written);
        assert_eq!(self.down.received, self.down.written);
    }
}

#[test]
fn the_corpus_disturbs_nothing() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/tls");
    let mut seen = 0;
    for entry in std::fs::read_dir(corpus).expect("a corpus") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        tls(&std::fs::read(path).expect("a file"));
        seen += 1;
    }
    assert!(seen > 0, "the corpus is empty");
}

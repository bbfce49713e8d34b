//! Many clients in one thread: one epoll, one read buffer, next to nothing per client.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, Phase};
use crate::net::Target;
use crate::tally::Tally;
use crate::{api, chat, frame};

/// How long connecting may go without any client getting ready.
const PATIENCE: Duration = Duration::from_secs(15);
/// The token of the waker, which no client has.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// What a scenario does once its clients are registered.
pub(crate) trait Load {
    /// A chat event has come for the client `to`.
    fn event(&mut self, crowd: &mut Crowd<'_>, to: usize, packet: &[u8]);
    /// A call of the HTTP API was answered on the API connection `on`.
    fn answer(&mut self, _crowd: &mut Crowd<'_>, _on: usize, _status: u16) {}
    /// Everything that had arrived was handled.
    fn turn(&mut self, _crowd: &mut Crowd<'_>) {}
    /// The longest that the next turn may wait.
    fn patience(&self, _crowd: &Crowd<'_>) -> Duration {
        Duration::from_millis(20)
    }
}

/// A load that only listens.
pub(crate) struct Quiet;

impl Load for Quiet {
    fn event(&mut self, _crowd: &mut Crowd<'_>, _to: usize, _packet: &[u8]) {}
}

/// Clients number `first` to `first + count` of a run, and the connections for API calls after them.
pub(crate) struct Crowd<'a> {
    target: &'a Target,
    tally: &'a Tally,
    prefix: &'a str,
    /// The number of the first client.
    pub(crate) first: usize,
    poll: Poll,
    clients: Vec<Client>,
    ready: usize,
    buffer: Box<[u8]>,
    began: Instant,
    born: u128,
}

impl<'a> Crowd<'a> {
    /// An empty crowd.
    pub(crate) fn new(
        target: &'a Target,
        tally: &'a Tally,
        prefix: &'a str,
        first: usize,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            target,
            tally,
            prefix,
            first,
            poll: Poll::new().context("no epoll")?,
            clients: Vec::new(),
            ready: 0,
            buffer: vec![0; 65_536].into_boxed_slice(),
            began: Instant::now(),
            born: SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
        })
    }

    /// A client's id for its message number `count`, which no earlier run has used: the server would take it for a repetition.
    pub(crate) fn cid(&self, count: u64) -> String {
        format!("{:x}-{count}", self.born)
    }

    /// The uid of a client of this crowd.
    pub(crate) fn uid(&self, client: usize) -> String {
        format!("{}-{}", self.prefix, self.first + client)
    }

    /// Nanoseconds since the crowd was made.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Where a waker is registered that ends a wait.
    pub(crate) fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), WAKE)
    }

    /// Connects and registers `count` clients, at most `at_once` in hand at a time, and returns when all are registered.
    pub(crate) fn gather(&mut self, count: usize, at_once: usize) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let (mut ready, mut since) = (0, Instant::now());
        while ready < count {
            while self.clients.len() < count && self.clients.len() - ready < at_once {
                self.dial(Phase::Dialling).context("a client cannot connect")?;
            }
            self.wait(&mut events, Duration::from_millis(100), &mut Quiet)?;
            if self.ready > ready {
                self.tally.ready.fetch_add(self.ready - ready, Ordering::Relaxed);
                (ready, since) = (self.ready, Instant::now());
            }
            if let Some(reason) = self.tally.lost() {
                bail!("a client was lost while connecting: {reason}");
            }
            if since.elapsed() > PATIENCE {
                let client = self.clients.iter().find(|client| client.phase != Phase::Ready);
                bail!(
                    "{ready} of {count} clients registered, then none for 15 s; one is {:?}",
                    client.map(|c| c.phase)
                );
            }
        }
        Ok(())
    }

    /// Opens a connection for API calls and returns its index.
    pub(crate) fn dial_api(&mut self) -> anyhow::Result<usize> {
        self.dial(Phase::Api).context("no connection for API calls")?;
        Ok(self.clients.len() - 1)
    }

    /// Lets the load run until `stop` says so.
    pub(crate) fn run(&mut self, load: &mut impl Load, stop: impl Fn() -> bool) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1_024);
        load.turn(self);
        while !stop() {
            let patience = load.patience(self);
            self.wait(&mut events, patience, load)?;
            load.turn(self);
        }
        Ok(())
    }

    /// Queues bytes for a client and writes what the socket takes.
    pub(crate) fn send(&mut self, client: usize, bytes: &[u8]) {
        if let Err(error) = self.clients[client].send(bytes) {
            self.lose(client, &error.to_string());
        }
    }

    fn dial(&mut self, phase: Phase) -> io::Result<()> {
        let index = self.clients.len();
        let mut stream = self.target.dial(self.first + index)?;
        self.poll
            .registry()
            .register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        self.clients.push(Client::new(stream, phase));
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, timeout: Duration, load: &mut impl Load) -> anyhow::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.context("epoll failed")?,
        }
        for event in events.iter().filter(|event| event.token() != WAKE) {
            let index = event.token().0;
            if event.is_writable() {
                self.writable(index);
            }
            if event.is_readable() || event.is_read_closed() {
                self.readable(index, event.is_read_closed(), load);
            }
        }
        Ok(())
    }

    fn writable(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let done = match client.phase {
            Phase::Dialling => client.upgrade(self.target),
            _ => client.flush(),
        };
        if let Err(error) = done {
            self.lose(index, &error.to_string());
        }
    }

    fn readable(&mut self, index: usize, closed: bool, load: &mut impl Load) {
        let mut buffer = mem::take(&mut self.buffer);
        while self.clients[index].phase != Phase::Closed {
            match self.clients[index].stream.read(&mut buffer) {
                Ok(0) => self.lose(index, "closed by the server"),
                Ok(count) => {
                    self.received(index, &buffer[..count], load);
                    if count < buffer.len() && !closed {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.lose(index, &error.to_string()),
            }
        }
        self.buffer = buffer;
    }

    /// Handles what is whole and keeps the rest. Only a client that has such a rest owns a buffer.
    fn received(&mut self, index: usize, bytes: &[u8], load: &mut impl Load) {
        let mut rest = mem::take(&mut self.clients[index].rest);
        let handled = if rest.is_empty() {
            self.handle(index, bytes, load)
                .map(|used| rest.extend_from_slice(&bytes[used..]))
        } else {
            rest.extend_from_slice(bytes);
            self.handle(index, &rest, load)
                .map(|used| drop(rest.drain(..used)))
        };
        match handled {
            Ok(()) if rest.is_empty() => {}
            Ok(()) => self.clients[index].rest = rest,
            Err(reason) => self.lose(index, &reason),
        }
    }

    fn handle(&mut self, index: usize, bytes: &[u8], load: &mut impl Load) -> Result<usize, String> {
        let mut at = 0;
        while self.clients[index].phase != Phase::Closed && at < bytes.len() {
            match self.clients[index].phase {
                Phase::Api => match api::response(&bytes[at..])? {
                    Some(response) => {
                        load.answer(self, index, response.status);
                        at += response.end;
                    }
                    None => break,
                },
                Phase::Upgrading => match self.clients[index].upgraded(bytes)? {
                    Some(end) => at = end,
                    None => break,
                },
                _ => match frame::next(bytes, at)? {
                    Some(frame) => {
                        self.packet(index, frame.opcode, &bytes[frame.payload], load)?;
                        at = frame.end;
                    }
                    None => break,
                },
            }
        }
        Ok(at)
    }

    fn packet(
        &mut self,
        index: usize,
        opcode: frame::Opcode,
        packet: &[u8],
        load: &mut impl Load,
    ) -> Result<(), String> {
        match (opcode, packet) {
            (frame::Opcode::Close, _) => Err("the server closed the WebSocket".to_owned()),
            (frame::Opcode::Text, b"2") => {
                self.send(index, &frame::text("3"));
                Ok(())
            }
            (frame::Opcode::Text, _) if self.clients[index].phase == Phase::Ready => {
                if packet.starts_with(b"42") {
                    load.event(self, index, packet);
                    return Ok(());
                }
                Err(format!("unexpected packet {}", String::from_utf8_lossy(packet)))
            }
            (frame::Opcode::Text, _) => {
                let uid = self.uid(index);
                let client = &mut self.clients[index];
                client.advance(packet, || chat::register(&uid))?;
                self.ready += usize::from(client.phase == Phase::Ready);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn lose(&mut self, index: usize, reason: &str) {
        let client = &mut self.clients[index];
        if client.phase != Phase::Closed {
            client.phase = Phase::Closed;
            client.stream.shutdown(Shutdown::Both).ok();
            self.tally.lose(reason);
        }
    }
}

//! Many clients in one thread, with one epoll, one read buffer, and little memory per client.

use std::io::{self, ErrorKind, Read};
use std::mem;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::args::Transport;
use crate::client::{Client, Stage};
use crate::frame::Opcode;
use crate::latency::Latency;
use crate::line::Line;
use crate::net::Target;
use crate::polling::SEPARATOR;
use crate::run::Parameters;
use crate::tally::Tally;
use crate::{chat, frame, http};

/// How long connecting may continue without any client becoming ready.
const PATIENCE: Duration = Duration::from_secs(15);
/// The token of the waker. No client has it.
const WAKE: Token = Token(usize::MAX);
/// The mark in the token of a client's second connection, for its POSTs. The rest of the token is the
/// client's index.
const POSTS: usize = 1 << (usize::BITS - 2);
/// The mark in the token of a connection for API calls.
const API: usize = 1 << (usize::BITS - 3);

/// What a scenario does once its clients are registered.
pub(crate) trait Load {
    /// A chat event has arrived for the client `to`.
    fn event(&mut self, crowd: &mut Crowd<'_>, to: usize, packet: &[u8]);
    /// A call of the HTTP API on the connection `on` was answered.
    fn answer(&mut self, _crowd: &mut Crowd<'_>, _on: usize, _status: u16) {}
    /// Everything that had arrived was handled.
    fn turn(&mut self, _crowd: &mut Crowd<'_>) {}
    /// The maximum time that the next wait may take.
    fn patience(&self, _crowd: &Crowd<'_>) -> Duration {
        Duration::from_millis(20)
    }
}

/// A load that only listens.
pub(crate) struct Quiet;

impl Load for Quiet {
    fn event(&mut self, _crowd: &mut Crowd<'_>, _to: usize, _packet: &[u8]) {}
}

/// The clients `first` to `first + count` of a run, followed by the connections for API calls.
pub(crate) struct Crowd<'a> {
    targets: &'a [Target],
    transport: Transport,
    resume: bool,
    slow_from: usize,
    tally: &'a Tally,
    prefix: &'a str,
    /// The number of the first client.
    pub(crate) first: usize,
    poll: Poll,
    clients: Vec<Client>,
    ready: usize,
    /// The time that each client needed to connect and register.
    pub(crate) arrivals: Latency,
    buffer: Box<[u8]>,
    began: Instant,
    created_ms: u128,
}

impl<'a> Crowd<'a> {
    /// An empty crowd.
    pub(crate) fn new(plan: &'a Parameters, tally: &'a Tally, first: usize) -> anyhow::Result<Self> {
        Ok(Self {
            targets: &plan.targets,
            transport: plan.transport,
            resume: plan.resume,
            slow_from: plan.slow_from,
            tally,
            prefix: &plan.prefix,
            first,
            poll: Poll::new().context("cannot create an epoll instance")?,
            clients: Vec::new(),
            ready: 0,
            arrivals: Latency::default(),
            buffer: vec![0; 65_536].into_boxed_slice(),
            began: Instant::now(),
            created_ms: SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis(),
        })
    }

    /// The cid for a client's message number `count`. No earlier run has used it, because the server would
    /// take the message for a repetition.
    pub(crate) fn cid(&self, count: u64) -> String {
        format!("{:x}-{count}", self.created_ms)
    }

    /// The uid of a client of this crowd.
    pub(crate) fn uid(&self, client: usize) -> String {
        format!("{}-{}", self.prefix, self.first + client)
    }

    /// Nanoseconds since the crowd was created.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// A waker that ends a wait of this thread.
    pub(crate) fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), WAKE)
    }

    /// Connects and registers `count` clients, with at most `at_once` in progress, and returns when all are
    /// registered.
    pub(crate) fn gather(
        &mut self,
        count: usize,
        at_once: usize,
        load: &mut impl Load,
    ) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let (mut ready, mut since) = (0, Instant::now());
        while ready < count {
            while self.clients.len() < count && self.clients.len() - ready < at_once {
                let dialled = self.now();
                let stream = self
                    .dial(self.clients.len(), 0)
                    .context("a client cannot connect")?;
                self.clients.push(Client::new(stream, dialled, self.transport));
            }
            self.wait(&mut events, Duration::from_millis(100), load)?;
            if self.ready > ready {
                self.tally.ready.fetch_add(self.ready - ready, Ordering::Relaxed);
                (ready, since) = (self.ready, Instant::now());
            }
            if let Some(reason) = self.tally.lost() {
                bail!("a client was lost while connecting: {reason}");
            }
            if since.elapsed() > PATIENCE {
                let client = self.clients.iter().find(|client| client.phase != Stage::Ready);
                bail!(
                    "{ready} of {count} clients registered, then none for 15 s; one is in phase {:?}",
                    client.map(|c| c.phase)
                );
            }
        }
        Ok(())
    }

    /// Opens a connection for API calls and returns its index.
    pub(crate) fn dial_api(&mut self) -> anyhow::Result<usize> {
        let index = self.clients.len();
        let stream = self.dial(index, API).context("cannot connect for API calls")?;
        self.clients.push(Client::api(stream));
        Ok(index)
    }

    /// Runs the load until `stop` returns true.
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

    /// Sends a packet of a client: in a frame on its WebSocket, or with its next POST.
    pub(crate) fn say(&mut self, client: usize, packet: &str) {
        let Client { line, polling, .. } = &mut self.clients[client];
        let done = match polling {
            None => line.send(&frame::text(packet)),
            Some(polling) => {
                polling.queue(packet);
                self.post(client)
            }
        };
        if let Err(error) = done {
            self.lose(client, &error.to_string());
        }
    }

    /// Makes a call on a connection for API calls.
    pub(crate) fn call(&mut self, on: usize, request: &[u8]) {
        if let Err(error) = self.clients[on].line.send(request) {
            self.lose(on, &error.to_string());
        }
    }

    /// The client stops reading, and does not notice that its connection is closed.
    pub(crate) fn stop_reading(&mut self, client: usize) {
        self.clients[client].slow = true;
        for mark in [0, POSTS] {
            let registry = self.poll.registry();
            if let Some(line) = connection(&mut self.clients[client], mark) {
                registry.deregister(&mut line.stream).ok();
            }
        }
    }

    /// The client continues to read where it stopped.
    pub(crate) fn read_again(&mut self, client: usize) {
        let both = Interest::READABLE | Interest::WRITABLE;
        for mark in [0, POSTS] {
            let registry = self.poll.registry();
            if let Some(line) = connection(&mut self.clients[client], mark)
                && let Err(error) = registry.register(&mut line.stream, Token(client | mark), both)
            {
                self.lose(client, &error.to_string());
            }
        }
    }

    /// The node of a client.
    fn target(&self, index: usize) -> &'a Target {
        &self.targets[(self.first + index) % self.targets.len()]
    }

    /// Starts to connect a client. `mark` is added to its index in the token.
    fn dial(&self, index: usize, mark: usize) -> io::Result<TcpStream> {
        let slow = mark != API && self.first + index >= self.slow_from;
        let target = if mark == API {
            &self.targets[0]
        } else {
            self.target(index)
        };
        let mut stream = target.dial(self.first + index, slow)?;
        self.poll.registry().register(
            &mut stream,
            Token(index | mark),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(stream)
    }

    /// Sends the next POST of a polling client, if there is something to send and no POST in flight.
    fn post(&mut self, index: usize) -> io::Result<()> {
        let polling = self.clients[index].polling.as_mut();
        let Some(request) = polling.and_then(|polling| polling.next_post()) else {
            return Ok(());
        };
        if connection(&mut self.clients[index], POSTS).is_none() {
            let posts = Some(Line::new(self.dial(index, POSTS)?));
            if let Some(polling) = &mut self.clients[index].polling {
                polling.posts = posts;
            }
        }
        connection(&mut self.clients[index], POSTS).map_or(Ok(()), |posts| posts.send(request.as_bytes()))
    }

    fn wait(&mut self, events: &mut Events, timeout: Duration, load: &mut impl Load) -> anyhow::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.context("epoll failed")?,
        }
        for event in events.iter().filter(|event| event.token() != WAKE) {
            let (index, mark) = (event.token().0 & !(POSTS | API), event.token().0 & POSTS);
            if event.is_writable() {
                self.writable(index, mark);
            }
            if event.is_readable() || event.is_read_closed() {
                self.readable(index, mark, event.is_read_closed(), load);
            }
        }
        Ok(())
    }

    fn writable(&mut self, index: usize, mark: usize) {
        let target = self.target(index);
        let done = match self.clients[index].phase {
            Stage::Dialling => self.clients[index].connected(target),
            _ => connection(&mut self.clients[index], mark).map_or(Ok(()), Line::flush),
        };
        if let Err(error) = done {
            self.lose(index, &error.to_string());
        }
    }

    fn readable(&mut self, index: usize, mark: usize, closed: bool, load: &mut impl Load) {
        let mut buffer = mem::take(&mut self.buffer);
        while self.clients[index].phase != Stage::Closed
            && let Some(line) = connection(&mut self.clients[index], mark)
        {
            match line.stream.read(&mut buffer) {
                Ok(0) => self.connection_closed(index, mark, "closed by the server"),
                Ok(count) => {
                    self.received(index, mark, &buffer[..count], load);
                    if count < buffer.len() && !closed {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.connection_closed(index, mark, &error.to_string()),
            }
        }
        self.buffer = buffer;
    }

    /// The server has closed one of the client's connections.
    fn connection_closed(&mut self, index: usize, mark: usize, reason: &str) {
        match &mut self.clients[index].polling {
            Some(polling) if mark == POSTS => {
                if let Err(reason) = polling.connection_closed() {
                    self.lose(index, reason);
                }
            }
            _ => self.lose(index, reason),
        }
    }

    /// Handles complete frames and responses, and keeps the rest. A connection has a buffer only while there
    /// is a rest.
    fn received(&mut self, index: usize, mark: usize, bytes: &[u8], load: &mut impl Load) {
        let Some(line) = connection(&mut self.clients[index], mark) else {
            return;
        };
        let mut rest = mem::take(&mut line.rest);
        let handled = if rest.is_empty() {
            self.handle(index, mark, bytes, load)
                .map(|used| rest.extend_from_slice(&bytes[used..]))
        } else {
            rest.extend_from_slice(bytes);
            self.handle(index, mark, &rest, load)
                .map(|used| drop(rest.drain(..used)))
        };
        match (handled, connection(&mut self.clients[index], mark)) {
            (Ok(()), Some(line)) if !rest.is_empty() => line.rest = rest,
            (Ok(()), _) => {}
            (Err(reason), _) => self.lose(index, &reason),
        }
    }

    fn handle(
        &mut self,
        index: usize,
        mark: usize,
        bytes: &[u8],
        load: &mut impl Load,
    ) -> Result<usize, String> {
        let mut at = 0;
        while self.clients[index].phase != Stage::Closed && at < bytes.len() {
            let client = &mut self.clients[index];
            at += match (client.phase, &mut client.polling) {
                (Stage::Upgrading, _) => match client.upgraded(&bytes[at..])? {
                    Some(end) => end,
                    None => break,
                },
                (phase, polling) if phase == Stage::Api || polling.is_some() => {
                    let Some(response) = http::response(&bytes[at..])? else {
                        break;
                    };
                    match polling {
                        None => load.answer(self, index, response.status),
                        Some(polling) if mark == POSTS => {
                            polling.posted(response.status)?;
                            self.post(index).map_err(|error| error.to_string())?;
                        }
                        Some(_) => self.fetched(index, &response, &bytes[at..], load)?,
                    }
                    response.end
                }
                _ => match frame::next(bytes, at)? {
                    Some(frame) => {
                        match frame.opcode {
                            Opcode::Close => return Err("the server closed the WebSocket".to_owned()),
                            Opcode::Text => self.packet(index, &bytes[frame.payload], load)?,
                            Opcode::Binary | Opcode::Control => {}
                        }
                        frame.end - at
                    }
                    None => break,
                },
            };
        }
        Ok(at)
    }

    /// A GET was answered: handles its packets and sends the next GET.
    fn fetched(
        &mut self,
        index: usize,
        response: &http::Response,
        bytes: &[u8],
        load: &mut impl Load,
    ) -> Result<(), String> {
        let body = response.body(bytes);
        if response.status != 200 {
            return Err(format!(
                "a GET was answered with status {}: {}",
                response.status,
                String::from_utf8_lossy(&body[..body.len().min(200)])
            ));
        }
        let mut begin = 0;
        for end in memchr::memchr_iter(SEPARATOR, &body).chain([body.len()]) {
            self.packet(index, &body[begin..end], load)?;
            begin = end + 1;
        }
        match &mut self.clients[index] {
            Client {
                line,
                polling: Some(polling),
                phase,
                ..
            } if *phase != Stage::Closed => line.send(&polling.get).map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    fn packet(&mut self, index: usize, packet: &[u8], load: &mut impl Load) -> Result<(), String> {
        match (packet, self.clients[index].phase) {
            (_, Stage::Closed) | (b"6", _) => {}
            (b"2", _) => self.say(index, "3"),
            (b"1", _) => return Err("the server closed the session".to_owned()),
            ([b'4', b'2', ..], Stage::Ready) => load.event(self, index, packet),
            ([b'4', b'2', ..], Stage::Resuming) => {
                load.event(self, index, packet);
                if chat::kind(packet) == Some(chat::RESUMED) {
                    self.clients[index].phase = Stage::Ready;
                    self.arrived(index);
                }
            }
            (_, Stage::Ready | Stage::Resuming) => {
                return Err(format!("unexpected packet {}", String::from_utf8_lossy(packet)));
            }
            _ => {
                let (uid, resume) = (self.uid(index), self.resume);
                let registered = if resume { Stage::Resuming } else { Stage::Ready };
                let (target, client) = (self.target(index), &mut self.clients[index]);
                let next = client.advance(target, packet, registered, || chat::register(&uid, resume))?;
                if client.phase == Stage::Ready {
                    self.arrived(index);
                }
                if let Some(next) = next {
                    self.say(index, &next);
                }
            }
        }
        Ok(())
    }

    /// The client has connected, registered, and received its replay if it wanted one.
    fn arrived(&mut self, index: usize) {
        self.ready += 1;
        self.arrivals.record(self.now() - self.clients[index].dialled);
    }

    fn lose(&mut self, index: usize, reason: &str) {
        let client = &mut self.clients[index];
        if client.phase != Stage::Closed {
            client.phase = Stage::Closed;
            client.line.stream.shutdown(Shutdown::Both).ok();
            // Dropping this closes the second connection.
            client.polling = None;
            if client.slow {
                self.tally.dropped.fetch_add(1, Ordering::Relaxed);
            } else if !self.tally.leaving.load(Ordering::Relaxed) {
                self.tally.lose(reason);
            }
        }
    }
}

/// The connection of a client that belongs to a token's mark.
fn connection(client: &mut Client, mark: usize) -> Option<&mut Line> {
    match mark {
        POSTS => client.polling.as_mut()?.posts.as_mut(),
        _ => Some(&mut client.line),
    }
}

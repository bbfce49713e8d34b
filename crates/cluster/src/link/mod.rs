//! One connection to Redis that is kept: it is opened again, with growing waits, until its owner drops it.
//!
//! Invariants: a command is sent on the current connection or fails at once; there is no queue in front of it
//! and no retry. Each command is answered within [`Times::answer`]; after one that is not, the connection is
//! replaced, because later answers on it would be late as well. A change of the state is logged once.

mod purpose;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, Value};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

use crate::address::Address;
use crate::failure::{Failure, Trouble};

pub(crate) use purpose::{Keys, Purpose};

/// How long things take at most, and how often they are done.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For opening a connection, with TLS and the greeting, and again for what is prepared on it.
    pub connect: Duration,
    /// For the answer to a command.
    pub answer: Duration,
    /// Between two checks of a connection, and between two probes of the bus.
    pub beat: Duration,
    /// The wait after the first failure to connect; it is doubled after each further one.
    pub first_wait: Duration,
    /// The longest wait between two attempts to connect.
    pub longest_wait: Duration,
    /// When the bus has delivered nothing for so long, it is taken to be dead, and its connections are
    /// replaced.
    pub silence: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(2),
            beat: Duration::from_secs(1),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(1),
            silence: Duration::from_secs(4),
        }
    }
}

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is one. It is the connection with this number; the first one has number 1.
    Connected(u64),
    /// There is none, for this reason.
    Disconnected(Trouble),
}

#[derive(Clone)]
struct Session {
    number: u64,
    connection: MultiplexedConnection,
}

struct Shared {
    session: RwLock<Option<Session>>,
    state: watch::Sender<State>,
    /// The number of the last connection that is to be replaced, and why.
    broken: watch::Sender<(u64, Trouble)>,
    times: Times,
}

/// See the module.
pub(crate) struct Link {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Begins to connect. The caller is inside of a tokio runtime.
    pub(crate) fn start(address: Arc<Address>, purpose: Purpose, times: Times) -> Self {
        let shared = Arc::new(Shared {
            session: RwLock::new(None),
            state: watch::Sender::new(State::Disconnected(Trouble::NotYet)),
            broken: watch::Sender::new((0, Trouble::NotYet)),
            times,
        });
        let task = tokio::spawn(keep(shared.clone(), address, purpose));
        Self { shared, task }
    }

    /// Whether there is a connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.session.read().is_some()
    }

    /// The state, whose changes can be awaited.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Sends commands in one write. Returns an answer for each; the answer of a command that was refused is a
    /// [`Value::ServerError`].
    pub(crate) async fn ask(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let Some(session) = self.shared.session.read().clone() else {
            return Err(Failure::Unavailable);
        };
        let Session {
            number,
            mut connection,
        } = session;
        let answers = connection.send_packed_commands(commands, 0, commands.len()).await;
        answers.map_err(|_| {
            self.shared.replace(number, Trouble::NoAnswer);
            Failure::NoAnswer
        })
    }

    /// Replaces the current connection.
    pub(crate) fn replace(&self, why: Trouble) {
        let number = self.shared.session.read().as_ref().map(|session| session.number);
        if let Some(number) = number {
            self.shared.replace(number, why);
        }
    }
}

impl Shared {
    /// Replaces the connection `number`, unless that was done already. From now on, commands fail.
    fn replace(&self, number: u64, why: Trouble) {
        self.session.write().take_if(|session| session.number == number);
        self.broken.send_if_modified(|(last, trouble)| {
            let is_new = *last < number;
            if is_new {
                (*last, *trouble) = (number, why);
            }
            is_new
        });
    }
}

async fn keep(shared: Arc<Shared>, address: Arc<Address>, purpose: Purpose) {
    let Times {
        first_wait,
        longest_wait,
        ..
    } = shared.times;
    let (mut wait, mut known) = (first_wait, None);
    for number in 1.. {
        let (trouble, was_connected) = connect_once(&shared, &address, &purpose, number).await;
        if was_connected {
            (wait, known) = (first_wait, None);
        }
        if known.as_ref() != Some(&trouble) {
            tracing::warn!(purpose = purpose.name(), redis = %address, "no connection to Redis: {trouble}");
            known = Some(trouble.clone());
        }
        shared.state.send_replace(State::Disconnected(trouble));
        sleep(wait + wait.mul_f64(jitter())).await;
        wait = (wait * 2).min(longest_wait);
    }
}

/// Opens the connection `number` and serves it until its end. Returns why it ended, and whether it was
/// ever open.
async fn connect_once(shared: &Shared, address: &Address, purpose: &Purpose, number: u64) -> (Trouble, bool) {
    let (connection, driver) = match open(shared, address, purpose).await {
        Ok(opened) => opened,
        Err(trouble) => return (trouble, false),
    };
    let mut driver = pin!(driver);
    let prepared = tokio::select! {
        prepared = timeout(shared.times.connect, purpose.prepare(connection.clone())) => {
            prepared.unwrap_or(Err(Trouble::NoAnswer))
        }
        () = &mut driver => Err(Trouble::Closed),
    };
    if let Err(trouble) = prepared {
        return (trouble, false);
    }
    tracing::info!(purpose = purpose.name(), redis = %address, "connected to Redis");
    *shared.session.write() = Some(Session {
        number,
        connection: connection.clone(),
    });
    shared.state.send_replace(State::Connected(number));
    let mut broken = shared.broken.subscribe();
    let trouble = tokio::select! {
        () = driver => Trouble::Closed,
        trouble = beats(shared, purpose, connection) => trouble,
        // The sender is in `shared`, so there is no error.
        Ok(broken) = broken.wait_for(|(last, _)| *last >= number) => broken.1.clone(),
    };
    shared.session.write().take();
    (trouble, true)
}

/// Opens a connection. The second value drives it: it must be polled for the connection to work.
async fn open(
    shared: &Shared,
    address: &Address,
    purpose: &Purpose,
) -> Result<(MultiplexedConnection, impl Future<Output = ()>), Trouble> {
    let mut config = AsyncConnectionConfig::new().set_response_timeout(Some(shared.times.answer));
    if let Some(pushed) = purpose.pushed() {
        config = config.set_push_sender(move |push| pushed(push));
    }
    let deadline = Instant::now() + shared.times.connect;
    let stream = address.open(deadline).await?;
    let greeted = MultiplexedConnection::new_with_config(&address.login, stream, config);
    match timeout_at(deadline, greeted).await {
        Ok(greeted) => greeted.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::NoAnswer),
    }
}

/// Checks a connection regularly, until it fails.
async fn beats(shared: &Shared, purpose: &Purpose, mut connection: MultiplexedConnection) -> Trouble {
    let mut beats = interval(shared.times.beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        if let Err(trouble) = purpose.beat(&mut connection).await {
            return trouble;
        }
    }
}

/// A random part of at most a half, so that nodes do not all connect at the same moment.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without a random number, the wait is merely not varied.
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 512.0
}

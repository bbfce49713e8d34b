//! The commands that wait for the writer: a bounded queue, from which the writer takes everything at once.
//!
//! Finished push jobs, acknowledgements, and devices for which nobody waits do not need a transaction of
//! their own. They wait a moment for a message to share its transaction, so that under light load the next
//! message does not wait for theirs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mynah_store::{Done, StoreError};
use parking_lot::{Condvar, Mutex};

use super::failure::Failure;
use super::tx::Tx;

/// The maximum number of commands that may wait. Further ones are refused.
const MAX_WAITING: usize = 65_536;

/// How long commands that are not urgent wait for one that is.
const LINGER: Duration = Duration::from_millis(10);

/// A command for the writer.
pub(super) struct Command {
    /// Whether somebody waits for it.
    is_urgent: bool,
    asked: Box<dyn Asked>,
}

impl Command {
    /// A command that does `work` in the writer's transaction. Its result is reported to `done` after the
    /// commit.
    pub(super) fn new<T: Send + 'static>(
        is_urgent: bool,
        done: Done<T>,
        mut work: impl FnMut(&mut Tx<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Self {
        Self::in_parts(is_urgent, done, move |tx| work(tx).map(Some))
    }

    /// A command in several parts: as long as `work` returns `None`, it is called again in a later
    /// transaction, after the commands that wait by then.
    pub(super) fn in_parts<T: Send + 'static>(
        is_urgent: bool,
        done: Done<T>,
        work: impl FnMut(&mut Tx<'_>) -> Result<Option<T>, Failure> + Send + 'static,
    ) -> Self {
        let asked = Box::new(Work {
            work,
            done,
            result: None,
        });
        Self { is_urgent, asked }
    }

    /// Does the work, and keeps the result.
    pub(super) fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.asked.run(tx)
    }

    /// Reports the result, after the commit. Returns the command if its work is not complete.
    pub(super) fn tell(self) -> Option<Self> {
        let asked = self.asked.tell(None)?;
        Some(Self { asked, ..self })
    }

    /// Reports to the caller that nothing was done.
    pub(super) fn fail(self, error: StoreError) {
        self.asked.tell(Some(error));
    }
}

/// A command with the type of its result.
struct Work<T, F> {
    work: F,
    done: Done<T>,
    result: Option<Result<T, StoreError>>,
}

trait Asked: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    fn tell(self: Box<Self>, failure: Option<StoreError>) -> Option<Box<dyn Asked>>;
}

impl<T, F> Asked for Work<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> Result<Option<T>, Failure> + Send + 'static,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.result = match (self.work)(tx) {
            Ok(done) => done.map(Ok),
            Err(Failure::Refused(error)) => Some(Err(error)),
            Err(Failure::Broken(error)) => return Err(error),
        };
        Ok(())
    }

    fn tell(mut self: Box<Self>, failure: Option<StoreError>) -> Option<Box<dyn Asked>> {
        match failure.map(Err).or(self.result.take()) {
            Some(result) => (self.done)(result),
            None => return Some(self),
        }
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// Waits for any command.
    Empty,
    /// Waits for an urgent command, or until the wait of the others is over.
    Linger,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
    depth: AtomicUsize,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Command>,
    /// The number of urgent commands.
    urgent: usize,
    /// What the sleeping writer waits for.
    sleeps: Option<Sleep>,
    closed: bool,
}

impl Queue {
    /// Appends commands in their order, either all or none of them.
    pub(super) fn push(&self, commands: impl ExactSizeIterator<Item = Command>) {
        let mut state = self.state.lock();
        let refusal = if state.closed {
            StoreError::stopped()
        } else if !state.waiting.is_empty() && state.waiting.len() + commands.len() > MAX_WAITING {
            StoreError::Unavailable("too many commands wait to be written; try again later".to_owned())
        } else {
            let before = state.urgent;
            for command in commands {
                state.urgent += usize::from(command.is_urgent);
                state.waiting.push_back(command);
            }
            self.depth.store(state.waiting.len(), Ordering::Relaxed);
            let wake = match state.sleeps {
                Some(Sleep::Empty) => true,
                Some(Sleep::Linger) => state.urgent > before,
                None => false,
            };
            if wake {
                state.sleeps = None;
            }
            drop(state);
            if wake {
                self.filled.notify_one();
            }
            return;
        };
        drop(state);
        commands.for_each(|command| command.fail(refusal.clone()));
    }

    /// Appends a command of which the writer has done a part, even if the queue is closed.
    pub(super) fn go_on(&self, command: Command) {
        let mut state = self.state.lock();
        state.urgent += usize::from(command.is_urgent);
        state.waiting.push_back(command);
        self.depth.store(state.waiting.len(), Ordering::Relaxed);
    }

    /// Waits for commands, but no longer than `idle`, and moves up to `max` of them to `batch`. Returns false
    /// if the queue is closed and empty.
    pub(super) fn take(&self, batch: &mut Vec<Command>, max: usize, idle: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        let mut patience = None;
        while state.urgent == 0 && !state.closed {
            if state.waiting.is_empty() {
                state.sleeps = Some(Sleep::Empty);
                match idle {
                    None => self.filled.wait(&mut state),
                    Some(idle) if self.filled.wait_for(&mut state, idle).timed_out() => {
                        state.sleeps = None;
                        if state.waiting.is_empty() {
                            return true;
                        }
                    }
                    Some(_) => {}
                }
                continue;
            }
            let until = *patience.get_or_insert_with(|| Instant::now() + LINGER);
            state.sleeps = Some(Sleep::Linger);
            if self.filled.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.sleeps = None;
        self.drain(&mut state, batch, max) > 0
    }

    /// Moves up to `max` commands to `batch`, without waiting.
    #[cfg(any(test, feature = "stepped"))]
    pub(super) fn take_now(&self, batch: &mut Vec<Command>, max: usize) {
        self.drain(&mut self.state.lock(), batch, max);
    }

    fn drain(&self, state: &mut QueueState, batch: &mut Vec<Command>, max: usize) -> usize {
        let (take, taken) = (state.waiting.len().min(max), batch.len());
        batch.extend(state.waiting.drain(..take));
        state.urgent -= batch[taken..].iter().filter(|command| command.is_urgent).count();
        self.depth.store(state.waiting.len(), Ordering::Relaxed);
        take
    }

    /// Refuses further commands. Those that wait are still taken.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// Frees memory that a burst has needed.
    pub(super) fn shrink(&self) {
        self.state.lock().waiting.shrink_to_fit();
    }

    /// Returns the number of waiting commands.
    pub(super) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A command that is not urgent, and that counts its refusal.
    fn lazy(refused: &Arc<AtomicUsize>) -> Command {
        let refused = refused.clone();
        let done = move |told: Result<(), StoreError>| {
            assert!(matches!(told, Err(StoreError::Unavailable(_))));
            refused.fetch_add(1, Ordering::Relaxed);
        };
        Command::new(false, Box::new(done), |_| Ok(()))
    }

    fn urgent() -> Command {
        Command::new(true, Box::new(drop::<Result<(), _>>), |_| Ok(()))
    }

    #[test]
    fn returns_commands_in_order_and_in_batches() {
        let queue = Queue::default();
        let refused = Arc::new(AtomicUsize::new(0));
        queue.push([urgent(), lazy(&refused), urgent()].into_iter());
        assert_eq!(queue.depth(), 3);
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, 2, None));
        assert_eq!(
            batch.iter().map(|command| command.is_urgent).collect::<Vec<_>>(),
            [true, false]
        );
        assert!(queue.take(&mut batch, 2, None));
        assert_eq!((batch.len(), queue.depth()), (3, 0));
    }

    #[test]
    fn commands_that_are_not_urgent_are_returned_after_a_while() {
        let queue = Queue::default();
        queue.push([lazy(&Arc::default())].into_iter());
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, 10, None));
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn wakes_the_sleeping_writer() {
        let queue = Arc::new(Queue::default());
        let taker = queue.clone();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut batch) = (0, Vec::new());
            while taker.take(&mut batch, 4, None) {
                seen += batch.drain(..).len();
            }
            seen
        });
        for round in 0..1_000 {
            let command = if round % 3 == 0 {
                urgent()
            } else {
                lazy(&Arc::default())
            };
            queue.push([command].into_iter());
        }
        queue.close();
        assert_eq!(thread.join().unwrap(), 1_000, "what waited at the end, too");
    }

    #[test]
    fn is_bounded_and_can_be_closed() {
        let queue = Queue::default();
        let refused = Arc::new(AtomicUsize::new(0));
        let too_many = MAX_WAITING + 1;
        queue.push((0..too_many).map(|_| urgent()).collect::<Vec<_>>().into_iter());
        assert_eq!(
            queue.depth(),
            too_many,
            "one call is always taken when nothing waits"
        );
        queue.push([lazy(&refused), lazy(&refused)].into_iter());
        assert_eq!((queue.depth(), refused.load(Ordering::Relaxed)), (too_many, 2));
        queue.close();
        queue.push([lazy(&refused)].into_iter());
        assert_eq!(refused.load(Ordering::Relaxed), 3);
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, usize::MAX, None) && batch.len() == too_many);
        assert!(!queue.take(&mut batch, usize::MAX, None));
    }
}

//! What waits for the writer: a bounded queue that it empties in one go.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::failure::stopped;
use crate::ids::TeamId;
use crate::store::{Append, Appended, Done, JobId, JobOutcome, StoreError, TeamChange, TeamChanged};

/// Most commands that may wait; beyond it the caller is told to come later.
const MAX_WAITING: usize = 65_536;

/// One thing for the writer to do.
pub(super) enum Command {
    Append(Append, Done<Appended>),
    ChangeTeam(TeamId, TeamChange, Done<TeamChanged>),
    FinishJobs(Vec<(JobId, JobOutcome)>, Done<()>),
    /// Whatever a test wants to do to the writer's connection.
    #[cfg(test)]
    Run(Box<dyn FnOnce(&rusqlite::Connection) + Send>),
}

impl Command {
    /// Tells the caller that nothing was done.
    pub(super) fn fail(self, error: StoreError) {
        match self {
            Self::Append(_, done) => done(Err(error)),
            Self::ChangeTeam(_, _, done) => done(Err(error)),
            Self::FinishJobs(_, done) => done(Err(error)),
            #[cfg(test)]
            Self::Run(_) => {}
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    depth: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Command>,
    idle: bool,
    closed: bool,
}

impl Queue {
    /// Puts commands at the end, in their order, all or none of them.
    pub(super) fn push(&self, commands: impl ExactSizeIterator<Item = Command>) {
        let mut state = self.state.lock();
        let refusal = if state.closed {
            stopped()
        } else if !state.waiting.is_empty() && state.waiting.len() + commands.len() > MAX_WAITING {
            StoreError::Unavailable("too much is waiting to be written; try again later".to_owned())
        } else {
            state.waiting.extend(commands);
            self.depth.store(state.waiting.len(), Ordering::Relaxed);
            let wake = std::mem::take(&mut state.idle);
            drop(state);
            if wake {
                self.filled.notify_one();
            }
            return;
        };
        drop(state);
        commands.for_each(|command| command.fail(refusal.clone()));
    }

    /// Waits for commands and moves up to `max` of them to `batch`. `false` when the queue is closed and empty.
    pub(super) fn take(&self, batch: &mut Vec<Command>, max: usize) -> bool {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state.idle = true;
            self.filled.wait(&mut state);
        }
        let take = state.waiting.len().min(max);
        batch.extend(state.waiting.drain(..take));
        self.depth.store(state.waiting.len(), Ordering::Relaxed);
        true
    }

    /// Lets nothing more in; what waits is still taken.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.idle = false;
        drop(state);
        self.filled.notify_all();
    }

    /// How many commands wait.
    pub(super) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }
}

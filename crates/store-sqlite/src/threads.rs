//! The threads of the store, and their orderly end.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::reads::READERS;
use super::shared::Shared;
use super::writer::Writer;

/// The running threads.
pub(super) struct Threads {
    shared: Arc<Shared>,
    /// Empty once they are stopped.
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts the threads.
    pub(super) fn start(writer: Writer) -> std::io::Result<Self> {
        let threads = Self::none(writer.shared.clone());
        let (moving, mut running) = (threads.shared.clone(), Vec::new());
        running.push(start("store-log", move || {
            moving.checkpoints.run(&moving.place, &moving.watchers);
        })?);
        running.push(start("store-write", move || writer.run())?);
        for _ in 0..READERS {
            let readers = threads.shared.readers.clone();
            running.push(start("store-read", move || readers.work())?);
        }
        *threads.running.lock() = running;
        Ok(threads)
    }

    /// No threads: the work is done elsewhere.
    pub(super) fn none(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            running: Mutex::default(),
        }
    }

    /// Commits what is queued, ends the threads and unlocks the directory. Blocks until then.
    pub(super) fn stop(&self) {
        let mut running = self.running.lock();
        if running.is_empty() {
            return;
        }
        self.shared.checkpoints.stop();
        self.shared.queue.close();
        self.shared.readers.close();
        for thread in running.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        self.shared.place.unlock();
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

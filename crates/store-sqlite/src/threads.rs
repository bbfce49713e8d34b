//! The threads of the store, and their orderly end.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::checkpoint::Checkpoints;
use super::open::DataDirectory;
use super::queue::Queue;
use super::reads::{READERS, Readers};
use super::watchers::Watchers;
use super::writer::Writer;

/// The running threads.
pub(super) struct Threads {
    place: Arc<DataDirectory>,
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    checkpoints: Arc<Checkpoints>,
    /// Empty once they are stopped.
    running: Mutex<Vec<JoinHandle<()>>>,
}

/// The parts of a store that its threads work on.
pub(super) struct Work {
    pub(super) place: Arc<DataDirectory>,
    pub(super) queue: Arc<Queue>,
    pub(super) readers: Arc<Readers>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) watchers: Arc<Watchers>,
    pub(super) writer: Writer,
}

impl Threads {
    /// Starts the threads.
    pub(super) fn start(work: Work) -> std::io::Result<Self> {
        let Work {
            place,
            queue,
            readers,
            checkpoints,
            watchers,
            writer,
        } = work;
        let moving = (checkpoints.clone(), place.clone());
        let mut running = vec![
            start("store-log", move || moving.0.run(&moving.1, &watchers))?,
            start("store-write", move || writer.run())?,
        ];
        for _ in 0..READERS {
            let readers = readers.clone();
            running.push(start("store-read", move || readers.work())?);
        }
        Ok(Self::new(place, queue, readers, checkpoints, running))
    }

    /// Creates the value for threads that are running already. If there are none, the work is done elsewhere.
    pub(super) fn new(
        place: Arc<DataDirectory>,
        queue: Arc<Queue>,
        readers: Arc<Readers>,
        checkpoints: Arc<Checkpoints>,
        running: Vec<JoinHandle<()>>,
    ) -> Self {
        Self {
            place,
            queue,
            readers,
            checkpoints,
            running: Mutex::new(running),
        }
    }

    /// Commits what is queued, ends the threads and unlocks the directory. Blocks until then.
    pub(super) fn stop(&self) {
        let mut running = self.running.lock();
        if running.is_empty() {
            return;
        }
        self.checkpoints.stop();
        self.queue.close();
        self.readers.close();
        for thread in running.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        self.place.unlock();
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

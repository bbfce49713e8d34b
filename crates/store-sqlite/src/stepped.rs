//! The store without threads of its own, for simulations: the writer works when it is told to, and reads run
//! in the thread that requests them.
//!
//! Invariant: everything else is the code of the normal store. What was not committed when a [`Stepper`] is
//! dropped is lost, as in a crash.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::open::OpenError;
use super::reads::Readers;
use super::threads::Threads;
use super::writer::Writer;
use super::{Embedded, Options};

/// A fault of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The disk has no space for another page.
    Full,
    /// The last write of a transaction fails, and the connection with it.
    Broken,
}

/// The writer of a store, which works step by step.
pub struct Stepper {
    /// The connection that reads.
    reader: Arc<Mutex<Option<Connection>>>,
    writer: Writer,
}

/// Opens a store whose writer works step by step.
pub fn open(options: Options) -> Result<(Embedded, Stepper), OpenError> {
    let reader = Arc::new(Mutex::new(None));
    let reading = reader.clone();
    let run_reads = Box::new(move |readers: &Readers| readers.serve(&mut reading.lock()));
    let mut stepper = None;
    let store = Embedded::open_with(options, Some(run_reads), |writer| {
        let shared = writer.shared.clone();
        stepper = Some(Stepper { reader, writer });
        Ok(Threads::none(shared))
    })?;
    Ok((store, stepper.expect("the store was started")))
}

impl Stepper {
    /// Returns the number of waiting commands.
    pub fn depth(&self) -> usize {
        self.writer.shared.queue.depth()
    }

    /// Runs one round of the writer: a transaction of up to `most` commands with its callbacks, and the work
    /// between transactions.
    pub fn step(&mut self, most: usize) {
        let mut batch = Vec::new();
        self.writer.shared.queue.take_now(&mut batch, most);
        self.writer.commit(&mut batch);
        self.writer.delete_old();
    }

    /// Returns the time until the writer has something to do without a command.
    pub fn idle(&self) -> Option<Duration> {
        self.writer.idle()
    }

    /// Sets the fault that further transactions meet; `None` ends it.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        let Some(db) = &self.writer.db else { return };
        let order = match trouble {
            // A limit below the present number of pages means that no page can be added.
            Some(Trouble::Full) => "PRAGMA max_page_count = 1",
            Some(Trouble::Broken) => {
                "CREATE TEMP TRIGGER IF NOT EXISTS broken BEFORE UPDATE ON main.conversations
                 BEGIN SELECT RAISE(ROLLBACK, 'the disk is broken'); END"
            }
            None => "DROP TRIGGER IF EXISTS temp.broken; PRAGMA max_page_count = 1073741823",
        };
        db.execute_batch(order).expect("the pragmas are valid");
    }

    /// Returns the writer's connection, to examine what is committed.
    pub fn db(&self) -> Option<&Connection> {
        self.writer.db.as_ref()
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.writer.shared.readers.close();
        self.reader.lock().take();
        self.writer.shared.place.unlock();
    }
}

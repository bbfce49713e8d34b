//! The store without threads of its own, for simulations: its writer works when it is told to, and reads run where they are asked for.
//!
//! Invariant: everything else is the store's own code. What was not committed when a [`Stepper`] is dropped is gone, as in a crash.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::open::{OpenError, Place};
use super::reads::Readers;
use super::threads::Threads;
use super::writer::Writer;
use super::{Embedded, Options};

/// What may go wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room for another page.
    Full,
    /// The last write of a transaction fails, and the connection with it.
    Broken,
}

/// The writer of a store, to be stepped.
pub struct Stepper {
    place: Arc<Place>,
    readers: Arc<Readers>,
    /// The connection of reads.
    reader: Arc<Mutex<Option<Connection>>>,
    writer: Writer,
}

/// Opens a store whose writer is stepped.
pub fn open(options: Options) -> Result<(Embedded, Stepper), OpenError> {
    let reader = Arc::new(Mutex::new(None));
    let reading = reader.clone();
    let here = Box::new(move |readers: &Readers| readers.serve(&mut reading.lock()));
    let mut stepper = None;
    let store = Embedded::open_with(options, Some(here), |work| {
        stepper = Some(Stepper {
            place: work.place.clone(),
            readers: work.readers.clone(),
            reader,
            writer: work.writer,
        });
        let nobody = Vec::new();
        Ok(Threads::new(
            work.place,
            work.queue,
            work.readers,
            work.checkpoints,
            nobody,
        ))
    })?;
    Ok((store, stepper.expect("the store's work was begun")))
}

impl Stepper {
    /// Commands that wait.
    pub fn depth(&self) -> usize {
        self.writer.queue.depth()
    }

    /// A round of the writer: one transaction of up to `most` commands, whose callers are told, and what it does in between.
    pub fn step(&mut self, most: usize) {
        let mut batch = Vec::new();
        self.writer.queue.take_now(&mut batch, most);
        self.writer.commit(&mut batch);
        self.writer.delete_old();
    }

    /// How long until the writer has something to do by itself.
    pub fn idle(&self) -> Option<Duration> {
        self.writer.idle()
    }

    /// From now on transactions meet this; `None` is the end of all trouble.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        let Some(db) = &self.writer.db else { return };
        let order = match trouble {
            // Less than there are means as many as there are.
            Some(Trouble::Full) => "PRAGMA max_page_count = 1",
            Some(Trouble::Broken) => {
                "CREATE TEMP TRIGGER IF NOT EXISTS broken BEFORE UPDATE ON main.conversations
                 BEGIN SELECT RAISE(ROLLBACK, 'the disk is broken'); END"
            }
            None => "DROP TRIGGER IF EXISTS temp.broken; PRAGMA max_page_count = 1073741823",
        };
        db.execute_batch(order).expect("trouble can be made");
    }

    /// The writer's connection, to look at what is committed.
    pub fn db(&self) -> Option<&Connection> {
        self.writer.db.as_ref()
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.readers.close();
        self.reader.lock().take();
        self.place.unlock();
    }
}

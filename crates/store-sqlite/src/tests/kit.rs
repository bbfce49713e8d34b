//! The store in a temporary directory, as a subject of the conformance suite, with additions for the store's
//! own tests.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use mynah_store::Store;
use mynah_store_conformance::Wait;
pub(super) use mynah_store_conformance::kit::{
    Clocks, NOON, Setup, Stores, Subject, answer, device, json, notice, page, pair, recall, team_id, to_team,
    uid, uids, with_cid,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::tx::Tx;
use crate::{Clock, Durability, Embedded, Options};

/// A store with short functions for its calls.
pub(super) struct Kit(mynah_store_conformance::kit::Kit<Sqlite>);

impl Kit {
    pub(super) fn new() -> Self {
        Self::with(Setup::default())
    }

    pub(super) fn with(setup: Setup) -> Self {
        Self::begin(tempfile::tempdir().unwrap(), setup)
    }

    pub(super) fn within(dir: TempDir) -> Self {
        Self::begin(dir, Setup::default())
    }

    fn begin(dir: TempDir, setup: Setup) -> Self {
        let make = |clocks: &Clocks| Sqlite::open_in(dir, setup, clocks);
        Self(mynah_store_conformance::kit::Kit::begin(setup, make))
    }
}

impl Deref for Kit {
    type Target = mynah_store_conformance::kit::Kit<Sqlite>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Kit {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Creates stores for the conformance suite.
pub(super) struct InDirectories;

impl Stores for InDirectories {
    fn make(&self, setup: Setup, clocks: &Clocks) -> Box<dyn Subject> {
        Box::new(Sqlite::open_in(tempfile::tempdir().unwrap(), setup, clocks))
    }
}

/// A store and its directory. Commits are not synced, because the tests do not cut the power.
pub(super) struct Sqlite {
    pub(super) dir: TempDir,
    pub(super) store: Arc<Embedded>,
    shown: Arc<dyn Store>,
    copy: Vec<u8>,
}

impl Sqlite {
    fn open_in(dir: TempDir, setup: Setup, clocks: &Clocks) -> Self {
        let store = Arc::new(Embedded::open(options(&dir, clocks, setup)).unwrap());
        Self {
            dir,
            shown: store.clone(),
            store,
            copy: Vec::new(),
        }
    }

    /// Runs a function with the writer's connection, in a transaction.
    pub(super) async fn writer<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let (done, ran) = oneshot::channel();
        self.run(move |db| drop(done.send(run(db))));
        ran.await.expect("the writer runs it")
    }

    /// Does the same without waiting.
    pub(super) fn run(&self, run: impl FnOnce(&Connection) + Send + 'static) {
        let mut run = Some(run);
        let work = move |tx: &mut Tx<'_>| {
            run.take().into_iter().for_each(|run| run(tx.db));
            Ok(())
        };
        self.store.ask(true, Box::new(drop::<Result<(), _>>), work);
    }

    /// The files as they would be found after a crash, and when each was written.
    fn files(&self) -> [(Vec<u8>, SystemTime, PathBuf); 3] {
        ["mynah.db", "mynah.db-wal", "mynah.witness"].map(|name| {
            let path = self.dir.path().join(name);
            let written = std::fs::metadata(&path).unwrap().modified().unwrap();
            (std::fs::read(&path).unwrap(), written, path)
        })
    }
}

impl Subject for Sqlite {
    fn store(&self) -> &Arc<dyn Store> {
        &self.shown
    }

    fn open(&mut self, setup: Setup, clocks: &Clocks) {
        self.store = Arc::new(Embedded::open(options(&self.dir, clocks, setup)).unwrap());
        self.shown = self.store.clone();
    }

    fn crash<'a>(&'a mut self, setup: Setup, clocks: &'a Clocks) -> Wait<'a> {
        Box::pin(async move {
            // If two copies are equal, nothing has changed the files in between, such as a checkpoint.
            let mut left = self.files();
            loop {
                let again = self.files();
                if again == left {
                    break;
                }
                left = again;
            }
            self.store.close().await;
            for (bytes, written, path) in left {
                std::fs::write(&path, bytes).unwrap();
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(written).unwrap();
            }
            self.open(setup, clocks);
        })
    }

    fn keep_copy(&mut self) {
        self.copy = std::fs::read(self.dir.path().join("mynah.db")).unwrap();
    }

    fn go_back(&mut self, setup: Setup, clocks: &Clocks) {
        std::fs::write(self.dir.path().join("mynah.db"), &self.copy).unwrap();
        self.open(setup, clocks);
    }

    fn catch_up(&self) -> Wait<'_> {
        Box::pin(async move {
            // The writer does this after a batch, and so before the next one.
            self.writer(|_| ()).await;
            self.writer(|_| ()).await;
        })
    }
}

fn options(dir: &TempDir, clocks: &Clocks, setup: Setup) -> Options {
    let (day, steady) = (clocks.clone(), clocks.clone());
    Options {
        durability: Durability::Process,
        dedupe_window_ms: 1_000,
        // So few that tests reach the limit and cids are moved.
        fresh_cids: 5,
        max_members: 10,
        max_devices: setup.max_devices,
        new_members_see_all: setup.see_all,
        retention_ms: setup.keep_ms,
        clock: Clock::new(move || day.day(), move || steady.steady()),
        ..Options::new(dir.path())
    }
}

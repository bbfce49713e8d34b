//! The conformance suite on this store.

use std::sync::Arc;

use mynah_store::Store;
use mynah_store_conformance::kit::{Clocks, Setup, Stores, Subject};
use mynah_store_conformance::{Wait, for_each_case};

use super::server::{Server, program, run};
use crate::retention::Look;
use crate::{Options, Postgres};

macro_rules! tests {
    ($($module:ident { $($case:ident)* })*) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $case() {
                if super::Server::shared().is_some() {
                    mynah_store_conformance::$module::$case(&super::InSchemas).await;
                }
            })*
        })*
    };
}
for_each_case!(tests);

#[test]
fn answers_as_the_plain_model() {
    if Server::shared().is_some() {
        mynah_store_conformance::model::check(&InSchemas);
    }
}

/// Makes stores for the suite, each in a schema of its own.
struct InSchemas;

impl Stores for InSchemas {
    fn make(&self, setup: Setup, clocks: &Clocks) -> Box<dyn Subject> {
        let schema = Server::schema();
        let store = Arc::new(open(options(&schema, setup, clocks)));
        Box::new(Opened {
            schema,
            shown: store.clone(),
            store: Some(store),
            copy: Vec::new(),
        })
    }
}

struct Opened {
    schema: String,
    store: Option<Arc<Postgres>>,
    shown: Arc<dyn Store>,
    copy: Vec<u8>,
}

fn options(schema: &str, setup: Setup, clocks: &Clocks) -> Options {
    let clocks = clocks.clone();
    Options {
        schema: schema.to_owned(),
        readers: 2,
        dedupe_window_ms: 1_000,
        max_members: 10,
        max_devices: setup.max_devices,
        new_members_see_all: setup.see_all,
        retention_ms: setup.keep_ms,
        clock: Some(Arc::new(move || (clocks.day(), clocks.steady()))),
        ..Options::new(Server::shared().unwrap().url())
    }
}

/// Opens a store from inside a runtime.
pub(super) fn open(options: Options) -> Postgres {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Postgres::open(options)).unwrap()
    };
    std::thread::spawn(work).join().unwrap()
}

impl Subject for Opened {
    fn store(&self) -> &Arc<dyn Store> {
        &self.shown
    }

    fn open(&mut self, setup: Setup, clocks: &Clocks) {
        let store = Arc::new(open(options(&self.schema, setup, clocks)));
        self.shown = store.clone();
        self.store = Some(store);
    }

    fn crash<'a>(&'a mut self, setup: Setup, clocks: &'a Clocks) -> Wait<'a> {
        Box::pin(async move { self.open(setup, clocks) })
    }

    fn keep_copy(&mut self) {
        let url = Server::shared().unwrap().url();
        self.copy = program("pg_dump", &["-n", &self.schema, "-d", &url]);
    }

    fn go_back(&mut self, setup: Setup, clocks: &Clocks) {
        let url = Server::shared().unwrap().url();
        run(&url, &format!("DROP SCHEMA {} CASCADE", self.schema)).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &self.copy).unwrap();
        program(
            "psql",
            &[
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &url,
                "-f",
                file.path().to_str().unwrap(),
            ],
        );
        self.open(setup, clocks);
    }

    fn catch_up(&self) -> Wait<'_> {
        Box::pin(async move {
            let retention = &self.store.as_ref().unwrap().retention;
            while retention.look(true).await.unwrap() != Look::Nothing {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let url = Server::shared().unwrap().url();
        // Tables of earlier cases would fill the disk. A connection of the store may still hold one.
        let _ = run(
            &url,
            &format!(
                "SET lock_timeout = '3s'; DROP SCHEMA IF EXISTS {} CASCADE",
                self.schema
            ),
        );
    }
}

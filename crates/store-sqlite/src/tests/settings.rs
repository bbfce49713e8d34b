//! Settings: changed by the server and beside it, and told to its watchers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mynah_store::{Setting, Store, Watcher, outcome};
use parking_lot::Mutex;

use super::kit::Kit;
use crate::{change_setting, read_setting};

fn version(version: u64, text: &str) -> Setting {
    Setting {
        name: "s".into(),
        version,
        text: text.into(),
    }
}

/// Everything that a watcher of settings is told from now on.
fn watch(kit: &Kit) -> Arc<Mutex<Vec<Setting>>> {
    let told = Arc::<Mutex<Vec<_>>>::default();
    let keeps = told.clone();
    let keep = move |setting: &Setting| keeps.lock().push(setting.clone());
    kit.store.watch(Watcher::Settings(Box::new(keep)));
    told
}

/// Sets the setting by the server.
async fn set(kit: &Kit, text: &str) {
    let text = text.to_owned();
    let change = Box::new(move |_: &str| Some(text.clone()));
    let changed = outcome(|done| kit.store.change_setting("s", change, done)).await;
    changed.unwrap();
}

fn put(kit: &Kit, text: &str) -> bool {
    let text = Some(text.to_owned());
    change_setting(kit.dir.path(), "s", Box::new(|_| Ok(text))).unwrap()
}

fn read(kit: &Kit) -> String {
    read_setting(kit.dir.path(), "s").unwrap()
}

/// Waits until the last setting that was told is this one.
fn told(told: &Mutex<Vec<Setting>>, setting: &Setting) {
    let end = Instant::now() + Duration::from_secs(10);
    while told.lock().last() != Some(setting) {
        assert!(Instant::now() < end, "{:?} and not {setting:?}", told.lock());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_change_is_stored_and_told_before_it_is_answered() {
    let mut kit = Kit::new();
    let heard = watch(&kit);
    assert_eq!(*heard.lock(), []);
    set(&kit, "one").await;
    assert_eq!(*heard.lock(), [version(1, "one")]);
    set(&kit, "two").await;
    assert_eq!(heard.lock().last(), Some(&version(2, "two")));
    assert_eq!(*watch(&kit).lock(), [version(2, "two")], "what there is");
    kit.reopen().await;
    assert_eq!(*watch(&kit).lock(), [version(2, "two")]);
    assert_eq!(read(&kit), "two");
}

#[tokio::test]
async fn a_command_changes_a_setting_beside_the_server() {
    let kit = Kit::new();
    let heard = watch(&kit);
    assert!(put(&kit, "beside"), "the server knows it by then");
    told(&heard, &version(1, "beside"));
    set(&kit, "inside").await;
    told(&heard, &version(2, "inside"));
    let refused = change_setting(kit.dir.path(), "s", Box::new(|text| anyhow::bail!("not {text}")));
    assert_eq!(refused.unwrap_err().to_string(), "not inside");
    assert!(change_setting(kit.dir.path(), "s", Box::new(|_| Ok(None))).unwrap());
    assert_eq!(read(&kit), "inside");
}

#[tokio::test]
async fn a_command_changes_a_setting_without_a_server() {
    let mut kit = Kit::new();
    let epoch = kit.store.epoch().to_owned();
    let stopped = kit.stop().await;
    assert!(put(&kit, "alone"));
    assert_eq!(read(&kit), "alone");
    assert!(!kit.dir.path().join("mynah.db-wal").exists());
    kit.open(stopped);
    assert_eq!(*watch(&kit).lock(), [version(1, "alone")]);
    assert_eq!(kit.store.epoch(), epoch, "it is the same history");
    let new = tempfile::tempdir().unwrap();
    let directory = new.path().join("deep/data");
    assert_eq!(read_setting(&directory, "s").unwrap(), "");
    assert!(!directory.exists());
    assert!(change_setting(&directory, "s", Box::new(|_| Ok(Some("first".into())))).unwrap());
    assert_eq!(read_setting(&directory, "s").unwrap(), "first");
}

#[tokio::test]
async fn no_change_is_lost_whoever_makes_it() {
    let kit = Kit::new();
    let directory = kit.dir.path();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..5 {
                    let grow = |text: &str| Ok(Some(format!("{text}x")));
                    change_setting(directory, "s", Box::new(grow)).unwrap();
                }
            });
        }
    });
    assert_eq!(read(&kit), "x".repeat(20));
}

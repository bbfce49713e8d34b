//! Directories that cannot be opened, and the errors about them.

use std::fs;
use std::path::Path;

use mynah_store::Store;
use rusqlite::Connection;

use super::kit::{Kit, pair};
use crate::{Embedded, OpenError, Options};

fn refusal(path: &Path) -> OpenError {
    match Embedded::open(Options::new(path)) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// Returns a directory with a closed store of a few messages.
async fn closed() -> Kit {
    let kit = Kit::new();
    kit.append_all(vec![pair("a", "b"); 500]).await;
    kit.store.close().await;
    kit
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let kit = Kit::new();
    let error = refusal(kit.dir.path());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(
        error.to_string().contains(kit.dir.path().to_str().unwrap()),
        "{error}"
    );
    kit.store.close().await;
    assert!(Embedded::open(Options::new(kit.dir.path())).is_ok());
}

#[tokio::test]
async fn files_of_other_programs_are_refused() {
    for content in [&b"not a database at all"[..], &[0x5a; 10_000]] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mynah.db"), content).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(dir.path().join("mynah.db")).unwrap(), content);
    }
    let dir = tempfile::tempdir().unwrap();
    Connection::open(dir.path().join("mynah.db"))
        .unwrap()
        .execute_batch("CREATE TABLE mine (x)")
        .unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let kit = closed().await;
    let db = Connection::open(kit.dir.path().join("mynah.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = refusal(kit.dir.path());
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn damage_is_found_at_the_start() {
    let kit = closed().await;
    let file = kit.dir.path().join("mynah.db");
    let whole = fs::read(&file).unwrap();
    let page = 4096;

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let error = refusal(kit.dir.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");

    let mut torn = whole.clone();
    torn[page * 3..page * 9].fill(0x5a);
    fs::write(&file, torn).unwrap();
    let error = refusal(kit.dir.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("restore a backup"), "{error}");

    fs::write(&file, whole).unwrap();
    assert!(Embedded::open(Options::new(kit.dir.path())).is_ok());
}

#[tokio::test]
async fn an_unusable_directory_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path);
        assert!(matches!(error, OpenError::File { .. }), "{error}");
        assert!(error.to_string().contains("is not a directory"), "{error}");
        assert!(error.to_string().contains("store.path"), "{error}");
    }
}

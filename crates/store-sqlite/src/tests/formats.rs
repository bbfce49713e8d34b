//! Databases that earlier versions of the program have written.

use std::collections::BTreeMap;
use std::path::Path;

use mynah_store::ids::{ConvId, PairClass, Seq, TeamId};
use mynah_store::{Revoked, Span, Store};
use rusqlite::Connection;

use super::kit::{Kit, device, page, pair, uid, uids, with_cid};
use crate::{Embedded, OpenError, Options};

/// Returns the columns and indexes of all tables, by name.
fn shape(path: &Path) -> BTreeMap<String, Vec<String>> {
    let db = Connection::open(path.join("mynah.db")).unwrap();
    let rows = |sql: &str| -> Vec<String> {
        let mut select = db.prepare(sql).unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    };
    let describe = |name: String| {
        let columns =
            "name || ' ' || type || ' ' || \"notnull\" || ' ' || coalesce(dflt_value, '') || ' ' || pk";
        let mut lines = rows(&format!("SELECT {columns} FROM pragma_table_info('{name}')"));
        lines.extend(rows(&format!(
            "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = '{name}' AND sql IS NOT NULL ORDER BY name"
        )));
        (name, lines)
    };
    rows("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .into_iter()
        .map(describe)
        .collect()
}

#[tokio::test]
async fn a_store_of_format_8_is_opened_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    Connection::open(dir.path().join("mynah.db"))
        .unwrap()
        .execute_batch(include_str!("stores/8.sql"))
        .unwrap();
    let kit = Kit::within(dir);
    let pair_of = ConvId::pair(PairClass::Plain, &uid("a"), &uid("b"));
    let history = kit
        .store
        .history(pair_of, Some(uid("b")), Span::After(Seq(0)), page(100));
    let history = history.await.unwrap();
    assert_eq!((history.messages.len(), history.head), (10, Seq(10)));
    assert!(history.messages[8].recalled);
    for (user, unread) in [("a", 1), ("b", 4), ("c", 1)] {
        assert_eq!(kit.store.unread(uid(user)).await.unwrap(), unread, "{user}");
    }
    let team = kit.store.team(TeamId::new("t").unwrap()).await.unwrap().unwrap();
    assert_eq!(*team.members, uids(&["a", "c"]));
    let missed = kit.store.missed(device("b", "phone"), 10, 10).await.unwrap();
    assert_eq!(
        missed.left.len(),
        2,
        "of the team that it left, and of the one that was deleted"
    );
    let counts = kit.store.job_counts().await.unwrap();
    assert_eq!((counts.waiting, counts.dead), (9, 1));
    let revoked = kit.revocations();
    assert_eq!(
        revoked.iter().map(|it| &it.what).collect::<Vec<_>>(),
        [&Revoked::User(uid("c"))]
    );
    assert!(kit.append(with_cid(pair("a", "b"), "8")).await.unwrap().duplicate);
    assert_eq!(kit.append(pair("a", "b")).await.unwrap().seq, Seq(11));
    kit.store.close().await;
    let new = Kit::new();
    new.store.close().await;
    assert_eq!(shape(kit.dir.path()), shape(new.dir.path()));
}

#[tokio::test]
async fn a_format_that_was_never_released_is_named() {
    let kit = Kit::new();
    kit.store.close().await;
    let db = Connection::open(kit.dir.path().join("mynah.db")).unwrap();
    db.pragma_update(None, "user_version", 7).unwrap();
    drop(db);
    let error = Embedded::open(Options::new(kit.dir.path())).err().unwrap();
    assert!(matches!(error, OpenError::Unreleased { found: 7, .. }), "{error}");
}

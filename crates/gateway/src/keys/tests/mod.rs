//! Tests how the keys of a data directory are made, read, changed and kept. The tests choose the time.

mod files;

use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::config::{Config, Scope};
use crate::store::embedded::{self, Embedded, Options};

/// A command line, as the program reads it.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: KeyCommand,
}

fn access(data: &Path) -> SettingAccess<'_> {
    SettingAccess {
        data: Some(data),
        read: Box::new(|name| embedded::read_setting(data, name)),
        change: Box::new(|name, change| embedded::change_setting(data, name, change)),
    }
}

/// A data directory, and the time.
struct Place {
    _directory: TempDir,
    config: Config,
    now: UnixMillis,
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.path = directory.path().join("deep/data");
        Self {
            _directory: directory,
            config,
            now: clock::unix_millis(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.config.store.path.join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.file(name)).unwrap().permissions().mode() & 0o777
    }

    fn try_run(&self, line: &str) -> Result<Said, String> {
        let words = std::iter::once("mynah").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.command
            .run_at(&self.config, access(&self.config.store.path), self.now)
            .map_err(|error| format!("{error:#}"))
    }

    /// Runs a command, and returns what it prints.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap().out
    }

    /// Runs a command that prints a new key, and returns the key.
    #[track_caller]
    fn key(&self, line: &str) -> String {
        let out = self.run(line);
        let key = out.strip_suffix('\n').unwrap();
        assert!(
            key.starts_with("mynah_") && key.len() == 70 && !key.contains('\n'),
            "{key}"
        );
        key.to_owned()
    }

    /// Starts a server, as far as keys are concerned.
    fn open(&self) -> (Running, String) {
        let (keys, sources) = self.try_open().unwrap();
        (keys, sources.to_string())
    }

    fn try_open(&self) -> anyhow::Result<(Running, KeySources)> {
        let data = &self.config.store.path;
        let store = Arc::new(Embedded::open(Options::new(data)).unwrap());
        let opened = block_on(ApiKeys::open(
            &self.config.auth.api_keys,
            Some(data),
            store.clone(),
        ));
        let (keys, sources) = opened?;
        Ok((Running { keys, store }, sources))
    }

    /// The keys as they are stored.
    fn stored(&self) -> String {
        embedded::read_setting(&self.config.store.path, SETTING).unwrap()
    }

    fn store(&self, text: &str) {
        let text = text.to_owned();
        let change = Box::new(|_: &str| Ok(Some(text)));
        embedded::change_setting(&self.config.store.path, SETTING, change).unwrap();
    }
}

/// A server, as far as keys are concerned. Ends when it is dropped.
struct Running {
    keys: Arc<ApiKeys>,
    store: Arc<Embedded>,
}

impl Drop for Running {
    fn drop(&mut self) {
        block_on(self.store.close());
    }
}

impl Deref for Running {
    type Target = ApiKeys;

    fn deref(&self) -> &ApiKeys {
        &self.keys
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// What a key may do, or why not.
fn may(keys: &ApiKeys, key: &str, now: UnixMillis) -> Result<String, Denied> {
    keys.check(key, now).map(|granted| granted.scopes.to_string())
}

#[test]
fn configured_keys_take_the_place_of_the_first_one_and_named_ones_add_to_both() {
    let mut place = Place::new();
    let named = place.key("add reader --scopes read");
    let (keys, sources) = place.open();
    assert!(!place.file("api-key").exists(), "there was a key already");
    assert_eq!(sources, "1 named (mynah api-key list)");
    assert_eq!(may(&keys, &named, place.now), Ok("read".into()));

    drop(keys);
    first::make(&place.config.store.path).unwrap();
    let first = place.text("api-key");
    let (keys, _) = place.open();
    assert!(keys.check(first.trim(), place.now).is_ok());

    drop(keys);
    let hashed = KeyDigest::of("hashed").hex();
    place.config.auth.api_keys = vec![
        Secret::new("plain"),
        Secret::new(format!("sha256:{hashed};name=h;scopes=send+metrics")),
    ];
    let (keys, sources) = place.open();
    assert_eq!(
        sources,
        "2 configured (auth.api_keys); 1 named (mynah api-key list)"
    );
    assert_eq!(
        may(&keys, "plain", place.now),
        Ok("send,read,manage,metrics".into())
    );
    assert_eq!(may(&keys, "hashed", place.now), Ok("send,metrics".into()));
    assert_eq!(may(&keys, &named, place.now), Ok("read".into()));
    for closed in [first.trim(), &hashed, place.config.auth.api_keys[1].expose()] {
        assert_eq!(may(&keys, closed, place.now), Err(Denied::Unknown));
    }
    let said = place.try_run("list").unwrap();
    for name in ["auth.api_keys[1]", "h ", "reader", "api-key"] {
        assert!(
            said.out.lines().any(|line| line.starts_with(name)),
            "{name}: {}",
            said.out
        );
    }
    assert!(said.notes.contains("is not valid while"), "{}", said.notes);
}

#[test]
fn a_change_counts_for_the_next_call() {
    let place = Place::new();
    let (keys, _) = place.open();
    let a = place.key("add a --scopes send,read");
    assert_eq!(may(&keys, &a, place.now), Ok("send,read".into()));
    let b = place.key("add b --scopes metrics");
    assert_eq!(may(&keys, &b, place.now), Ok("metrics".into()));
    place.run("remove a");
    assert_eq!(may(&keys, &a, place.now), Err(Denied::Unknown));
    assert_eq!(may(&keys, &b, place.now), Ok("metrics".into()));
    let anew = place.key("rotate b");
    assert_eq!(may(&keys, &b, place.now), Err(Denied::Unknown));
    assert_eq!(may(&keys, &anew, place.now), Ok("metrics".into()));
}

#[test]
fn the_key_of_the_first_start_can_be_taken_away() {
    let place = Place::new();
    let (keys, _) = place.open();
    let first = place.text("api-key");
    let named = place.key("add named");
    place.run("remove api-key");
    assert_eq!(may(&keys, first.trim(), place.now), Err(Denied::Unknown));
    assert!(keys.check(&named, place.now).is_ok());
    drop(keys);
    place.open();
    assert!(!place.file("api-key").exists(), "a named key is enough");
}

#[test]
fn without_any_key_left_the_api_is_closed_and_stays_so() {
    let place = Place::new();
    let only = place.key("add only");
    let (keys, _) = place.open();
    assert!(keys.check(&only, place.now).is_ok());
    place.run("remove only --force");
    let closed = |keys: &ApiKeys| {
        for key in [&only, "", "mynah_"] {
            assert_eq!(may(keys, key, place.now), Err(Denied::Unknown));
        }
    };
    closed(&keys);
    drop(keys);
    let (again, sources) = place.open();
    closed(&again);
    assert!(sources.starts_with("none"), "{sources}");
}

#[test]
fn keys_expire() {
    let place = Place::new();
    let key = place.key("add a --expires 90d");
    let (keys, _) = place.open();
    assert!(keys.check(&key, place.now).is_ok());
    assert!(keys.check(&key, place.now + 90 * DAY - 1).is_ok());
    assert_eq!(may(&keys, &key, place.now + 90 * DAY), Err(Denied::Expired));
    assert_eq!(may(&keys, "other", place.now + 90 * DAY), Err(Denied::Unknown));
}

#[test]
fn an_old_key_is_valid_during_its_grace_and_the_new_one_lives_as_long_as_the_old_one_did() {
    let mut place = Place::new();
    let old = place.key("add a --scopes read --expires 10d");
    let (keys, _) = place.open();
    place.now += DAY;
    let new = place.key("rotate a --grace 1h");
    assert_eq!(may(&keys, &old, place.now + HOUR - 1), Ok("read".into()));
    assert_eq!(&*keys.check(&old, place.now).unwrap().name, "a (previous)");
    assert_eq!(may(&keys, &old, place.now + HOUR), Err(Denied::Expired));
    assert_eq!(may(&keys, &new, place.now + 10 * DAY - 1), Ok("read".into()));
    assert_eq!(may(&keys, &new, place.now + 10 * DAY), Err(Denied::Expired));

    // Grace never makes a key valid for longer than it would have been.
    place.now += 10 * DAY - HOUR;
    place.key("rotate a --grace 2h --expires 2d");
    assert_eq!(may(&keys, &new, place.now + HOUR), Err(Denied::Expired));
    assert_eq!(may(&keys, &old, place.now), Err(Denied::Unknown), "forgotten");

    // Without grace all earlier keys become invalid.
    let last = place.key("rotate a");
    assert_eq!(may(&keys, &new, place.now), Err(Denied::Unknown));
    assert!(keys.check(&last, place.now).is_ok());
}

#[test]
fn a_text_that_is_not_valid_changes_nothing_until_it_is_valid_again() {
    let place = Place::new();
    let key = place.key("add a");
    let (keys, _) = place.open();
    let whole = place.stored();
    let unknown = whole.replace("sha256", "sha512");
    for broken in [&*unknown, " = ", "[[keys]]\nname = \"a\"\n", "[[key]]\n", "\u{0}"] {
        place.store(broken);
        assert!(keys.check(&key, place.now).is_ok(), "{broken:?}");
        assert!(keys.is_stale(), "{broken:?}");
        assert!(
            place.try_run("add b").is_err(),
            "nobody writes over what they cannot read"
        );
    }
    place.store(&whole);
    assert!(keys.check(&key, place.now).is_ok() && !keys.is_stale());
    place.run("remove a --force");
    assert_eq!(may(&keys, &key, place.now), Err(Denied::Unknown));
}

#[test]
fn of_many_changes_at_once_none_is_lost() {
    let place = &Place::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..3 {
                    place.run(&format!("add k{thread}-{round}"));
                }
                place.run(&format!("remove k{thread}-0"));
            });
        }
    });
    let list = place.run("list");
    assert_eq!(list.lines().count(), 1 + 4 * 2, "{list}");
    assert_eq!(place.mode("mynah.db"), 0o600);
}

#[test]
fn the_store_and_the_list_show_no_key() {
    let mut place = Place::new();
    place.config.auth.api_keys = vec![Secret::new("a-plain-key-that-people-made-up")];
    let mut keys = vec![place.key("add a --scopes send --expires 1h"), place.key("add b")];
    keys.push(place.key("rotate b --grace 1d"));
    place.now += 2 * HOUR;
    let (opened, _) = place.open();
    let list = place.run("list");
    for text in [&list, &place.stored(), &format!("{:?}", opened.keys)] {
        for secret in keys
            .iter()
            .map(|key| &key["mynah_".len()..])
            .chain(["a-plain-key"])
        {
            assert!(!text.contains(secret) && !text.contains(&secret[..10]), "{text}");
        }
    }
    let line = list.lines().find(|line| line.starts_with("a ")).unwrap();
    let digest = KeyDigest::of(&keys[0]);
    assert!(
        line.contains("  send  ") && line.contains("Z (over)") && line.ends_with(&digest.fingerprint()),
        "{line}"
    );
    assert!(
        list.lines().any(|line| line.starts_with("b (previous)")),
        "{list}"
    );
    let guessable = KeyDigest::of("a-plain-key-that-people-made-up").fingerprint();
    assert!(!list.contains(&guessable), "{list}");
    assert!(format!("{:?}", opened.keys).contains("KeyDigest(..)"));
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let place = Place::new();
    place.key("add a");
    let before = place.stored();
    for (line, sentence) in [
        ("add a", "already"),
        ("add api-key", "first start"),
        ("add a/b", "letters, digits"),
        ("add ü", "letters, digits"),
        ("add b --scopes reed", "send, read, manage and metrics"),
        ("add b --scopes ,", "send, read, manage and metrics"),
        ("add b --expires soon", "such as 90d"),
        ("add b --expires 0s", "such as 90d"),
        ("add b --expires 90", "such as 90d"),
        ("add b --expires 999999999999d", "100 years"),
        ("add b --expires 200y", "100 years"),
        ("rotate b", "no key named"),
        ("remove b", "no key named"),
        ("remove api-key", "cannot be removed"),
        ("rotate api-key", "add"),
        ("remove auth.api_keys[1]", "configuration"),
    ] {
        let why = place.try_run(line).err().unwrap_or_else(|| panic!("{line}"));
        assert!(why.contains(sentence), "{line}: {why}");
        assert_eq!(place.stored(), before, "{line}");
    }
    assert!(place.try_run(&format!("add {}", "n".repeat(65))).is_err());
    place.key(&format!("add {}", "n".repeat(64)));
}

#[test]
fn no_more_than_so_many_keys() {
    let place = Place::new();
    place.key("add a");
    for _ in 0..set::MOST_PREVIOUS {
        place.key("rotate a --grace 1d");
    }
    let why = place.try_run("rotate a --grace 1d").err().unwrap();
    assert!(why.contains("still valid"), "{why}");
    place.key("rotate a");

    let entry = place.stored();
    let entry = &entry[entry.find("[[keys]]").unwrap()..];
    let many: String = (1..set::MOST_KEYS)
        .map(|n| entry.replace("name = \"a\"", &format!("name = \"k{n}\"")))
        .collect();
    place.store(&format!("{entry}{many}"));
    let why = place.try_run("add b").err().unwrap();
    assert!(why.contains("more than 1000"), "{why}");
    place.run("remove k1");
    place.key("add b");
}

#[test]
fn the_same_key_in_two_places_may_do_what_either_allows() {
    let mut place = Place::new();
    let key = place.key("add a --scopes read --expires 1h");
    let digest = KeyDigest::of(&key).hex();
    place.config.auth.api_keys = vec![Secret::new(format!("sha256:{digest};scopes=send"))];
    let (keys, _) = place.open();
    assert_eq!(may(&keys, &key, place.now), Ok("send,read".into()));
    assert_eq!(may(&keys, &key, place.now + HOUR), Ok("send".into()));
    assert!(Scopes::of(&[Scope::Send]).has(Scope::Send) && !Scopes::NONE.has(Scope::Send));
}

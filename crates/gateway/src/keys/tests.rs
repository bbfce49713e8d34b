//! The keys of a data directory: what is made, read, changed and kept, with a time that the tests make up.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::config::{Config, Scope};

/// A command line, as the program reads it.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: KeyCommand,
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
            .run_at(&self.config, self.now)
            .map_err(|error| format!("{error:#}"))
    }

    /// What a command prints.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap().out
    }

    /// A new key, of a command that prints one.
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

    fn open(&self) -> (ApiKeys, String) {
        let (keys, sources) = self.try_open().unwrap();
        (keys, sources.to_string())
    }

    fn try_open(&self) -> io::Result<(ApiKeys, KeySources)> {
        ApiKeys::open(&self.config.auth.api_keys, &self.config.store.path, self.now)
    }
}

/// What a key may do, or why not.
fn may(keys: &ApiKeys, key: &str, now: UnixMillis) -> Result<String, Denied> {
    keys.check(key, now).map(|granted| granted.scopes.to_string())
}

#[test]
fn a_key_is_made_at_the_first_start_and_only_its_owner_can_read_it() {
    let place = Place::new();
    let (keys, sources) = place.open();
    assert!(sources.starts_with("made just now, in the file "), "{sources}");
    assert_eq!(place.mode("api-key"), 0o600);
    assert_eq!(place.mode(""), 0o700);
    let key = place.text("api-key");
    assert_eq!(
        may(&keys, key.trim(), place.now),
        Ok("send,read,manage,metrics".into())
    );

    let (again, sources) = place.open();
    assert!(sources.starts_with("in the file "), "{sources}");
    assert!(again.check(key.trim(), place.now).is_ok());
    for other in ["", "other", &key] {
        assert_eq!(may(&again, other, place.now), Err(Denied::Unknown));
    }
}

#[test]
fn what_a_crash_left_behind_does_not_hinder() {
    let place = Place::new();
    std::fs::create_dir_all(place.file("")).unwrap();
    for half in ["api-key.new", "api-keys.toml.new"] {
        std::fs::write(place.file(half), "half").unwrap();
    }
    place.open();
    place.key("add a");
    assert!(!place.file("api-key.new").exists() && !place.file("api-keys.toml.new").exists());
}

#[test]
fn broken_files_are_refused_at_the_start() {
    for (name, text) in [
        ("api-key", "\n"),
        ("api-key", "two keys"),
        ("api-keys.toml", "[[keys]]\nname = 1\n"),
    ] {
        let place = Place::new();
        std::fs::create_dir_all(place.file("")).unwrap();
        std::fs::write(place.file(name), text).unwrap();
        let why = place.try_open().unwrap_err().to_string();
        assert!(why.contains(name), "{why}");
    }
}

#[test]
fn configured_keys_take_the_place_of_the_first_one_and_named_ones_add_to_both() {
    let mut place = Place::new();
    let named = place.key("add reader --scopes read");
    let (keys, sources) = place.open();
    assert!(!place.file("api-key").exists(), "there was a key already");
    assert_eq!(sources, "1 named (mynah api-key list)");
    assert_eq!(may(&keys, &named, place.now), Ok("read".into()));

    first::make(&place.config.store.path, &place.file("api-key")).unwrap();
    let first = place.text("api-key");
    assert!(keys.check(first.trim(), place.now).is_ok());

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
    assert!(said.notes.contains("opens nothing"), "{}", said.notes);
}

#[test]
fn a_change_counts_for_the_next_call() {
    let mut place = Place::new();
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

    // Long after the last change the files are not read any more, until they change.
    place.now += DAY;
    assert!(may(&keys, &anew, place.now).is_ok());
    assert!(keys.loaded.read().settled);
    place.run("remove b");
    assert_eq!(may(&keys, &anew, place.now), Err(Denied::Unknown));
}

#[test]
fn a_change_within_one_tick_of_the_clock_is_seen() {
    let place = Place::new();
    let key = place.key("add a --scopes read");
    let (keys, _) = place.open();
    assert!(keys.check(&key, place.now).is_ok());
    // The same file, as long, written at what may be the same moment: only the text differs.
    let text = place.text("api-keys.toml").replace("\"read\"", "\"send\"");
    keys.loaded.write().seen[0] = Stamp::of(&place.file("api-keys.toml"));
    std::fs::write(place.file("api-keys.toml"), text).unwrap();
    keys.loaded.write().seen[0] = Stamp::of(&place.file("api-keys.toml"));
    assert_eq!(may(&keys, &key, place.now), Ok("send".into()));
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
    let (again, sources) = place.open();
    closed(&again);
    assert!(sources.starts_with("none"), "{sources}");
    std::fs::remove_file(place.file("api-keys.toml")).unwrap();
    closed(&keys);
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

    // Grace never makes a key live longer than it would have.
    place.now += 10 * DAY - HOUR;
    place.key("rotate a --grace 2h --expires 2d");
    assert_eq!(may(&keys, &new, place.now + HOUR), Err(Denied::Expired));
    assert_eq!(may(&keys, &old, place.now), Err(Denied::Unknown), "forgotten");

    // Without grace all that went before ends.
    let last = place.key("rotate a");
    assert_eq!(may(&keys, &new, place.now), Err(Denied::Unknown));
    assert!(keys.check(&last, place.now).is_ok());
}

#[test]
fn a_broken_file_changes_nothing_until_it_is_whole_again() {
    let mut place = Place::new();
    let key = place.key("add a");
    let (keys, _) = place.open();
    let whole = place.text("api-keys.toml");
    for broken in ["", " = ", "[[keys]]\nname = \"a\"\n", "[[key]]\n", "\u{0}"] {
        let text = if broken.is_empty() {
            whole.replace("sha256", "sha512")
        } else {
            broken.to_owned()
        };
        std::fs::write(place.file("api-keys.toml"), text).unwrap();
        for _ in 0..2 {
            assert!(keys.check(&key, place.now).is_ok(), "{broken:?}");
            assert!(keys.is_stale(), "{broken:?}");
            place.now += HOUR;
        }
        assert!(
            place.try_run("add b").is_err(),
            "nobody writes over what they cannot read"
        );
    }
    std::fs::write(place.file("api-keys.toml"), whole).unwrap();
    assert!(keys.check(&key, place.now).is_ok() && !keys.is_stale());
    place.run("remove a --force");
    assert_eq!(may(&keys, &key, place.now), Err(Denied::Unknown));
}

#[test]
fn of_many_changes_at_once_none_is_lost() {
    let place = &Place::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..5 {
                    place.run(&format!("add k{thread}-{round}"));
                }
                place.run(&format!("remove k{thread}-0"));
            });
        }
    });
    let list = place.run("list");
    assert_eq!(list.lines().count(), 1 + 8 * 4, "{list}");
    assert_eq!(place.mode("api-keys.toml"), 0o600);
    assert_eq!(place.mode("api-keys.lock"), 0o600);
}

#[test]
fn the_file_and_the_list_show_no_key() {
    let mut place = Place::new();
    place.config.auth.api_keys = vec![Secret::new("a-plain-key-that-people-made-up")];
    let mut keys = vec![place.key("add a --scopes send --expires 1h"), place.key("add b")];
    keys.push(place.key("rotate b --grace 1d"));
    place.now += 2 * HOUR;
    let (opened, _) = place.open();
    let list = place.run("list");
    for text in [&list, &place.text("api-keys.toml"), &format!("{opened:?}")] {
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
    assert!(format!("{opened:?}").contains("KeyDigest(..)"));
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let place = Place::new();
    place.key("add a");
    let before = place.text("api-keys.toml");
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
        ("rotate b", "no key called"),
        ("remove b", "no key called"),
        ("remove api-key", "cannot be removed"),
        ("rotate api-key", "add"),
        ("remove auth.api_keys[1]", "configuration"),
    ] {
        let why = place.try_run(line).err().unwrap_or_else(|| panic!("{line}"));
        assert!(why.contains(sentence), "{line}: {why}");
        assert_eq!(place.text("api-keys.toml"), before, "{line}");
    }
    assert!(place.try_run(&format!("add {}", "n".repeat(65))).is_err());
    place.key(&format!("add {}", "n".repeat(64)));
}

#[test]
fn no_more_than_so_many_keys() {
    let place = Place::new();
    place.key("add a");
    for _ in 0..file::MOST_PREVIOUS {
        place.key("rotate a --grace 1d");
    }
    let why = place.try_run("rotate a --grace 1d").err().unwrap();
    assert!(why.contains("still valid"), "{why}");
    place.key("rotate a");

    let entry = place.text("api-keys.toml");
    let entry = &entry[entry.find("[[keys]]").unwrap()..];
    let many: String = (1..file::MOST_KEYS)
        .map(|n| entry.replace("name = \"a\"", &format!("name = \"k{n}\"")))
        .collect();
    std::fs::write(place.file("api-keys.toml"), format!("{entry}{many}")).unwrap();
    let why = place.try_run("add b").err().unwrap();
    assert!(why.contains("more than 1000"), "{why}");
    place.run("remove k1");
    place.key("add b");
}

#[test]
fn complaints_about_the_file_name_the_line_and_never_repeat_what_stands_there() {
    let place = Place::new();
    let key = place.key("add a");
    let whole = place.text("api-keys.toml");
    let digest = KeyDigest::of(&key).hex();
    let wrong = [
        (whole.replace(&digest, &key), ":5: sha256 must be 64"),
        (
            whole.replace("[\"send\", ", &format!("[\"{key}\", ")),
            "scopes must be some of",
        ),
        (
            whole.replace("created = ", &format!("{key} = 1\ncreated = ")),
            "an unknown key",
        ),
        (
            whole.replace("scopes = [", &format!("scopes = \"{key}\" # [")),
            "wrong type",
        ),
        (whole.replace("Z\n", "+01:00\n"), "must be in UTC"),
        (
            format!("{whole}\n{}", &whole[whole.find("[[keys]]").unwrap()..]),
            "is there twice",
        ),
        (
            whole.replace("name = \"a\"", "name = \"a b\""),
            "key number 1 must have a name",
        ),
        (format!("{whole}# {}", "x".repeat(3 << 20)), "more than"),
    ];
    for (text, sentence) in wrong {
        assert_ne!(text, whole, "{sentence}");
        std::fs::write(place.file("api-keys.toml"), &text).unwrap();
        let why = place.try_open().unwrap_err().to_string();
        assert!(why.contains("api-keys.toml") && why.contains(sentence), "{why}");
        assert!(!why.contains("mynah_"), "{why}");
    }
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

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_directory() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    let place = Place::new();
    place.key("add a");
    chown(place.file(""), Some(4_321), Some(4_321)).unwrap();
    place.key("add b");
    for name in ["api-keys.toml", "api-keys.lock"] {
        assert_eq!(
            std::fs::metadata(place.file(name)).unwrap().uid(),
            4_321,
            "{name}"
        );
    }
}

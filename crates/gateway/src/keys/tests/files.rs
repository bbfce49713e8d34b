//! Tests which files of a data directory are made, taken over and refused, and who owns them.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::*;

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

    drop(keys);
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
    std::fs::write(place.file("api-key.new"), "half").unwrap();
    place.open();
    assert!(!place.file("api-key.new").exists() && place.file("api-key").exists());
}

#[test]
fn the_files_of_earlier_versions_are_taken_over_once() {
    let place = Place::new();
    let [a, b] = ["add a --scopes read", "add b"].map(|line| place.key(line));
    let text = place.stored();
    place.run("remove b --force");
    std::fs::write(place.file("api-keys.lock"), "").unwrap();
    std::fs::write(
        place.file("api-keys.toml"),
        text.replace("[\"read\"]", "[\"send\"]"),
    )
    .unwrap();
    std::fs::write(place.file("api-key"), "of-the-first-start\n").unwrap();
    let list = place.run("list");
    for name in ["a ", "b ", "api-key"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    let (keys, _) = place.open();
    assert_eq!(
        may(&keys, &a, place.now),
        Ok("read".into()),
        "as the store has it"
    );
    for taken in [&b, "of-the-first-start"] {
        assert_eq!(
            may(&keys, taken, place.now),
            Ok("send,read,manage,metrics".into())
        );
    }
    assert!(!place.file("api-keys.toml").exists() && !place.file("api-keys.lock").exists());
    place.run("remove b");
    assert_eq!(may(&keys, &b, place.now), Err(Denied::Unknown));

    // The key of the first start is replaced by another one, and then a file becomes invalid.
    std::fs::write(place.file("api-key"), "another\n").unwrap();
    assert!(block_on(keys.reload()) && !keys.is_stale());
    assert_eq!(may(&keys, "of-the-first-start", place.now), Err(Denied::Unknown));
    assert!(keys.check("another", place.now).is_ok());
    std::fs::write(place.file("api-keys.toml"), "nonsense").unwrap();
    assert!(!block_on(keys.reload()) && keys.is_stale());
    assert!(keys.check("another", place.now).is_ok());
    assert!(place.try_run("add c").err().unwrap().contains("api-keys.toml"));
    std::fs::write(place.file("api-keys.toml"), text).unwrap();
    place.run("remove a");
    assert_eq!(
        may(&keys, &a, place.now),
        Err(Denied::Unknown),
        "it was there already"
    );
    assert!(keys.check(&b, place.now).is_ok());
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
        let why = format!("{:#}", place.try_open().err().unwrap());
        assert!(why.contains(name), "{why}");
    }
}

#[test]
fn complaints_about_the_file_name_the_line_and_never_repeat_what_stands_there() {
    let place = Place::new();
    let key = place.key("add a");
    let whole = place.stored();
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
            "is used twice",
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
        let why = format!("{:#}", place.try_open().err().unwrap());
        assert!(why.contains("api-keys.toml") && why.contains(sentence), "{why}");
        assert!(!why.contains("mynah_"), "{why}");
    }
}

/// A data directory of another user, which only root can make.
fn foreign() -> Option<Place> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can act as another user");
        return None;
    }
    let place = Place::new();
    std::fs::create_dir_all(place.file("")).unwrap();
    chown(place.file(""), Some(4_321), Some(4_321)).unwrap();
    for directory in place.file("").ancestors().take(3) {
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    }
    Some(place)
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_directory() {
    let Some(place) = foreign() else { return };
    for line in ["add a", "add b"] {
        place.key(line);
        for entry in std::fs::read_dir(place.file("")).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().uid(), 4_321, "{entry:?}");
        }
    }
    let own = place.config.store.path.parent().unwrap().metadata().unwrap();
    assert_eq!(own.uid(), rustix::process::geteuid().as_raw(), "root again");
}

/// The owner of a directory must not get access to a file of root when root runs a command there.
#[test]
fn root_follows_no_link_to_what_the_owner_may_not_use() {
    let Some(place) = foreign() else { return };
    let victim = place.file("").with_file_name("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::set_permissions(&victim, PermissionsExt::from_mode(0o600)).unwrap();
    for name in [
        "mynah.lock",
        "mynah.db",
        "mynah.witness",
        "api-keys.toml",
        "api-key",
    ] {
        symlink(&victim, place.file(name)).unwrap();
        assert!(place.try_run("add a").is_err(), "{name}");
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(victim.metadata().unwrap().uid(), 0, "{name}");
        std::fs::remove_file(place.file(name)).unwrap();
    }
    place.key("add a");
}

//! `mynah api-key`: makes, shows, replaces and takes away the keys of a data directory, whether the server runs or not.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::file::{self, FILE, KeyFile, Moment, NamedKey, Previous};
use super::{configured_name, first};
use crate::clock;
use crate::config::{Config, ConfiguredKey, KEY_NAME, KeyDigest, Scope, Scopes, is_key_name};
use crate::time::UnixMillis;

/// The longest lifetime: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

/// What to do with keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, once: only its digest is kept
    Add {
        /// What it is called: letters, digits and -._
        name: String,
        /// What it may do: send, read, manage, metrics, separated by commas [default: all of them]
        #[arg(long, value_name = "SCOPES")]
        scopes: Option<Scopes>,
        /// After which time it is refused, as in 90d or 12h [default: never]
        #[arg(long, value_name = "TIME")]
        expires: Option<Lifetime>,
    },
    /// Show the keys: names, scopes, times, and the beginnings of their digests
    List,
    /// Take a key away; the next call with it is refused
    Remove {
        /// What it is called
        name: String,
        /// Even if no other key has the scope manage
        #[arg(long)]
        force: bool,
    },
    /// Put a new key in the place of an old one and print it, once
    Rotate {
        /// What it is called
        name: String,
        /// How long the old key stays valid, as in 1h [default: not at all]
        #[arg(long, value_name = "TIME")]
        grace: Option<Lifetime>,
        /// After which time the new key is refused [default: the old key's lifetime, counted from now]
        #[arg(long, value_name = "TIME")]
        expires: Option<Lifetime>,
    },
}

/// A length of time as people write it: 90d, 12h, 30m.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(Duration);

impl FromStr for Lifetime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match humantime::parse_duration(text) {
            Ok(time) if time > LONGEST => Err("it must be at most 100 years"),
            Ok(time) if time >= Duration::from_millis(1) => Ok(Self(time)),
            _ => Err("it must be a time such as 90d, 12h or 30m"),
        }
    }
}

impl Lifetime {
    /// How long it is.
    pub fn duration(self) -> Duration {
        self.0
    }

    fn after(self, now: UnixMillis) -> UnixMillis {
        now + self.0.as_millis() as UnixMillis
    }
}

/// What a command has to say.
#[derive(Clone, Default)]
pub struct Said {
    /// For standard output; of `add` and `rotate` the key alone, so that a script can take it.
    pub out: String,
    /// For whoever looks on.
    pub notes: String,
}

impl KeyCommand {
    /// Does it in the data directory of `config`.
    pub fn run(self, config: &Config) -> anyhow::Result<Said> {
        self.run_at(config, clock::unix_millis())
    }

    pub(super) fn run_at(self, config: &Config, now: UnixMillis) -> anyhow::Result<Said> {
        let data = &config.store.path;
        match self {
            Self::Add {
                name,
                scopes,
                expires,
            } => add(data, name, scopes, expires, now),
            Self::List => list(config, now),
            Self::Remove { name, force } => remove(config, &name, force, now),
            Self::Rotate { name, grace, expires } => rotate(data, &name, grace, expires, now),
        }
    }
}

fn add(
    data: &Path,
    name: String,
    scopes: Option<Scopes>,
    expires: Option<Lifetime>,
    now: UnixMillis,
) -> anyhow::Result<Said> {
    if !is_key_name(&name) {
        bail!("a key {KEY_NAME}");
    }
    let key = first::draw()?;
    let entry = NamedKey {
        name,
        digest: KeyDigest::of(&key),
        scopes: scopes.unwrap_or(Scopes::ALL),
        created: Moment(now),
        expires: expires.map(|lifetime| Moment(lifetime.after(now))),
        previous: Vec::new(),
    };
    let mut notes = format!(
        "{} may {}; {}.\nKeep it now, it is not shown again.\n",
        entry.name,
        entry.scopes,
        until(entry.expires)
    );
    if scopes.is_none() {
        notes
            .push_str("--scopes makes keys that may do less: what reads needs no more than --scopes read.\n");
    }
    file::change(data, |file| {
        if file.keys.iter().any(|other| other.name == entry.name) {
            bail!(
                "there is a key called {:?} already: take another name, or `mynah api-key rotate {}`",
                entry.name,
                entry.name
            );
        }
        file.keys.push(entry);
        Ok(())
    })?;
    Ok(Said {
        out: format!("{key}\n"),
        notes,
    })
}

fn rotate(
    data: &Path,
    name: &str,
    grace: Option<Lifetime>,
    expires: Option<Lifetime>,
    now: UnixMillis,
) -> anyhow::Result<Said> {
    if name == first::NAME {
        bail!(
            "the key of the first start cannot be rotated: `mynah api-key add` one with a name of its own, then `mynah api-key remove {name}`"
        );
    }
    let key = first::draw()?;
    let notes = file::change(data, |file| {
        let entry = file.keys.iter_mut().find(|key| key.name == name);
        let entry = entry.with_context(|| unknown(name))?;
        let lifetime = entry.expires.map(|end| end.0.saturating_sub(entry.created.0));
        let old = std::mem::replace(&mut entry.digest, KeyDigest::of(&key));
        let old_expires = entry.expires.map_or(UnixMillis::MAX, |end| end.0);
        entry.previous.retain(|previous| previous.expires.0 > now);
        let ends = match grace {
            Some(grace) => {
                let end = grace.after(now).min(old_expires);
                if end > now {
                    entry.previous.push(Previous {
                        digest: old,
                        expires: Moment(end),
                    });
                }
                format!("is valid until {}", Moment(end))
            }
            None => {
                entry.previous.clear();
                "is refused from now on".to_owned()
            }
        };
        entry.created = Moment(now);
        entry.expires = match expires {
            Some(lifetime) => Some(Moment(lifetime.after(now))),
            None => lifetime.map(|lifetime| Moment(now + lifetime)),
        };
        Ok(format!(
            "{name} may {}; {}. The old key {ends}.\nKeep it now, it is not shown again.\n",
            entry.scopes,
            until(entry.expires)
        ))
    })?;
    Ok(Said {
        out: format!("{key}\n"),
        notes,
    })
}

fn remove(config: &Config, name: &str, force: bool, now: UnixMillis) -> anyhow::Result<Said> {
    let data = &config.store.path;
    let check = |file: &KeyFile| {
        if !force && is_last_manager(config, file, name, now)? {
            bail!(
                "{name} is the last key that may manage: without one nobody can change teams or sign users out. Make another first (`mynah api-key add NAME --scopes manage`), or repeat this with --force"
            );
        }
        Ok(())
    };
    if name == first::NAME {
        let path = data.join(first::FILE);
        let named = file::read(&data.join(FILE))?;
        check(named.as_ref().unwrap_or(&KeyFile::default()))?;
        std::fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        let left = match named {
            Some(file) => format!("{} named keys are left", file.keys.len()),
            None if config.auth.api_keys.is_empty() => "the next start makes a new one".to_owned(),
            None => "those of auth.api_keys are left".to_owned(),
        };
        return Ok(Said {
            out: String::new(),
            notes: format!("The key of the first start is removed; {left}.\n"),
        });
    }
    let left = file::change(data, |file| {
        check(file)?;
        let before = file.keys.len();
        file.keys.retain(|key| key.name != name);
        if file.keys.len() == before {
            bail!(unknown(name));
        }
        Ok(file.keys.len())
    })?;
    Ok(Said {
        out: String::new(),
        notes: format!("{name} is removed; {left} named keys are left.\n"),
    })
}

/// Whether `name` is the only key with the scope manage.
fn is_last_manager(config: &Config, file: &KeyFile, name: &str, now: UnixMillis) -> anyhow::Result<bool> {
    let configured = &config.auth.api_keys;
    let mut managers: Vec<&str> = Vec::new();
    if configured.is_empty() && first::read(&config.store.path.join(first::FILE))?.is_some() {
        managers.push(first::NAME);
    }
    let named = file
        .keys
        .iter()
        .filter(|key| key.scopes.has(Scope::Manage) && key.expires.is_none_or(|end| end.0 > now));
    managers.extend(named.map(|key| key.name.as_str()));
    let in_configuration = configured
        .iter()
        .filter_map(|entry| ConfiguredKey::parse(entry).ok())
        .any(|key| key.scopes.has(Scope::Manage));
    Ok(managers == [name] && !in_configuration)
}

fn unknown(name: &str) -> String {
    if name.starts_with("auth.api_keys") {
        return "this key stands in the configuration (auth.api_keys): remove it there, and start the server again".into();
    }
    format!("there is no key called {name:?}; `mynah api-key list` shows those that there are")
}

/// A line of the list.
struct Line([String; 5]);

fn list(config: &Config, now: UnixMillis) -> anyhow::Result<Said> {
    let data = &config.store.path;
    let mut lines = vec![Line(
        ["NAME", "SCOPES", "CREATED", "EXPIRES", "FINGERPRINT"].map(str::to_owned),
    )];
    let mut notes = String::new();
    for (index, entry) in config.auth.api_keys.iter().enumerate() {
        let Ok(key) = ConfiguredKey::parse(entry) else {
            continue;
        };
        // The beginning of a digest narrows down what people may have made up.
        let fingerprint = if key.hashed {
            key.digest.fingerprint()
        } else {
            "-".into()
        };
        let name = configured_name(index, &key);
        lines.push(Line([
            name,
            key.scopes.to_string(),
            "-".into(),
            "never".into(),
            fingerprint,
        ]));
    }
    for key in file::read(&data.join(FILE))?.unwrap_or_default().keys {
        let scopes = key.scopes.to_string();
        for previous in &key.previous {
            lines.push(Line([
                format!("{} (previous)", key.name),
                scopes.clone(),
                "-".into(),
                when(Some(previous.expires), now),
                previous.digest.fingerprint(),
            ]));
        }
        lines.push(Line([
            key.name,
            scopes,
            key.created.to_string(),
            when(key.expires, now),
            key.digest.fingerprint(),
        ]));
    }
    if let Some(digest) = first::read(&data.join(first::FILE))? {
        lines.push(Line([
            first::NAME.into(),
            Scopes::ALL.to_string(),
            "-".into(),
            "never".into(),
            digest.fingerprint(),
        ]));
        if !config.auth.api_keys.is_empty() {
            notes
                .push_str("The key of the first start (api-key) opens nothing while auth.api_keys is set.\n");
        }
    }
    if lines.len() == 1 {
        notes.push_str("There is no key yet: `mynah api-key add` makes one, and so does the first start.\n");
    }
    Ok(Said {
        out: table(&lines),
        notes,
    })
}

fn when(expires: Option<Moment>, now: UnixMillis) -> String {
    match expires {
        None => "never".into(),
        Some(end) if end.0 <= now => format!("{end} (over)"),
        Some(end) => end.to_string(),
    }
}

fn until(expires: Option<Moment>) -> String {
    expires.map_or("it does not expire".into(), |end| format!("it expires at {end}"))
}

fn table(lines: &[Line]) -> String {
    let width = |column: usize| lines.iter().map(|line| line.0[column].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for line in lines {
        let cells = line.0.iter().zip(widths);
        let row: String = cells.map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

//! The command `mynah api-key`: adds, lists, rotates and removes the keys of a data directory, whether the
//! server runs or not.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::files::Files;
use super::owner::Owner;
use super::set::{KeySet, Moment, NamedKey, Previous};
use super::{SETTING, changed, configured_name, first};
use crate::clock;
use crate::config::{Config, ConfiguredKey, KEY_NAME, KeyDigest, Scope, Scopes, is_key_name};
use crate::time::UnixMillis;

/// The longest lifetime: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

/// What to do with keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Add a key and print it once; only its digest is stored
    Add {
        /// The name of the key: letters, digits and -._
        name: String,
        /// What the key may do: send, read, manage, metrics, separated by commas [default: all of them]
        #[arg(long, value_name = "SCOPES")]
        scopes: Option<Scopes>,
        /// The time after which the key expires, such as 90d or 12h [default: never]
        #[arg(long, value_name = "TIME")]
        expires: Option<Lifetime>,
    },
    /// List the keys: names, scopes, times, and the beginnings of their digests
    List,
    /// Remove a key; the next call with it is refused
    Remove {
        /// The name of the key
        name: String,
        /// Remove the key even if no other key has the scope manage
        #[arg(long)]
        force: bool,
    },
    /// Replace a key by a new one, and print the new one once
    Rotate {
        /// The name of the key
        name: String,
        /// How long the old key stays valid, such as 1h [default: not at all]
        #[arg(long, value_name = "TIME")]
        grace: Option<Lifetime>,
        /// The time after which the new key expires [default: the old key's lifetime, counted from now]
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
    /// The length as a duration.
    pub fn duration(self) -> Duration {
        self.0
    }

    fn after(self, now: UnixMillis) -> UnixMillis {
        now + self.0.as_millis() as UnixMillis
    }
}

/// The output of a command.
#[derive(Clone, Default)]
pub struct Said {
    /// For standard output. For `add` and `rotate` it is only the key, so that a script can read it.
    pub out: String,
    /// For standard error: explanations for people.
    pub notes: String,
}

/// Gets the present text of a setting, and returns the new one, or `None` to leave it unchanged.
type TextChange<'a> = Box<dyn FnOnce(&str) -> anyhow::Result<Option<String>> + 'a>;

/// Reads a setting.
type Reading<'a> = Box<dyn Fn(&str) -> anyhow::Result<String> + 'a>;
/// Changes a setting.
type Changing<'a> = Box<dyn Fn(&str, TextChange<'_>) -> anyhow::Result<bool> + 'a>;

/// How a command reaches the settings of a store, whether a server uses the store or not.
pub struct SettingAccess<'a> {
    /// The data directory, whose files have keys too. `None` if the store has no directory.
    pub data: Option<&'a Path>,
    /// Returns the text of a setting, which is empty if it was never set.
    pub read: Reading<'a>,
    /// Changes a setting in one transaction. Returns false if a running server has not noticed the change.
    pub change: Changing<'a>,
}

impl SettingAccess<'_> {
    /// Reads the keys in the files of the data directory.
    fn files(&self) -> anyhow::Result<Files> {
        self.data.map_or(Ok(Files::default()), Files::read)
    }
}

impl KeyCommand {
    /// Carries out the command.
    pub fn run(self, config: &Config, access: SettingAccess<'_>) -> anyhow::Result<Said> {
        self.run_at(config, access, clock::unix_millis())
    }

    pub(super) fn run_at(
        self,
        config: &Config,
        access: SettingAccess<'_>,
        now: UnixMillis,
    ) -> anyhow::Result<Said> {
        let _owner = access.data.map(Owner::of).transpose()?;
        let data = access.data;
        let change = |edit: KeyEdit<'_>| change(&access, edit);
        match self {
            Self::List => list(config, &access, now),
            Self::Add {
                name,
                scopes,
                expires,
            } => {
                if !is_key_name(&name) {
                    bail!("a key {KEY_NAME}");
                }
                change(Box::new(|set| add(set, name, (scopes, expires), now)))
            }
            Self::Remove { name, force } => {
                change(Box::new(|set| remove(set, (config, data), (&name, force), now)))
            }
            Self::Rotate { name, grace, expires } => {
                change(Box::new(|set| rotate(set, &name, (grace, expires), now)))
            }
        }
    }
}

/// A change of the keys.
type KeyEdit<'a> = Box<dyn FnOnce(&mut KeySet) -> anyhow::Result<Said> + 'a>;

/// Changes the keys, whether a server runs or not.
fn change(access: &SettingAccess<'_>, edit: KeyEdit<'_>) -> anyhow::Result<Said> {
    let attempt = || -> anyhow::Result<Said> {
        let files = access.files()?;
        let mut said = Said::default();
        let changing = |text: &str| {
            let (text, outcome) = changed(text, &files, edit)?;
            said = outcome;
            Ok(text)
        };
        let is_known = (access.change)(SETTING, Box::new(changing))?;
        access.data.map_or(Ok(()), Files::taken_over)?;
        if !is_known {
            said.notes
                .push_str("The running server has not noticed the change yet; see its log.\n");
        }
        Ok(said)
    };
    attempt().with_context(|| match access.data {
        Some(data) => format!("the keys in {} were not changed", data.display()),
        None => "the keys in the database of store.url were not changed".to_owned(),
    })
}

fn add(
    set: &mut KeySet,
    name: String,
    (scopes, expires): (Option<Scopes>, Option<Lifetime>),
    now: UnixMillis,
) -> anyhow::Result<Said> {
    if set.keys.iter().any(|other| other.name == name) {
        bail!("there is a key named {name:?} already: use another name, or `mynah api-key rotate {name}`");
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
        notes.push_str("A key made with --scopes may do less: to read, --scopes read is enough.\n");
    }
    set.keys.push(entry);
    Ok(Said {
        out: format!("{key}\n"),
        notes,
    })
}

fn rotate(
    set: &mut KeySet,
    name: &str,
    (grace, expires): (Option<Lifetime>, Option<Lifetime>),
    now: UnixMillis,
) -> anyhow::Result<Said> {
    if name == first::NAME {
        bail!(
            "the key of the first start cannot be rotated: `mynah api-key add` one with a name of its own, then `mynah api-key remove {name}`"
        );
    }
    let entry = set.keys.iter_mut().find(|key| key.name == name);
    let entry = entry.with_context(|| unknown(name))?;
    let key = first::draw()?;
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
    let notes = format!(
        "{name} may {}; {}. The old key {ends}.\nKeep it now, it is not shown again.\n",
        entry.scopes,
        until(entry.expires)
    );
    Ok(Said {
        out: format!("{key}\n"),
        notes,
    })
}

fn remove(
    set: &mut KeySet,
    (config, data): (&Config, Option<&Path>),
    (name, force): (&str, bool),
    now: UnixMillis,
) -> anyhow::Result<Said> {
    if !force && is_last_manager(config, set, name, now) {
        bail!(
            "{name} is the last key that may manage: without one nobody can change teams or sign users out. Make another first (`mynah api-key add NAME --scopes manage`), or repeat this with --force"
        );
    }
    let before = set.keys.len();
    if name == first::NAME {
        if set.first.take().is_none() {
            bail!("the key of the first start cannot be removed: there is none");
        }
        // If the file stayed, its key would be added to the store again.
        if let Some(path) = data.map(|data| data.join(first::FILE)) {
            first::remove_if_exists(&path)
                .with_context(|| format!("{} cannot be removed", path.display()))?;
        }
        set.is_new = before == 0;
        let left = match before {
            0 if config.auth.api_keys.is_empty() => "the next start makes a new one".to_owned(),
            0 => "those of auth.api_keys are left".to_owned(),
            named => format!("{named} named keys are left"),
        };
        return Ok(Said {
            out: String::new(),
            notes: format!("The key of the first start is removed; {left}.\n"),
        });
    }
    set.keys.retain(|key| key.name != name);
    let left = set.keys.len();
    if left == before {
        bail!(unknown(name));
    }
    Ok(Said {
        out: String::new(),
        notes: format!("{name} is removed; {left} named keys are left.\n"),
    })
}

/// Whether `name` is the only key with the scope manage.
fn is_last_manager(config: &Config, set: &KeySet, name: &str, now: UnixMillis) -> bool {
    let configured = &config.auth.api_keys;
    let first = set.first.filter(|_| configured.is_empty()).map(|_| first::NAME);
    let named = set
        .keys
        .iter()
        .filter(|key| key.scopes.has(Scope::Manage) && key.expires.is_none_or(|end| end.0 > now));
    let managers: Vec<&str> = first
        .into_iter()
        .chain(named.map(|key| key.name.as_str()))
        .collect();
    let in_configuration = configured
        .iter()
        .filter_map(|entry| ConfiguredKey::parse(entry).ok())
        .any(|key| key.scopes.has(Scope::Manage));
    managers == [name] && !in_configuration
}

fn unknown(name: &str) -> String {
    if name.starts_with("auth.api_keys") {
        return "this key is in the configuration (auth.api_keys): remove it there, and restart the server"
            .into();
    }
    format!("there is no key named {name:?}; `mynah api-key list` shows all keys")
}

fn list(config: &Config, access: &SettingAccess<'_>, now: UnixMillis) -> anyhow::Result<Said> {
    let text = (access.read)(SETTING)?;
    let (_, set) = changed(&text, &access.files()?, |set| Ok(std::mem::take(set)))?;
    let mut lines = vec![["NAME", "SCOPES", "CREATED", "EXPIRES", "FINGERPRINT"].map(str::to_owned)];
    let mut notes = String::new();
    for (index, entry) in config.auth.api_keys.iter().enumerate() {
        let Ok(key) = ConfiguredKey::parse(entry) else {
            continue;
        };
        // A key in plain text may have been made up by a person. The beginning of its digest would make it
        // easier to guess.
        let fingerprint = if key.hashed {
            key.digest.fingerprint()
        } else {
            "-".into()
        };
        lines.push([
            configured_name(index, &key),
            key.scopes.to_string(),
            "-".into(),
            "never".into(),
            fingerprint,
        ]);
    }
    for key in set.keys {
        let scopes = key.scopes.to_string();
        for previous in &key.previous {
            lines.push([
                format!("{} (previous)", key.name),
                scopes.clone(),
                "-".into(),
                when(Some(previous.expires), now),
                previous.digest.fingerprint(),
            ]);
        }
        lines.push([
            key.name,
            scopes,
            key.created.to_string(),
            when(key.expires, now),
            key.digest.fingerprint(),
        ]);
    }
    if let Some(digest) = set.first {
        lines.push([
            first::NAME.into(),
            Scopes::ALL.to_string(),
            "-".into(),
            "never".into(),
            digest.fingerprint(),
        ]);
        if !config.auth.api_keys.is_empty() {
            notes.push_str("The key of the first start (api-key) is not valid while auth.api_keys is set.\n");
        }
    }
    if lines.len() == 1 {
        notes.push_str(match access.data {
            Some(_) => "There is no key yet: `mynah api-key add` makes one, and so does the first start.\n",
            None => "There is no key yet: `mynah api-key add` makes one.\n",
        });
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

fn table(lines: &[[String; 5]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(widths);
        let row: String = cells.map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

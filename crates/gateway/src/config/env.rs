//! Setting keys by environment: `MYNAH_<SECTION>__<KEY>=value`.
//!
//! Invariant: a variable that begins with `MYNAH_` sets a key or is an error, so that a misspelt name is
//! never ignored.

use std::ffi::OsString;

use toml::{Table, Value};

use super::file::{all_keys, is_section, nearest};
use super::{Config, SECTIONS};
use crate::text::plain;

const PREFIX: &str = "MYNAH_";
/// Kubernetes sets variables with these prefixes for a service named "mynah". No key of the configuration
/// begins like this.
const KUBERNETES: [&str; 2] = ["MYNAH_SERVICE_", "MYNAH_PORT_"];

/// Returns `config` with the keys set that `env` names. Each error text begins with the name of its variable.
pub(super) fn overlay(
    mut config: Config,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, Vec<String>> {
    let named = env
        .into_iter()
        .map(|(name, text)| (name.to_string_lossy().into_owned(), text));
    let mut ours: Vec<_> = named.filter(|(name, _)| is_ours(name)).collect();
    ours.sort();
    let mut problems = Vec::new();
    for (name, text) in ours {
        let text = text.into_string().map_err(|_| "must be valid UTF-8".to_owned());
        match text.and_then(|text| set(&config, &name, &text)) {
            Ok(changed) => config = changed,
            Err(why) => problems.push(format!("{name}: {why}")),
        }
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

fn is_ours(name: &str) -> bool {
    let is_kubernetes = name == "MYNAH_PORT" || KUBERNETES.iter().any(|prefix| name.starts_with(prefix));
    name.starts_with(PREFIX) && !is_kubernetes
}

/// The name of the variable that sets `key`.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The error text for a variable that names no key. `path` is the key that it would set.
fn unknown(path: &str) -> String {
    let one_underscore = |key: &String| key.replace('.', "_") == path.replace('.', "_");
    let meant = all_keys().find(one_underscore).or_else(|| nearest(path));
    let advice = match meant {
        Some(key) => format!("did you mean {}?", variable(&key)),
        None => format!(
            "variables that begin with {PREFIX} set keys of the configuration, as {} does",
            variable("server.listen")
        ),
    };
    format!("unknown key {path}; {advice}")
}

fn set(config: &Config, name: &str, text: &str) -> Result<Config, String> {
    let path = name[PREFIX.len()..].to_lowercase().replace("__", ".");
    if let Some(section) = SECTIONS.iter().find(|section| section.path == path) {
        let keys = section.keys.iter().map(|key| format!("{path}.{}", key.name));
        let keys = keys.filter(|key| !is_section(key)).map(|key| variable(&key));
        let keys = keys.collect::<Vec<_>>().join(", ");
        return Err(format!("{path} is a section, not a key; its keys are {keys}"));
    }
    if path == "kinds" && !text.trim_start().starts_with('[') {
        return Err(
            "must be a TOML array such as [{ number = 1000, name = \"APP_TYPING\", conversation = \"none\" }]"
                .to_owned(),
        );
    }
    if path != "kinds" && !all_keys().any(|known| known == path) {
        return Err(unknown(&path));
    }
    let mut whole = Table::try_from(config).map_err(|e| e.to_string())?;
    let parts: Vec<&str> = path.split('.').collect();
    let (last, outer) = parts.split_last().ok_or("must name a key")?;
    let mut table = &mut whole;
    for part in outer {
        let inner = table.entry(*part).or_insert_with(|| Value::Table(Table::new()));
        table = inner.as_table_mut().ok_or("must name a key")?;
    }
    match value_like(table.get(*last), text)? {
        Some(value) => table.insert((*last).to_owned(), value),
        None => table.remove(*last),
    };
    whole
        .try_into()
        .map_err(|e: toml::de::Error| plain(e.message(), "a table"))
}

/// Parses `text` as a value of the same type as `old`. A key without a value takes a string; an empty string
/// unsets it.
fn value_like(old: Option<&Value>, text: &str) -> Result<Option<Value>, String> {
    Ok(Some(match old {
        None if text.is_empty() => return Ok(None),
        None | Some(Value::String(_)) => Value::String(text.to_owned()),
        Some(Value::Integer(_)) => match text.replace('_', "").parse() {
            Ok(number) => Value::Integer(number),
            Err(_) => return Err(format!("must be a whole number, not {text:?}")),
        },
        Some(Value::Boolean(_)) => match text {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => return Err(format!("must be true or false, not {text:?}")),
        },
        Some(Value::Array(_)) if text.trim_start().starts_with('[') => array(text)?,
        Some(Value::Array(_)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        Some(_) => return Err("cannot be set by environment".into()),
    }))
}

fn array(text: &str) -> Result<Value, String> {
    let line: Table = format!("value = {text}").parse().map_err(|e: toml::de::Error| {
        format!(
            "must be a TOML array or items separated by commas: {}",
            e.message()
        )
    })?;
    line.get("value")
        .cloned()
        .ok_or_else(|| "must be a TOML array".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_other_programs_and_of_kubernetes_are_ignored() {
        let others = ["MYNAH", "MYNAHX", "XMYNAH_LOGIN__POLICY"];
        let kubernetes = [
            "MYNAH_PORT",
            "MYNAH_SERVICE_HOST",
            "MYNAH_SERVICE_PORT_HTTP",
            "MYNAH_PORT_3001_TCP_ADDR",
        ];
        for name in others.into_iter().chain(kubernetes) {
            assert_eq!(
                overlay(Config::default(), [(name.into(), "x".into())]).unwrap(),
                Config::default(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![b'a', 0xff]);
        let of = |name: OsString, value: OsString| {
            overlay(Config::default(), [(name, value)]).unwrap_err().concat()
        };
        assert_eq!(
            of("MYNAH_LOGIN__POLICY".into(), broken()),
            "MYNAH_LOGIN__POLICY: must be valid UTF-8"
        );
        let mut name = OsString::from("MYNAH_");
        name.push(broken());
        assert!(of(name, "x".into()).contains("unknown key a"));
    }
}

//! Overriding keys by environment: `MYNAH_<SECTION>__<KEY>=value`.

use toml::{Table, Value};

use super::file::{all_keys, suggestion};
use super::{Config, SECTIONS};

const PREFIX: &str = "MYNAH_";

/// `config` with the variables of `env` that are meant for it. Each complaint names its variable.
pub(super) fn overlay(
    mut config: Config,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<String>> {
    let mut ours: Vec<_> = env.into_iter().filter(|(name, _)| is_ours(name)).collect();
    ours.sort();
    let mut problems = Vec::new();
    for (name, text) in ours {
        match set(&config, &name, &text) {
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
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.contains("__") || rest == "KINDS")
}

fn set(config: &Config, name: &str, text: &str) -> Result<Config, String> {
    let path = name[PREFIX.len()..].to_lowercase().replace("__", ".");
    let is_section = SECTIONS.iter().any(|section| section.path == path);
    if path != "kinds" && (is_section || !all_keys().any(|known| known == path)) {
        return Err(format!("unknown key {path}{}", suggestion(&path)));
    }
    let mut whole = Table::try_from(config).map_err(|e| e.to_string())?;
    let parts: Vec<&str> = path.split('.').collect();
    let (last, outer) = parts.split_last().ok_or("it names no key")?;
    let mut table = &mut whole;
    for part in outer {
        let inner = table.entry(*part).or_insert_with(|| Value::Table(Table::new()));
        table = inner.as_table_mut().ok_or("it names no key")?;
    }
    match value_like(table.get(*last), text)? {
        Some(value) => table.insert((*last).to_owned(), value),
        None => table.remove(*last),
    };
    whole
        .try_into()
        .map_err(|e: toml::de::Error| e.message().to_owned())
}

/// `text` as a value of the type that `old` has; a key without a value holds text, and empty text takes it away.
fn value_like(old: Option<&Value>, text: &str) -> Result<Option<Value>, String> {
    Ok(Some(match old {
        None if text.is_empty() => return Ok(None),
        None | Some(Value::String(_)) => Value::String(text.to_owned()),
        Some(Value::Integer(_)) => match text.replace('_', "").parse() {
            Ok(number) => Value::Integer(number),
            Err(_) => return Err(format!("must be a whole number, it is {text:?}")),
        },
        Some(Value::Boolean(_)) => match text {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => return Err(format!("must be true or false, it is {text:?}")),
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

//! The example file, generated from the code.

use std::fmt::Write;

use toml::{Table, Value};

use super::{Config, SECTIONS};

const HEAD: &str = "\
# Mynah's configuration: every key, with its default. Written by `mynah example-config`.
# Keep what you change; everything may be left out. Each key can also be set by environment:
# server.grace_ms is MYNAH_SERVER__GRACE_MS, push.webhook.url is MYNAH_PUSH__WEBHOOK__URL; lists are
# TOML arrays or separated by commas. Flags (--listen, --data) come last.
# Durations (_ms) are milliseconds, sizes (_bytes) bytes. `mynah check-config` checks it.
";

const KINDS: &str = "
# The application's own kinds (1000 to 9999): one [[kinds]] each.
# conversation: \"pair\" (two users, as kind 3), \"notices\", \"team\", or \"none\" (never stored; to users, a team, or everyone).
# stored: kept and delivered at least once; unread: counts; push: wakes those who are away; clients: clients may send it.
# [[kinds]]
# number = 1000
# name = \"APP_TYPING\"
# conversation = \"none\"
# stored = false
# unread = false
# push = false
# clients = true
";

/// Returns a file that holds every key with its default and its description. Reading it gives
/// [`Config::default`].
pub fn example() -> String {
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let mut text = HEAD.to_owned();
    for section in &SECTIONS {
        text.push('\n');
        comment(&mut text, section.about.iter().copied());
        let _ = writeln!(text, "[{}]", section.path);
        let values = lookup(&defaults, section.path);
        for key in section.keys {
            let value = values.and_then(|values| values.get(key.name));
            if matches!(value, Some(Value::Table(_))) {
                continue;
            }
            comment(&mut text, key.about.iter().copied());
            if let Some(range) = key.range {
                comment(&mut text, [range().as_str()].into_iter());
            }
            let _ = match value {
                Some(value) => writeln!(text, "{} = {value}", key.name),
                None => writeln!(text, "# {} = \"...\"", key.name),
            };
        }
    }
    text.push_str(KINDS);
    text
}

fn comment<'a>(text: &mut String, lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        let _ = writeln!(text, "# {}", line.trim());
    }
}

fn lookup<'t>(table: &'t Table, path: &str) -> Option<&'t Table> {
    let mut parts = path.split('.');
    let first = table.get(parts.next()?)?.as_table();
    parts.fold(first, |table, part| table?.get(part)?.as_table())
}

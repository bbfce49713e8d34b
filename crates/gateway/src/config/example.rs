//! The example file, generated from the code.

use std::fmt::Write;

use toml::{Table, Value};

use super::{Config, SECTIONS};

const HEAD: &str = "\
# The configuration of Mynah: every key with its default. `mynah example-config` generates this file.
# Every key is optional: keep only what you change. `mynah check-config` checks the result.
# An environment variable overrides the file: server.grace_ms is MYNAH_SERVER__GRACE_MS, push.webhook.url is
# MYNAH_PUSH__WEBHOOK__URL; lists are TOML arrays, or items separated by commas. The flags --listen and --data
# override both. Durations (_ms) are in milliseconds, sizes (_bytes) in bytes.
";

const KINDS: &str = "
# The application's own kinds (1000 to 9999): one [[kinds]] table for each.
# conversation: \"pair\" (two users, as for kind 3), \"notices\", \"team\", or \"none\" (never stored; sent to users,
# a team, or everyone).
# stored: whether messages are kept and delivered at least once. unread: whether they count as unread.
# push: whether users who do not receive them are notified. clients: whether clients may send them.
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

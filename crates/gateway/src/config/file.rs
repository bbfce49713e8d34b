//! Reading the configuration file. An error names its line, its key, and the key that was probably meant.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Config, SECTIONS};
use crate::text::{plain, without_mark};

/// Reads the configuration in `text`. Each error text begins with `name`.
pub(super) fn read(text: &str, name: &str) -> Result<Config, Vec<String>> {
    let text = without_mark(text);
    let at = |span: Option<Range<usize>>| match span {
        Some(span) => format!("{name}:{}", line_of(text, span.start)),
        None => name.to_owned(),
    };
    let tree = DeTable::parse(text).map_err(|e| vec![format!("{}: {}", at(e.span()), e.message())])?;
    let mut problems = Vec::new();
    find_problems(tree.get_ref(), "", &mut |span, problem| {
        problems.push(format!("{}: {problem}", at(Some(span))));
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    toml::from_str(text).map_err(|e| {
        let key = e
            .span()
            .map(|span| key_at(tree.get_ref(), span.start))
            .filter(|key| !key.is_empty());
        let key = key.map_or(String::new(), |key| format!("{key}: "));
        vec![format!(
            "{}: {key}{}",
            at(e.span()),
            of_keys(&plain(e.message(), "a table"))
        )]
    })
}

/// Rewords serde's errors about missing or unknown fields of `[[kinds]]` in the terms of a configuration.
fn of_keys(complaint: &str) -> String {
    complaint
        .replacen("missing field", "missing key", 1)
        .replacen("unknown field", "unknown key", 1)
        .replacen("`, expected one of ", "`; the keys are ", 1)
}

/// Returns `; did you mean x?` for the known key that looks most like `path`, or else lists the sections.
fn suggestion(path: &str) -> String {
    let near = |known: &&str| strsim::jaro_winkler(path, known);
    let sections = SECTIONS.iter().map(|section| section.path).chain(["kinds"]);
    let section = sections
        .max_by(|a, b| near(a).total_cmp(&near(b)))
        .filter(|known| !path.contains('.') && near(known) > 0.9)
        .map(str::to_owned);
    match section.or_else(|| nearest(path)) {
        Some(known) => format!("; did you mean {known}?"),
        None => format!("; the sections are {}", SECTIONS.map(|s| s.path).join(", ")),
    }
}

/// Returns the known key that looks most like `path`, if there is a similar one.
pub(super) fn nearest(path: &str) -> Option<String> {
    let near = |known: &String| strsim::jaro_winkler(path, known);
    let best = all_keys().max_by(|a, b| near(a).total_cmp(&near(b)));
    let last = path.rsplit('.').next().unwrap_or(path);
    let is_here = |known: &String| known.split('.').next() == path.split('.').next();
    let elsewhere = all_keys()
        .filter(|known| known.rsplit('.').next() == Some(last))
        .max_by(|a, b| is_here(a).cmp(&is_here(b)).then(near(a).total_cmp(&near(b))));
    elsewhere.or(best.filter(|known| near(known) > 0.85))
}

pub(super) fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|section| section.path == path)
}

/// Returns the whole path of every key.
pub(super) fn all_keys() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|section| {
        section
            .keys
            .iter()
            .map(|key| format!("{}.{}", section.path, key.name))
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|&&b| b == b'\n')
        .count()
        + 1
}

/// Calls `found` for every unknown key, and for every section that is an array, because serde would take the
/// items of the array for the keys in their order. serde reports other wrong types, and what is wrong inside
/// `[[kinds]]`.
fn find_problems(table: &DeTable<'_>, inside: &str, found: &mut impl FnMut(Range<usize>, String)) {
    for (key, value) in table {
        let path = join(inside, key.get_ref());
        match value.get_ref() {
            DeValue::Array(rows) if path == "kinds" => {
                for row in rows.iter().filter(|row| row.get_ref().is_array()) {
                    found(row.span(), "kinds: must contain tables, not arrays".to_owned());
                }
            }
            _ if path == "kinds" => {}
            DeValue::Table(inner) if is_section(&path) => find_problems(inner, &path, found),
            DeValue::Array(_) if is_section(&path) => {
                found(key.span(), format!("{path}: must be a table, not an array"));
            }
            // A section whose value is not a table is a wrong type, not an unknown key.
            _ if is_section(&path) || all_keys().any(|known| known == path) => {}
            _ => found(key.span(), format!("unknown key {path}{}", suggestion(&path))),
        }
    }
}

/// Returns the path of the innermost key whose value is at `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> String {
    for (key, value) in table {
        // The span of a [section] or of a [[kinds]] is its header only; its keys are below it.
        let inner = match value.get_ref() {
            DeValue::Table(inner) => key_at(inner, offset),
            DeValue::Array(rows) => {
                let tables = rows.iter().filter_map(|row| row.get_ref().as_table());
                let found = tables.map(|row| key_at(row, offset));
                found.into_iter().find(|key| !key.is_empty()).unwrap_or_default()
            }
            _ => String::new(),
        };
        if !inner.is_empty() || key.span().contains(&offset) || value.span().contains(&offset) {
            return join(key.get_ref(), &inner);
        }
    }
    String::new()
}

fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", only) | (only, "") => only.to_owned(),
        _ => format!("{outer}.{inner}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_instead_of_a_section_or_a_kind_is_refused() {
        for (text, sentence) in [
            ("server = []\n", "server: must be a table, not an array"),
            (
                "server = [\"127.0.0.1:1\"]\n",
                "server: must be a table, not an array",
            ),
            (
                "push.webhook = []\n",
                "push.webhook: must be a table, not an array",
            ),
            (
                "kinds = [[1000, \"A\", \"none\"]]\n",
                "kinds: must contain tables, not arrays",
            ),
        ] {
            assert_eq!(
                read(text, "f").unwrap_err(),
                [format!("f:1: {sentence}")],
                "{text}"
            );
        }
    }
}

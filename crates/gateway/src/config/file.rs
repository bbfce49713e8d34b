//! Reading the file: what is wrong with it is said with its line, its key, and what was probably meant.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{Config, SECTIONS};
use crate::text::{plain, without_mark};

/// Reads `text`; `name` stands in front of each complaint.
pub(super) fn read(text: &str, name: &str) -> Result<Config, Vec<String>> {
    let text = without_mark(text);
    let at = |span: Option<Range<usize>>| match span {
        Some(span) => format!("{name}:{}", line_of(text, span.start)),
        None => name.to_owned(),
    };
    let tree = DeTable::parse(text).map_err(|e| vec![format!("{}: {}", at(e.span()), e.message())])?;
    let mut unknown = Vec::new();
    find_unknown(tree.get_ref(), "", &mut |span, path| {
        unknown.push(format!(
            "{}: unknown key {path}{}",
            at(Some(span)),
            suggestion(path)
        ));
    });
    if !unknown.is_empty() {
        return Err(unknown);
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
            plain(e.message(), "a table")
        )]
    })
}

/// `; did you mean x?` for the known key that looks most like `path`, or what there is instead.
fn suggestion(path: &str) -> String {
    match nearest(path) {
        Some(known) => format!("; did you mean {known}?"),
        None => format!("; the sections are {}", SECTIONS.map(|s| s.path).join(", ")),
    }
}

/// The known key that looks most like `path`, if one looks like it at all.
pub(super) fn nearest(path: &str) -> Option<String> {
    let near = |known: &String| strsim::jaro_winkler(path, known);
    let best = all_keys().max_by(|a, b| near(a).total_cmp(&near(b)));
    let last = path.rsplit('.').next().unwrap_or(path);
    let elsewhere = all_keys()
        .filter(|known| known.rsplit('.').next() == Some(last))
        .max_by(|a, b| near(a).total_cmp(&near(b)));
    elsewhere.or(best.filter(|known| near(known) > 0.85))
}

/// Every key's whole path.
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

/// Calls `found` with the place and the path of every key that is not known. `[[kinds]]` is left to its own reader.
fn find_unknown(table: &DeTable<'_>, inside: &str, found: &mut impl FnMut(Range<usize>, &str)) {
    for (key, value) in table {
        let path = join(inside, key.get_ref());
        match value.get_ref() {
            _ if path == "kinds" => {}
            DeValue::Table(inner) if SECTIONS.iter().any(|s| s.path == path) => {
                find_unknown(inner, &path, found)
            }
            // A section that is no table is a wrong type, not an unknown key.
            _ if SECTIONS.iter().any(|s| s.path == path) || all_keys().any(|known| known == path) => {}
            _ => found(key.span(), &path),
        }
    }
}

/// The path of the innermost key whose value is at `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> String {
    for (key, value) in table {
        if key.span().contains(&offset) || value.span().contains(&offset) {
            let inner = match value.get_ref() {
                DeValue::Table(inner) => key_at(inner, offset),
                _ => String::new(),
            };
            return join(key.get_ref(), &inner);
        }
        // The span of a [section] is its header only; its keys stand below it.
        if let DeValue::Table(inner) = value.get_ref() {
            let below = key_at(inner, offset);
            if !below.is_empty() {
                return join(key.get_ref(), &below);
            }
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

//! The lengths of files.

use std::collections::BTreeMap;

use crate::{files, tidy};

/// The maximum number of lines of a file without a reason in [`LONG`].
const MOST_LINES: usize = 500;

/// Longer files, each with its reason.
const LONG: &[(&str, &str)] = &[];

#[test]
fn files_are_short_or_have_a_reason() {
    let mut complaints = Vec::new();
    let lengths: BTreeMap<_, _> = files(&[".rs", ".js", ".mjs"])
        .into_iter()
        .map(|file| (file.path, file.text.lines().count()))
        .collect();
    for (path, lines) in &lengths {
        if *lines > MOST_LINES && !LONG.iter().any(|(long, _)| long == path) {
            complaints.push(format!(
                "{path} has {lines} lines: split it, or give a reason in LONG"
            ));
        }
    }
    for (path, _) in LONG {
        if lengths
            .get(*path)
            .is_some_and(|lines| *lines <= MOST_LINES * 4 / 5)
        {
            complaints.push(format!("{path} is short enough: remove it from LONG"));
        }
    }
    tidy(complaints);
}

/// The column at which a line of prose ends, in comments and documents.
const MOST_COLUMNS: usize = 110;

/// The lines of a document that are prose: neither code, nor a table, nor one long link.
fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    document.lines().enumerate().filter(move |(_, line)| {
        is_code ^= line.starts_with("```");
        let is_table = line.starts_with('|');
        !(is_code || is_table || line.starts_with("    ")) && line.trim().contains(' ')
    })
}

/// The lines that are comments.
fn comments(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = code.lines().enumerate();
    lines.filter(|(_, line)| {
        ["//", "/*", "* "]
            .iter()
            .any(|mark| line.trim_start().starts_with(mark))
    })
}

#[test]
fn lines_of_prose_end_at_the_last_column() {
    let mut complaints = Vec::new();
    for file in files(&[".md", ".rs", ".js", ".mjs", ".ts"]) {
        let long = |lines: &mut dyn Iterator<Item = (usize, &str)>| {
            lines
                .filter(|(_, line)| line.chars().count() > MOST_COLUMNS && !line.contains("://"))
                .map(|(at, _)| at + 1)
                .collect::<Vec<_>>()
        };
        let long = match file.path.ends_with(".md") {
            true => long(&mut prose(&file.text)),
            false => long(&mut comments(&file.text)),
        };
        complaints.extend(
            long.iter()
                .map(|at| format!("{}:{at} ends behind column {MOST_COLUMNS}", file.path)),
        );
    }
    tidy(complaints);
}

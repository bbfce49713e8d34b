//! The lengths of files.

use std::collections::BTreeMap;

use crate::{files, tidy};

/// Most lines of a file without a reason in [`LONG`].
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

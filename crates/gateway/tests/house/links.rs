//! Every reference has a target: links between documents, headings to which comments refer, and names of
//! files.
//!
//! Comments refer to a part of a document as a link does, by its file and heading:
//! `docs/PROTOCOL.md#5-kinds`. Section numbers alone become wrong without anybody noticing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{files, root, tidy};

/// The endings of file names that are checked in comments, and in the code spans of documents.
const IN_COMMENTS: &[&str] = &[".rs", ".md", ".js", ".mjs", ".sql"];
const IN_DOCUMENTS: &[&str] = &[".rs", ".md", ".sql"];

/// Returns the name of a heading in a link, as GitHub derives it: lower case, hyphens instead of spaces, no
/// punctuation.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Returns the anchors of a document: its headings, and elements with an `id`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| anchor(line.trim_start_matches('#')));
    let ids = text.split("<a id=\"").skip(1);
    let ids = ids.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    headings.chain(ids).collect()
}

/// Returns the targets of a document's links, with their line numbers.
fn links(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(at, line)| line.split("](").skip(1).map(move |rest| (at + 1, rest)))
        .filter_map(|(at, rest)| Some((at, rest.split_once(')')?.0)))
        .collect()
}

/// Resolves the path of a link in a document of the directory `base`.
fn path(base: &str, link: &str) -> String {
    let mut parts: Vec<_> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/').filter(|part| !part.is_empty()) {
        match part {
            "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns the file names in a text, each with its anchor, if there is one.
fn names<'t>(text: &'t str, endings: &[&str]) -> Vec<(&'t str, Option<&'t str>)> {
    let is_part = |c: char| c.is_alphanumeric() || "_-./#".contains(c);
    let words = text
        .split(|c: char| !is_part(c))
        .filter(|word| !word.contains("//"));
    words
        .map(|word| word.trim_end_matches(['.', '/', '#']))
        .filter_map(|word| {
            let (name, anchor) = match word.split_once('#') {
                Some((name, anchor)) => (name, Some(anchor)),
                None => (word, None),
            };
            let name = name.trim_start_matches(['.', '/']);
            let stem = endings.iter().find_map(|ending| name.strip_suffix(ending))?;
            (!stem.is_empty() && !stem.ends_with('/')).then_some((name, anchor))
        })
        .collect()
}

/// Returns the comment in a line of code.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start();
    match text.strip_prefix("//").or_else(|| text.strip_prefix("* ")) {
        Some(whole) => Some(whole),
        None => line.split_once(" // ").map(|(_, end)| end),
    }
}

/// Returns the code spans in a line of a document.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns whether there is a file whose path ends in `name` and which has this anchor.
fn exists(name: &str, anchor: Option<&str>, targets: &BTreeMap<&str, BTreeSet<String>>) -> bool {
    targets.iter().any(|(path, anchors)| {
        let before = path.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
            && anchor.is_none_or(|anchor| anchors.contains(anchor))
    })
}

#[test]
fn links_in_documents_have_targets() {
    let documents = files(&[".md"]);
    let anchors: BTreeMap<_, _> = documents
        .iter()
        .map(|file| (&*file.path, anchors(&file.text)))
        .collect();
    let mut complaints = Vec::new();
    for file in &documents {
        let (base, _) = file.path.rsplit_once('/').unwrap_or_default();
        // A link with a colon leads out of the repository.
        let links = links(&file.text)
            .into_iter()
            .filter(|(_, link)| !link.contains(':'));
        for (line, link) in links {
            let (to, anchor) = match link.split_once('#') {
                Some((to, anchor)) => (to, Some(anchor)),
                None => (link, None),
            };
            let to = match to {
                "" => file.path.clone(),
                to => path(base, to),
            };
            let leads = match (anchors.get(&*to), anchor) {
                (Some(anchors), Some(anchor)) => anchors.contains(anchor),
                _ => root().join(&to).exists(),
            };
            if !leads {
                complaints.push(format!(
                    "{}:{line} links to {link}, which does not exist",
                    file.path
                ));
            }
        }
    }
    tidy(complaints);
}

#[test]
fn files_named_in_comments_and_documents_exist() {
    let files = files(IN_COMMENTS);
    let targets: BTreeMap<_, _> = files
        .iter()
        .map(|file| (&*file.path, anchors(&file.text)))
        .collect();
    let mut complaints = Vec::new();
    // The changelog may name files that existed at the time of a change.
    for file in files.iter().filter(|file| file.path != "CHANGELOG.md") {
        for (at, line) in file.text.lines().enumerate() {
            let found: Vec<_> = if file.path.ends_with(".md") {
                spans(line).flat_map(|span| names(span, IN_DOCUMENTS)).collect()
            } else {
                let comment = comment(line).into_iter();
                comment.flat_map(|text| names(text, IN_COMMENTS)).collect()
            };
            for (name, anchor) in found {
                if !exists(name, anchor, &targets) {
                    let anchor = anchor.map_or(String::new(), |anchor| format!(" with the heading {anchor}"));
                    let at = at + 1;
                    complaints.push(format!(
                        "{}:{at} names {name}{anchor}, which does not exist",
                        file.path
                    ));
                }
            }
        }
    }
    tidy(complaints);
}

#[test]
fn no_section_is_referred_to_by_its_number() {
    let mut complaints = Vec::new();
    for file in files(&[".rs", ".js", ".mjs", ".md"]) {
        let lines: Vec<_> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            // The number and the name can be in two adjacent lines of a comment.
            let next = lines.get(at + 1).copied().unwrap_or_default();
            if numbered(&format!(
                "{line} {}",
                next.trim_start_matches(['/', '!', '*', ' '])
            )) {
                complaints.push(format!(
                    "{}:{} refers to a section of the protocol by its number; write docs/PROTOCOL.md#heading",
                    file.path,
                    at + 1
                ));
            }
        }
    }
    tidy(complaints);
}

/// Returns whether a line names a section of the protocol by its number.
fn numbered(line: &str) -> bool {
    let name = concat!("PROTO", "COL");
    let begins_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let after = |word: &str| {
        line.match_indices(word)
            .any(|(at, _)| begins_with_digit(&line[at + word.len()..]))
    };
    line.contains(name) && (after("section ") || after("sections ") || after(concat!("PROTO", "COL ")))
}

#[test]
fn references_are_found() {
    assert_eq!(anchor(" `POST /v1/messages`"), "post-v1messages");
    assert_eq!(anchor(" 6. Requests: 101 to 111"), "6-requests-101-to-111");
    assert_eq!(links("a [b](c.md#d) [e](f)\n(g)"), [(1, "c.md#d"), (1, "f")]);
    assert_eq!(path("docs/decisions", "../x/./y.md"), "docs/x/y.md");
    assert_eq!(
        names(
            "see docs/A.md#b-c, `x.rs`. Not https://a.example/b.md, .rs or a.rsx",
            &[".md", ".rs"]
        ),
        [("docs/A.md", Some("b-c")), ("x.rs", None)]
    );
    assert_eq!(comment("    /// a"), Some("/ a"));
    assert_eq!(comment("f(); // b"), Some("b"));
    assert_eq!(comment("f(\"http://x\")"), None);
    assert!(numbered(concat!("(PROTO", "COL sec", "tion 4)")));
    assert!(numbered(concat!("// PROTO", "COL 4: x")));
    assert!(numbered(concat!("(sec", "tion 4 of PROTO", "COL.md)")));
    assert!(!numbered("docs/PROTOCOL.md#4-registering"));
}

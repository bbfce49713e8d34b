//! Comments that should not exist.

use crate::{files, tidy};

/// Returns whether a line is a comment that consists of code, as far as one line can tell.
fn commented_out(line: &str) -> bool {
    let Some(text) = line.trim_start().strip_prefix("//") else {
        return false;
    };
    let text = text.trim();
    let is_documentation = text.starts_with(['/', '!']) || line.contains("///") || line.contains("//!");
    !is_documentation
        && (text.ends_with([';', '{', '}'])
            || text.starts_with("#[")
            || text.ends_with("),")
            || text.ends_with("=>"))
}

#[test]
fn nothing_is_commented_out_or_left_to_do() {
    let mut complaints = Vec::new();
    for file in files(&[".rs", ".js", ".mjs"]) {
        for (at, line) in file.text.lines().enumerate() {
            if commented_out(line) {
                complaints.push(format!(
                    "{}:{} is commented out: {}",
                    file.path,
                    at + 1,
                    line.trim()
                ));
            }
        }
    }
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("HA", "CK:")];
    let places = [
        concat!("/", "work/"),
        concat!("/", "root/"),
        concat!("/", "home/"),
        concat!("/", "Users/"),
    ];
    let endings = [
        ".rs", ".js", ".mjs", ".md", ".toml", ".sql", ".html", ".css", ".json",
    ];
    for file in files(&endings) {
        for (at, line) in file.text.lines().enumerate() {
            for found in notes.iter().chain(&places).filter(|text| line.contains(**text)) {
                complaints.push(format!("{}:{} has {found}", file.path, at + 1));
            }
        }
    }
    tidy(complaints);
}

#[test]
fn commented_out_code_is_distinguished_from_prose() {
    for code in [
        "// let x = 1;",
        "    //foo();",
        "// if a {",
        "// }",
        "// #[test]",
        "// call(a, b),",
    ] {
        assert!(commented_out(code), "{code}");
    }
    for prose in [
        "// It is never closed.",
        "/// let x = 1;",
        "//! }",
        "let x = 1; // one;",
        "// as in (a, b)",
    ] {
        assert!(!commented_out(prose), "{prose}");
    }
}

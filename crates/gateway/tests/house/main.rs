//! Checks of the repository: lengths of files, directions of dependencies, and documents that must match the
//! code.
//!
//! Each check says what is wrong and where. Two checks are elsewhere: `config/tests.rs` compares the example
//! configuration with the code, and `http/tests/description.rs` the description of the API.

mod comments;
mod cycles;
mod directions;
mod documents;
mod lengths;
mod links;

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
pub(crate) struct File {
    /// The path from the root of the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Returns the text without the module of tests at its end.
    pub(crate) fn code(&self) -> &str {
        let tests = self.text.find("#[cfg(test)]\nmod tests {");
        &self.text[..tests.unwrap_or(self.text.len())]
    }

    /// Returns whether the file is a test or belongs to test tools, to which some rules do not apply.
    pub(crate) fn is_test(&self) -> bool {
        [
            "/tests",
            "/simulation/",
            "/testing",
            "/fuzzing",
            "/store-conformance/",
        ]
        .iter()
        .any(|place| self.path.contains(place))
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns all files with one of these endings, in order, except built and downloaded ones.
pub(crate) fn files(endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", endings, &mut found);
    assert!(!found.is_empty(), "no files below {}", root().display());
    found
}

fn walk(directory: &Path, path: &str, endings: &[&str], found: &mut Vec<File>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()) {
        let (at, path) = (directory.join(name), format!("{path}{name}"));
        if at.is_dir()
            && !name.starts_with('.')
            && !["target", "node_modules", "dist", "corpus"].contains(&name)
        {
            walk(&at, &format!("{path}/"), endings, found);
        } else if at.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&at).unwrap_or_else(|error| panic!("{path}: {error}"));
            found.push(File { path, text });
        }
    }
}

pub(crate) fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
pub(crate) fn tidy(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

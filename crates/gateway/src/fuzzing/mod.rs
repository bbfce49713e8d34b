//! The fuzz targets of `fuzz/`: each checks properties that must be true for any input. The fuzzer calls them
//! with generated input, the test below with the corpus. Normal builds do not contain this module.

mod api;
mod chat;
mod decoders;
mod hearing;
mod script;

/// The name of a target, which is also the folder of its corpus, and its check.
pub type Target = (&'static str, fn(&[u8]));

/// All fuzz targets.
pub const TARGETS: [Target; 13] = [
    ("frame", decoders::frame),
    ("ids", decoders::ids),
    ("query", decoders::query),
    ("config", decoders::config),
    ("handshake", crate::entrance::fuzzing::handshake),
    ("token", crate::auth::fuzzing::token),
    ("jwks", crate::auth::fuzzing::jwks),
    ("public_key", crate::auth::fuzzing::public_key),
    ("backend", crate::auth::fuzzing::backend),
    ("api_keys", crate::keys::fuzzing::api_keys),
    ("certificate", crate::tls::fuzz),
    ("api", chat::api),
    ("chat", chat::chat),
];

/// Runs the target `name`.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = target.unwrap_or_else(|| panic!("there is no target {name}"));
    body(data);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_corpus_passes_every_target() {
        for (name, body) in TARGETS {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
            let folder = corpus.join(name);
            let mut seen = 0;
            for entry in std::fs::read_dir(&folder).expect("a corpus for every target") {
                let path = entry.expect("an entry").path();
                println!("{}", path.display());
                body(&std::fs::read(path).expect("a file"));
                seen += 1;
            }
            assert!(seen > 0, "the corpus of {name} is empty");
        }
    }
}

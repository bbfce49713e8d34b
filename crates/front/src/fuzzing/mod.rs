//! Properties of the code that runs before a session exists, for arbitrary input of a peer: one function for
//! each target in `fuzz/`. The fuzzer calls them with the input that it generates, and the test below with
//! its corpus. Normal builds do not contain this module.

mod entry;
mod forwarded;
mod origin;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A fuzz target: its name, which is also the folder of its corpus, and the function that checks it.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 4] = [
    ("proxy_header", entry::proxy_header),
    ("head", entry::head),
    ("forwarded", forwarded::forwarded),
    ("origin", origin::origin),
];

/// Runs a target by its name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = target.unwrap_or_else(|| panic!("there is no target {name}"));
    body(data);
}

/// The result of a future that is ready at once.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(given) => given,
        Poll::Pending => panic!("the future had nothing to wait for"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_corpus_violates_no_property() {
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

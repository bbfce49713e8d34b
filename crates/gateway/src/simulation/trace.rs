//! A log of a run: a hash of all lines, to compare runs, and the last lines, to investigate a failure.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// Number of lines that are kept.
const KEPT: usize = 400;

/// The log of a run.
pub(super) struct Trace {
    hash: u64,
    lines: u64,
    kept: VecDeque<String>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            kept: VecDeque::new(),
        }
    }

    pub(super) fn line(&mut self, now: u64, what: &str) {
        let line = format!("{:>7} {what}", now);
        // The hash is FNV-1a.
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// Returns a value that is equal for two identical runs.
    pub(super) fn fingerprint(&self) -> (u64, u64) {
        (self.hash, self.lines)
    }

    /// Returns the last lines.
    pub(super) fn tail(&self) -> String {
        let mut tail = String::new();
        for line in &self.kept {
            let _ = writeln!(tail, "{line}");
        }
        tail
    }
}

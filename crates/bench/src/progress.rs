//! The line that shows the progress of a run. It only appears on a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line is updated.
const EVERY: Duration = Duration::from_millis(500);

/// The progress line.
pub(crate) struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    /// A line that is not shown yet.
    pub(crate) fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            shown: None,
        }
    }

    /// Shows the text, if it is time for an update.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.terminal && self.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            write!(stderr(), "\r\x1b[K{}", text()).ok();
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            write!(stderr(), "\r\x1b[K").ok();
        }
    }
}

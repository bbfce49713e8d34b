//! Logs: lines on standard error, for people or as JSON. No message bodies, tokens or peers' addresses at info and above.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Format, Log};

/// Begins logging; once in a program.
pub fn init(config: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)?;
    // Whoever read the log may be gone; that must not stop anything.
    let lines = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(colours())
        .with_writer(std::io::stderr);
    let begun = match config.format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| anyhow::anyhow!("logging cannot begin: {e}"))
}

/// Whether lines have colours: at a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

//! Logging to standard error, as text or as JSON. At level info and above the log contains no message bodies,
//! tokens, or addresses of clients.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Format, Log};

/// Starts logging. A program can do this only once.
pub fn init(config: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter)?;
    // If nobody reads standard error any more, that must not cause panics or further errors.
    let lines = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(colours())
        .with_writer(std::io::stderr);
    let begun = match config.format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| anyhow::anyhow!("logging cannot be started: {e}"))
}

/// Whether lines are coloured: at a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
fn colours() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}

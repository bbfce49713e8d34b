//! `[log]`

use serde::{Deserialize, Serialize};

use super::section::section;

section! {
    /// The log of the program, which is written to standard error.
    pub struct Log {
        /// "text" for people, or "json" for programs (one object per line).
        pub format: Format = Format::Text;
        /// A minimum level ("error", "warn", "info", "debug" or "trace"), also for each module
        /// ("info,mynah::store=debug").
        pub filter: String = "info".into();
    }
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Log {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if let Err(why) = tracing_subscriber::EnvFilter::try_new(&self.filter) {
            problems.push(format!("log.filter must be a level or module=level pairs: {why}"));
        }
    }
}

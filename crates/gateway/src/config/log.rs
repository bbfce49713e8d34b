//! `[log]`

use serde::{Deserialize, Serialize};

use super::section::section;

section! {
    /// What the program says about itself, on standard error.
    pub struct Log {
        /// "text" for people, "json" for machines (one object a line).
        pub format: Format = Format::Text;
        /// What is logged: "error", "warn", "info", "debug", "trace", or by module ("info,mynah::store=debug").
        pub filter: String = "info".into();
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Log {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if let Err(why) = tracing_subscriber::EnvFilter::try_new(&self.filter) {
            problems.push(format!("log.filter must be a level or module=level pairs: {why}"));
        }
    }
}

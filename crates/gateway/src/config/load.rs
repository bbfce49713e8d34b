//! The sources of the configuration, each overriding the one before: defaults, file, environment, flags.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::{Config, env, file};

/// The file that is read if none is named and this one exists.
const DEFAULT_FILE: &str = "mynah.toml";

/// The variable that many programs use to name a file of trusted certificates.
const CA_VARIABLE: &str = "SSL_CERT_FILE";

/// The sources to read, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`. Without it ./mynah.toml is read if it exists.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--data`
    pub data: Option<PathBuf>,
}

/// Everything that is wrong with a configuration: one sentence for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

fn unreadable(name: &str, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidData => format!("{name} is not UTF-8 text: save it in that encoding"),
        _ => format!("{name} cannot be read: {error}"),
    }
}

impl Config {
    /// Reads and checks the configuration.
    pub fn load(sources: Sources) -> Result<Self, ConfigErrors> {
        let config = match &sources.file {
            Some(path) => {
                let name = path.display().to_string();
                let text =
                    std::fs::read_to_string(path).map_err(|e| ConfigErrors(vec![unreadable(&name, &e)]))?;
                file::read(&text, &name)
            }
            None => match std::fs::read_to_string(DEFAULT_FILE) {
                Ok(text) => file::read(&text, DEFAULT_FILE),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::default()),
                Err(e) => Err(vec![unreadable(DEFAULT_FILE, &e)]),
            },
        };
        let trusted = sources.env.iter().find(|(name, _)| name == CA_VARIABLE);
        let trusted = trusted.map(|(_, file)| PathBuf::from(file));
        let config = config.and_then(|config| env::overlay(config, sources.env));
        let mut config = config.map_err(ConfigErrors)?;
        if config.outbound.ca_file.is_none() {
            config.outbound.ca_file = trusted.filter(|file| !file.as_os_str().is_empty());
        }
        if let Some(listen) = sources.listen {
            config.server.listen = listen;
        }
        if let Some(data) = sources.data {
            config.store.path = data;
        }
        config.checked()
    }

    /// Reads and checks the text of a configuration file. Each error text begins with `name`.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigErrors> {
        file::read(text, name).map_err(ConfigErrors)?.checked()
    }

    fn checked(self) -> Result<Self, ConfigErrors> {
        let problems = self.problems();
        if problems.is_empty() {
            Ok(self)
        } else {
            Err(ConfigErrors(problems))
        }
    }
}

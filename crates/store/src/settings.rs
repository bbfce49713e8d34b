//! Settings, and what a store tells its watchers.

use crate::Revocation;

/// A small text that all nodes of a store share, such as the API keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Counts the changes of this setting.
    pub version: u64,
    /// Its value.
    pub text: String,
}

/// Who is told of changes; see [`Store::watch`](crate::Store::watch). Must not block.
pub enum Watcher {
    /// Is told settings. An older version may be told after a newer one, and a version repeatedly.
    Settings(Box<dyn Fn(&Setting) + Send + Sync>),
    /// Is told revocations.
    Revocations(Box<dyn Fn(Revocation) + Send + Sync>),
}

/// See [`Store::change_setting`](crate::Store::change_setting). Must not block. It is called again if the
/// transaction is repeated; the last call counts.
pub type SettingChange = Box<dyn FnMut(&str) -> Option<String> + Send>;

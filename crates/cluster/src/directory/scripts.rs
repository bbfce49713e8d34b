//! The Lua scripts of the directory. Each runs on one key, and atomically.

use std::sync::LazyLock;

use redis::{Cmd, cmd};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// A script, by which Redis finds it again.
pub(super) struct Script {
    /// Its text.
    pub(super) text: &'static str,
    /// The hexadecimal SHA-1 of the text.
    sha: String,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("record.lua"), include_str!($file))));
    };
}

script!(CLAIM, "claim.lua");
script!(TOUCH, "touch.lua");
script!(RELEASE, "release.lua");

/// The texts of all scripts.
pub(super) fn texts() -> Vec<&'static str> {
    vec![CLAIM.text, TOUCH.text, RELEASE.text]
}

impl Script {
    fn new(text: &'static str) -> Self {
        let sha = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha = sha.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha }
    }

    /// The command that runs the script on a key. Its arguments are added to it.
    pub(super) fn on(&self, key: &str) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(&self.sha).arg(1).arg(key);
        command
    }
}

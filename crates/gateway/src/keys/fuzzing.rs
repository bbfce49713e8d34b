//! Checks what must hold for all texts with keys, whatever they contain.

use super::set::KeySet;
use crate::config::{ConfiguredKey, KeyDigest, Scopes, Secret, is_key_name};

/// A key that somebody has pasted in the place of its digest.
const PASTED: &str = "mynah_7fb43f8b2a0c4d1e9a6b5c3d2e1f00112233445566778899aabbccddeeff0011";

/// Reads a text as named keys, and each of its lines as an entry of `auth.api_keys`. `$k` stands for a key.
pub(crate) fn api_keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let text = text.replace("$k", PASTED);
    match KeySet::parse(&text) {
        Ok(read) => {
            let written = toml::to_string(&read).expect("what was read can be written");
            let again = KeySet::parse(&written).expect("what was written can be read");
            assert_eq!(written, toml::to_string(&again).expect("it can be written again"));
            for key in &read.keys {
                assert!(is_key_name(&key.name));
                assert!(key.scopes != Scopes::NONE);
                let _ = (
                    key.created.to_string(),
                    key.expires.map(|moment| moment.to_string()),
                );
            }
        }
        Err(why) => assert!(!why.contains(&PASTED[6..]) && !why.contains(PASTED), "{why}"),
    }
    for line in text.split('\n') {
        match ConfiguredKey::parse(&Secret::new(line)) {
            Ok(key) if key.hashed => {
                assert!(key.scopes != Scopes::NONE && key.name.as_deref().is_none_or(is_key_name));
                assert!(
                    !bool::from(key.digest.same(&KeyDigest::of(line))),
                    "the entry is not the key"
                );
            }
            Ok(key) => {
                assert!(bool::from(key.digest.same(&KeyDigest::of(line))));
                assert!(key.scopes == Scopes::ALL && key.name.is_none());
            }
            Err(why) => assert!(why.starts_with("m"), "{why}"),
        }
    }
}

//! The keys and files that the configuration names for tokens.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::keys::{self, TokenKey};
use crate::config::{Jwt, MIN_SECRET_BYTES};

/// Returns the configured keys for verifying tokens, without those of an issuer.
pub(super) fn own_keys(jwt: &Jwt) -> anyhow::Result<Vec<TokenKey>> {
    let mut own: Vec<TokenKey> = secret(jwt)?
        .iter()
        .map(|secret| TokenKey::secret(secret))
        .collect();
    if let Some(pem) = &jwt.public_key {
        let keys = keys::from_pem(pem).map_err(|why| anyhow!("auth.jwt.public_key cannot be used: {why}"))?;
        own.extend(keys);
    }
    if let Some(path) = &jwt.public_key_file {
        let pem = read("auth.jwt.public_key_file", path)?;
        let keys = String::from_utf8(pem)
            .map_err(|_| "it is not UTF-8 text".to_owned())
            .and_then(|pem| keys::from_pem(&pem));
        own.extend(keys.map_err(|why| {
            anyhow!(
                "auth.jwt.public_key_file ({}) cannot be used: {why}",
                path.display()
            )
        })?);
    }
    Ok(own)
}

/// Returns the secret for HS256, from the configuration or from its file.
pub(super) fn secret(jwt: &Jwt) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = &jwt.secret_file else {
        return Ok(jwt
            .secret
            .as_ref()
            .map(|secret| secret.expose().as_bytes().to_vec()));
    };
    let mut secret = read("auth.jwt.secret_file", path)?;
    if secret.ends_with(b"\n") {
        secret.pop();
        if secret.ends_with(b"\r") {
            secret.pop();
        }
    }
    anyhow::ensure!(
        secret.len() >= MIN_SECRET_BYTES,
        "auth.jwt.secret_file ({}) must contain at least {MIN_SECRET_BYTES} bytes, not {}; make one with: openssl rand -hex 32",
        path.display(),
        secret.len()
    );
    Ok(Some(secret))
}

/// Reads the file that the configuration names by `key`.
pub(super) fn read(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{key} ({}) cannot be read", path.display()))
}

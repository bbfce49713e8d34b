//! API keys: who may call `/v1`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Api;
use super::problem::Problem;
use crate::config::Secret;

/// The file in the data directory that keeps the key which was made at the first start.
const FILE: &str = "api-key";

/// The keys that open the API. Only their digests are kept, so that comparing takes the same time whatever is compared.
#[derive(Debug, Clone)]
pub struct ApiKeys(Vec<[u8; 32]>);

/// From where the keys come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The configuration, `auth.api_keys`.
    Configured,
    /// This file, which was there.
    Kept(PathBuf),
    /// This file, which was made just now.
    Made(PathBuf),
}

impl ApiKeys {
    /// These keys.
    pub fn new(keys: &[Secret]) -> Self {
        Self(keys.iter().map(|key| digest(key.expose())).collect())
    }

    /// The configured keys; where there are none the one that the data directory keeps, which is made if need be.
    pub fn open(configured: &[Secret], data: &Path) -> io::Result<(Self, KeySource)> {
        if !configured.is_empty() {
            return Ok((Self::new(configured), KeySource::Configured));
        }
        let path = data.join(FILE);
        let (key, source) = match std::fs::read_to_string(&path) {
            Ok(text) => {
                warn_if_readable(&path)?;
                (text.trim().to_owned(), KeySource::Kept(path))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => (make(data, &path)?, KeySource::Made(path)),
            Err(e) => return Err(e),
        };
        if key.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file api-key is empty; remove it to have a new key made",
            ));
        }
        Ok((Self(vec![digest(&key)]), source))
    }

    /// Whether `key` is one of them; takes the same time for every key.
    fn open_with(&self, key: &str) -> bool {
        let offered = digest(key);
        self.0
            .iter()
            .fold(Choice::from(0), |found, known| found | known.ct_eq(&offered))
            .into()
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refused = |detail: &'static str| Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return refused("The API needs a key: send the header \"Authorization: Bearer <api key>\".");
        };
        let bearer = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match bearer {
            Some((_, key)) if self.open_with(key.trim()) => Ok(()),
            Some(_) => refused(
                "This is no API key of this server: take one of auth.api_keys, or the one in the data directory's file api-key.",
            ),
            None => refused("The header Authorization must be \"Bearer <api key>\"."),
        }
    }
}

fn warn_if_readable(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            "others on this machine can read the API key in {} (mode {mode:o}): chmod 600",
            path.display()
        );
    }
    Ok(())
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Draws a key and writes it where nobody else can read it; the file is there whole or not at all.
fn make(data: &Path, path: &Path) -> io::Result<String> {
    DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let key: String = std::iter::once("mynah_".to_owned())
        .chain(random.iter().map(|b| format!("{b:02x}")))
        .collect();
    let unfinished = data.join("api-key.new");
    match std::fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(format!("{key}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(key)
}

/// Lets a call of `/v1` through if it has a key. The description of the API is open.
pub(super) async fn require(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let closed = (path == "/v1" || path.starts_with("/v1/")) && path != super::OPENAPI_PATH;
    match if closed {
        api.keys.check(request.headers())
    } else {
        Ok(())
    } {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("deep/data");
        let (keys, source) = ApiKeys::open(&[], &data).unwrap();
        let file = data.join("api-key");
        assert_eq!(source, KeySource::Made(file.clone()));
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let key = std::fs::read_to_string(&file).unwrap();
        assert!(keys.open_with(key.trim()));
        assert!(key.trim().len() > 64);

        let (again, source) = ApiKeys::open(&[], &data).unwrap();
        assert_eq!(source, KeySource::Kept(file));
        assert!(again.open_with(key.trim()));
        assert!(!again.open_with("") && !again.open_with("other"));
    }

    #[test]
    fn what_a_crash_left_behind_does_not_hinder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("api-key.new"), "half").unwrap();
        assert!(ApiKeys::open(&[], dir.path()).is_ok());
    }

    #[test]
    fn an_empty_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("api-key"), "\n").unwrap();
        assert!(ApiKeys::open(&[], dir.path()).is_err());
    }

    #[test]
    fn configured_keys_replace_the_kept_one() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, source) = ApiKeys::open(&[Secret::new("one"), Secret::new("two")], dir.path()).unwrap();
        assert_eq!(source, KeySource::Configured);
        assert!(keys.open_with("one") && keys.open_with("two") && !keys.open_with("on"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

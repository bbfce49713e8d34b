//! The issuer's key set, from a file or a URL. It is fetched at intervals, and when a token names an unknown
//! key.
//!
//! Invariants: one fetch at a time, and not sooner than the cooldown after the last, however many tokens name
//! keys that do not exist; a fetch that fails, or returns a set without any usable key, leaves the last good
//! set in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use super::configured;
use super::keys::{self, TokenKey};
use crate::clock;
use crate::config::Jwt;
use crate::metrics::Metrics;
use crate::outbound::{Failure, Outbound};

/// Time within which a key set must be fetched.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest key set, in bytes.
const MAX_BYTES: usize = 262_144;

enum Source {
    File(PathBuf),
    Url(Box<Outbound>),
}

enum Fetch {
    /// A fetch was requested or is running.
    Due,
    /// No fetch is running. The last one ended at this time.
    Ended(Instant),
}

/// The issuer's key set.
pub(crate) struct Issuer {
    source: Source,
    /// `None` until the first fetch has succeeded.
    set: RwLock<Option<Arc<[TokenKey]>>>,
    fetch: Mutex<Fetch>,
    wanted: Notify,
    /// Counts the fetches that have ended.
    ended: watch::Sender<u64>,
    refresh: Duration,
    cooldown: Duration,
    metrics: Arc<Metrics>,
}

impl Issuer {
    /// Opens the configured key set; `None` if no key set is configured. A file is read at once, a URL by
    /// [`Issuer::run`].
    pub(super) fn open(
        jwt: &Jwt,
        ca_file: Option<&Path>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Option<Self>> {
        let (source, set, fetch) = match (&jwt.jwks_file, &jwt.jwks_url) {
            (Some(path), _) => {
                let text = configured::read("auth.jwt.jwks_file", path)?;
                let keys = usable(&text).map_err(|why| {
                    anyhow!("auth.jwt.jwks_file ({}) cannot be used: {why}", path.display())
                })?;
                (
                    Source::File(path.clone()),
                    Some(keys.into()),
                    Fetch::Ended(clock::now()),
                )
            }
            (None, Some(url)) => {
                let outbound = Outbound::new(url, None, TIMEOUT, MAX_BYTES, ca_file)
                    .context("auth.jwt.jwks_url cannot be used")?;
                (Source::Url(Box::new(outbound)), None, Fetch::Due)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Self {
            source,
            set: RwLock::new(set),
            fetch: Mutex::new(fetch),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
            refresh: Duration::from_millis(jwt.jwks_refresh_ms),
            cooldown: Duration::from_millis(jwt.jwks_cooldown_ms),
            metrics: metrics.clone(),
        }))
    }

    /// Returns the keys of the last good key set; `None` if there was none yet.
    pub(super) fn keys(&self) -> Option<Arc<[TokenKey]>> {
        self.set.read().clone()
    }

    /// Requests a fetch and waits until it has ended. Does nothing if the last one ended within the cooldown.
    pub(super) async fn ask(&self) {
        let mut ended = self.ended.subscribe();
        {
            let mut fetch = self.fetch.lock();
            match &*fetch {
                Fetch::Due => {}
                Fetch::Ended(at) if clock::now().saturating_duration_since(*at) < self.cooldown => return,
                Fetch::Ended(_) => {
                    *fetch = Fetch::Due;
                    self.wanted.notify_one();
                }
            }
        }
        // This cannot fail, because `self` owns the sender, and cannot hang, because a fetch has a timeout.
        let _ = ended.changed().await;
    }

    /// Requests a fetch without regard to the cooldown.
    pub(crate) fn fetch(&self) {
        *self.fetch.lock() = Fetch::Due;
        self.wanted.notify_one();
    }

    /// Fetches the key set for as long as the gateway runs.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut failing = false;
        let mut wait = if let Fetch::Due = &*self.fetch.lock() {
            Duration::ZERO
        } else {
            self.refresh
        };
        loop {
            let regular = tokio::select! {
                biased;
                () = self.wanted.notified() => false,
                () = tokio::time::sleep(wait) => true,
            };
            {
                let mut fetch = self.fetch.lock();
                // The regular fetch has also served this request.
                if !regular && matches!(*fetch, Fetch::Ended(_)) {
                    continue;
                }
                *fetch = Fetch::Due;
            }
            wait = match self.get().await {
                Ok(keys) => {
                    self.metrics.jwks_fetched.inc();
                    if std::mem::take(&mut failing) {
                        tracing::info!("the issuer's key set is available again");
                    }
                    *self.set.write() = Some(keys.into());
                    self.refresh
                }
                Err(why) => {
                    self.metrics.jwks_failed.inc();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            why,
                            "the issuer's key set could not be fetched or used, so the last good one remains in use: {why}"
                        );
                    }
                    self.refresh.min(self.cooldown)
                }
            };
            *self.fetch.lock() = Fetch::Ended(clock::now());
            self.ended.send_modify(|count| *count += 1);
        }
    }

    async fn get(&self) -> Result<Vec<TokenKey>, String> {
        let text: Bytes = match &self.source {
            Source::File(path) => {
                let path = path.clone();
                let text = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                text.map_err(|error| error.to_string())?
                    .map_err(|error| error.to_string())?
                    .into()
            }
            Source::Url(outbound) => {
                let answer = outbound.get().await.map_err(|failure| failure.to_string())?;
                if answer.status.as_u16() != 200 {
                    return Err(Failure::Status(answer.status.as_u16()).to_string());
                }
                answer.body.ok_or_else(|| Failure::Unreadable.to_string())?
            }
        };
        usable(&text)
    }
}

/// Returns the keys of a key set. It is an error if none is usable.
fn usable(text: &[u8]) -> Result<Vec<TokenKey>, String> {
    let keys = keys::from_jwks(text)?;
    if keys.is_empty() {
        return Err("it has no key with which tokens can be verified".into());
    }
    Ok(keys)
}

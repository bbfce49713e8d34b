//! Reads API keys, the TLS certificate and the issuer's key set again on request (SIGHUP).
//!
//! Invariant: if something cannot be read, the last good state remains in use. The configuration file is read
//! only at the start.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::gateway::Gateway;
use crate::http::Api;

/// A handle that reads keys and certificates again. Cloning it is cheap.
#[derive(Clone)]
pub struct Reload {
    pub(crate) api: Arc<Api>,
    pub(crate) gateway: Gateway,
    /// Wakes the task that reads the TLS certificate; `None` without TLS.
    pub(crate) certificate: Option<Arc<Notify>>,
}

impl Reload {
    /// Reads everything again and logs what was done. The certificate and the key set are read a moment
    /// later, and log their own failures.
    pub async fn now(&self) {
        let mut done = vec![if self.api.keys.reload().await {
            "the API keys were read again"
        } else {
            "the API keys could not be read and the last valid ones stay in force"
        }];
        if let Some(certificate) = &self.certificate {
            certificate.notify_one();
            done.push("the TLS certificate is being read again");
        }
        if self.gateway.fetch_token_keys() {
            done.push("the issuer's key set is being fetched again");
        }
        let done = done.join(", ");
        tracing::info!("reload: {done}; other changes of the configuration take effect at the next start");
    }
}

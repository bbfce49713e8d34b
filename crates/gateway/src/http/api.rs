//! The state that the handlers of the API share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mynah_front::{Admission, Cors};
use serde::de::DeserializeOwned;

use super::calls::Calls;
use super::fields;
use super::hosts::Hosts;
use crate::Gateway;
use crate::config::Limits;
use crate::keys::ApiKeys;
use crate::metrics::Metrics;

/// The state that the handlers share.
pub struct Api {
    /// The gateway.
    pub gateway: Gateway,
    /// The API keys that are valid, and their scopes.
    pub keys: Arc<ApiKeys>,
    /// Whether `/metrics` needs a key too.
    pub metrics_key: bool,
    /// The bounds of all calls together.
    pub calls: Calls,
    /// The limits of each call.
    pub limits: Limits,
    /// The metrics that `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Whether the server is in open mode. The demo page exists then, and anybody may sign any user out.
    pub open: bool,
    /// Updates the gauges whose values must be computed. It is called each time before the metrics are shown.
    pub observe: Box<dyn Fn(&Metrics) + Send + Sync>,
    /// The host names under which clients may call the server.
    pub hosts: Hosts,
    /// The origins whose pages may sign users out.
    pub cors: Cors,
    /// Counts refused requests.
    pub admission: Arc<Admission>,
    /// Whether the server is stopping and reports that it is not ready.
    pub draining: AtomicBool,
}

impl Api {
    /// Reads a JSON object that a client has sent, like [`fields::read`]. A list keeps no more elements than
    /// are needed to see that it is too long.
    pub(super) fn read<T: DeserializeOwned>(&self, text: &str, what: &str) -> Result<T, String> {
        let longest = self.limits.uids_per_call.max(self.limits.messages_per_call);
        fields::read(text, what, longest)
    }
}

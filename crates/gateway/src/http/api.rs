//! What the handlers of the API need.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mynah_front::{Admission, Cors};

use super::calls::Calls;
use super::hosts::Hosts;
use crate::Gateway;
use crate::config::Limits;
use crate::keys::ApiKeys;
use crate::metrics::Metrics;

/// What the handlers need.
pub struct Api {
    /// The gateway.
    pub gateway: Gateway,
    /// Who may call `/v1`, and what for.
    pub keys: Arc<ApiKeys>,
    /// `/metrics` needs a key too.
    pub metrics_key: bool,
    /// Bounds of all calls together.
    pub calls: Calls,
    /// Bounds of each call.
    pub limits: Limits,
    /// Rendered at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Open mode: the page is there, and anybody may sign anybody out.
    pub open: bool,
    /// Sets the gauges that are only known by asking; called before each rendering.
    pub observe: Box<dyn Fn(&Metrics) + Send + Sync>,
    /// The host names under which clients may call the server.
    pub hosts: Hosts,
    /// Origins whose pages may sign users out.
    pub cors: Cors,
    /// Counts who was refused.
    pub admission: Arc<Admission>,
    /// The server is stopping: not ready any more.
    pub draining: AtomicBool,
}

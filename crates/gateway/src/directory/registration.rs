//! What is known about a registered connection.

use std::sync::{Arc, OnceLock};

use mynah_store::follow::Point;

use crate::claims::Claims;
use crate::ids::{DeviceId, Uid};

/// The registration of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    /// The user.
    pub(crate) uid: Uid,
    /// The device. If the client named none, it is made from the connection's id.
    pub(crate) device: DeviceId,
    /// The platform, if the client named one.
    pub(crate) platform: Option<Box<str>>,
    /// The identity class, if it is not `user`.
    pub(crate) class: Option<Box<str>>,
    /// When the connection registered, in Unix milliseconds; only for display. The clock may be set, so use
    /// [`Registration::order`] to find which registration is older.
    pub(crate) since: u64,
    /// Its position among all registrations, from [`Registry::next_order`](super::Registry::next_order).
    pub(crate) order: u64,
    /// Whether the store keeps cursors for the device, because the client will use this id again.
    pub(crate) has_cursors: bool,
    /// Whether the client has named the device itself.
    pub(crate) named: bool,
    /// What the client has proved about itself, in the modes that require it.
    pub(crate) claims: Option<Box<Claims>>,
    /// On a node of several: the moment of the record at which it registered. What was committed before is
    /// not pushed from the record. Empty before that is known.
    pub(crate) point: OnceLock<Arc<Point>>,
}

//! Who is connected: the registry of this node, and the login policy.

mod claimed;
mod policy;
mod registration;
mod registry;

pub(crate) use claimed::Removed;
pub(crate) use policy::{Ousted, Policy};
pub(crate) use registration::Registration;
pub(crate) use registry::{Connection, ConnectionId, Registry};

//! Who is connected: the registry of this node.

mod registry;

pub(crate) use registry::{Connection, Ousted, Policy, Registration, Registry};

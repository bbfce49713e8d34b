//! The side of a session that faces one client: responses to its requests, and pushes to it.

mod asker;
mod link;
mod outlet;

pub(crate) use asker::{Asker, refusal};
pub(crate) use link::{Farewell, Hold, Link};
pub(crate) use outlet::Outlet;

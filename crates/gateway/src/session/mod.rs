//! The way to one client: answers to its requests, and what is pushed to it.

mod asker;
mod link;
mod outlet;

pub(crate) use asker::{Asker, refusal};
pub(crate) use link::{Farewell, Link, Turn};
pub(crate) use outlet::Outlet;

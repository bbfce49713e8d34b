//! The store as a whole.

mod kit;
mod messages;

//! Mynah: a chat gateway between Socket.IO clients and an HTTP backend. See ARCHITECTURE.md for the house.

pub mod config;
pub mod ids;
pub mod metrics;
pub mod store;

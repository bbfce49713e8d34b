//! Tokens, keys and key sets, without connections.

mod backend;
mod forged;
mod issuer;
mod vectors;

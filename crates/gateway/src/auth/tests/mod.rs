//! Tokens, keys and key sets, without connections.

mod forged;
mod issuer;
mod kit;
mod vectors;

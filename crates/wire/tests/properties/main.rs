//! Properties of every decoder: round trips, any split of the bytes, any bytes at all; and the fuzzer's corpus.

mod any_bytes;
mod bodies;
mod engine;
mod socket;
mod ws;

//! Properties of every decoder: round trips, any split of the bytes, arbitrary bytes, and the fuzzer's
//! corpus.

mod any_bytes;
mod bodies;
mod engine;
mod socket;
mod ws;

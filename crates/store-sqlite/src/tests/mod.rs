//! Tests of the whole store.

mod cids;
mod conformance;
mod damage;
mod formats;
mod growth;
mod kill;
mod kit;
mod positions;
mod purge;
mod revival;
mod settings;
mod sharing;
mod trim;
mod trouble;

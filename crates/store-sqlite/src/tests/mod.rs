//! Tests of the whole store.

mod cids;
mod damage;
mod formats;
mod growth;
mod kill;
mod kit;
mod messages;
mod model;
mod places;
mod purge;
mod push_jobs;
mod recalls;
mod revocations;
mod sharing;
mod team_changes;
mod trim;
mod trouble;

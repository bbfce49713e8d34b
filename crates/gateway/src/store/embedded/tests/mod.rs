//! The store as a whole.

mod damage;
mod kill;
mod kit;
mod messages;
mod model;
mod push_jobs;
mod team_changes;
mod trouble;

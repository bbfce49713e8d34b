//! Tests with a real Redis, which they start on a free port and stop. Without its program they say so and
//! pass.

mod bus;
mod costs;
mod directory;
mod faults;
mod policy;
mod setup;

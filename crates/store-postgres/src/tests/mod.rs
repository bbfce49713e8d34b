//! Tests with a real PostgreSQL, which they start on a free port and stop. Without its programs they say so
//! and check nothing; `MYNAH_POSTGRES_BIN` names their directory.

mod alone;
mod conformance;
mod follow;
mod migrate;
mod nodes;
mod server;
mod speed;
mod stops;
mod tls;

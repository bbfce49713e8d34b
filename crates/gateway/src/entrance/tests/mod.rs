//! Tests of connections with a whole gateway, but without sockets: what a client sends and receives.

mod frames;
mod kit;
mod large_teams;
mod limits;
mod nodes;
mod orders;
mod races;
mod register;
mod requests;
mod resume;
mod routes;
mod send;
mod tokens;

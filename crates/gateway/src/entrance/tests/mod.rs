//! Connections against the whole core: what a client sends and is told, without sockets.

mod frames;
mod kit;
mod large_teams;
mod limits;
mod orders;
mod races;
mod register;
mod requests;
mod resume;
mod send;
mod tokens;

//! Connections against the whole core: what a client sends and is told, without sockets.

mod frames;
mod orders;
mod races;
mod register;
mod send;

//! The front end of a server: it accepts connections, decides which of them are served, finds the address of
//! the client behind a proxy, and serves HTTP/1.1.
//!
//! It does not depend on Socket.IO: the service that answers the requests is a parameter of
//! [`Listener::serve`]. A service that switches a connection to another protocol gets its stream with
//! [`RawStream::take`].

mod admission;
mod body;
mod cors;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod linger;
mod listener;
mod options;
mod origin;
mod proxies;
mod proxy_header;
mod raw;
mod refusals;

pub use admission::{Admission, AdmittedConnection, AdmittedSession, Bounds, Held};
pub use body::Body;
pub use cors::Cors;
pub use linger::{linger, poll_discard};
pub use listener::{Behind, Listener, RequestBody};
pub use options::ListenerOptions;
pub use origin::{InvalidOrigin, Origins};
pub use proxies::{InvalidNetwork, Proxies};
pub use raw::RawStream;
pub use refusals::Refusal;

//! The front end: it accepts connections, decides which of them are served and for whom they speak, and serves
//! HTTP/1.1 on them.
//!
//! It knows nothing of sessions and packets: what answers the requests is a parameter of the [`Listener`].
//! Invariant: nothing here uses a module outside of this directory (the house test checks it).

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod cors;
pub(crate) mod linger;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod origin;
pub(crate) mod proxies;
pub(crate) mod proxy_header;
pub(crate) mod refusals;
pub(crate) mod tls;

pub use admission::{Admission, Bounds};
pub use body::Body;
pub use cors::Cors;
pub use listener::{Listener, RequestBody};
pub use options::ListenerOptions;
pub use origin::{NoOrigin, Origins};
pub use proxies::{Network, NoNetwork, Proxies};
pub use refusals::Refusal;

//! Requests for Socket.IO sessions of other nodes.
//!
//! Behind a load balancer without affinity, each request of a client may reach any node, but a session lives
//! on one. Its id begins with the tag of that node ([`SidTag`]). The node that gets a request for a session
//! of another one forwards it there, and passes the response on. A WebSocket is spliced: both nodes keep
//! their connection, and the bytes are copied in both directions.
//!
//! A forwarded request goes to a path below `/internal/` of the other node. It carries a token that only
//! nodes of the same cluster can make, and the address of the client. The node that has the client's
//! connection counts it for that address, checks `Host` and `Origin`, and adds CORS headers; the other node
//! does none of these.
//!
//! Invariants:
//! - A forwarded request is never forwarded again.
//! - A request below `/internal/` without the token is treated like one for any other unknown path.
//! - If the other node is unknown or cannot be reached, the client is told that the session is unknown, and
//!   opens another one. Nothing is sent twice.
//! - Neither bodies nor streams are collected: a reader that is slow slows down what it reads from.

mod dial;
mod door;
mod drain;
mod forward;
mod identity;
mod node;
mod nodes;
mod splice;
mod token;

pub use mynah_socketio::SidTag;

pub use forward::{Answer, Forward, ForwardOptions};
pub use identity::{Identity, NoIdentity};
pub use node::Node;

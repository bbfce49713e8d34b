//! The other nodes that have sessions, by the tags of these.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::Uri;
use hyper::http::uri::Authority;
use mynah_socketio::SidTag;
use parking_lot::RwLock;

use crate::node::Node;

/// The other nodes.
#[derive(Default)]
pub(crate) struct Nodes(RwLock<HashMap<SidTag, Arc<Node>>>);

impl Nodes {
    pub(crate) fn get(&self, tag: SidTag) -> Option<Arc<Node>> {
        self.0.read().get(&tag).cloned()
    }

    /// Sets all nodes. Those that stay keep their connections, and everything that waits for the others ends.
    pub(crate) fn set(&self, nodes: impl IntoIterator<Item = (SidTag, impl AsRef<str>)>) {
        let mut all = self.0.write();
        let mut before = std::mem::take(&mut *all);
        for (tag, address) in nodes {
            let address = address.as_ref();
            let same = before.remove(&tag).filter(|node| node.address() == address);
            let node = same.or_else(|| Some(Arc::new(Node::new(authority(address)?))));
            match node {
                Some(node) => _ = all.insert(tag, node),
                // Nodes check what they announce.
                None => tracing::warn!("another node announces {address:?}, which is not a host and a port"),
            }
        }
        drop(all);
        before.into_values().for_each(|node| node.end());
    }
}

/// Parses a host and a port.
fn authority(address: &str) -> Option<Authority> {
    let authority: Authority = address.parse().ok()?;
    let uri = Uri::builder()
        .scheme("http")
        .authority(authority.clone())
        .path_and_query("/");
    let has_port = uri.build().ok()?.port().is_some();
    (has_port && !authority.host().is_empty()).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [1; 6];
    const B: [u8; 6] = [2; 6];

    #[test]
    fn nodes_that_stay_are_kept_and_the_others_are_ended() {
        let (a, b) = (SidTag::new(A), SidTag::new(B));
        let nodes = Nodes::default();
        nodes.set([(a, "10.0.0.1:3000"), (b, "[::1]:3000")]);
        let (first, second) = (nodes.get(a).unwrap(), nodes.get(b).unwrap());
        nodes.set([(a, "10.0.0.1:3000")]);
        assert!(Arc::ptr_eq(&first, &nodes.get(a).unwrap()) && !first.has_ended());
        assert!(nodes.get(b).is_none() && second.has_ended());
        nodes.set([(a, "10.0.0.2:3000")]);
        assert_eq!(nodes.get(a).unwrap().address(), "10.0.0.2:3000");
        assert!(!nodes.get(a).unwrap().has_ended());
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for fine in ["10.0.0.1:1", "[2001:db8::1]:3000", "node-1.chat.svc:3000"] {
            assert!(authority(fine).is_some(), "{fine}");
        }
        for wrong in [
            "",
            "10.0.0.1",
            ":3000",
            "host:",
            "host:99999",
            "http://host:1",
            "host:1/path",
        ] {
            assert!(authority(wrong).is_none(), "{wrong}");
        }
    }
}

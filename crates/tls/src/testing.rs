//! For tests: the configurations of a server and of a client that trusts it, and a server without a socket.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::records::Records;

/// The configurations of both sides.
pub(crate) struct Kit {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Kit {
    pub(crate) fn new(version: &'static SupportedProtocolVersion) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("its key");
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("they fit");
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a root");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("the provider has it")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            server: server.into(),
            client: client.into(),
        }
    }

    pub(crate) fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(self.client.clone(), name).expect("a client")
    }
}

/// The server side of a TLS connection without a socket, and the buffers that its stream would hold.
pub(crate) struct Bare {
    records: Records,
    pub(crate) incoming: Vec<u8>,
    pub(crate) plain: BytesMut,
}

impl Bare {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            records: Records::new(config).expect("a session"),
            incoming: Vec::new(),
            plain: BytesMut::new(),
        }
    }

    /// Processes bytes of the peer. Returns true when the handshake is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.incoming.extend_from_slice(bytes);
        let mut filled = self.incoming.len();
        let done = self
            .records
            .process(&mut self.incoming, &mut filled, &mut self.plain);
        self.incoming.truncate(filled);
        done
    }

    pub(crate) fn encrypt(&mut self, bytes: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        self.records
            .encrypt(&mut self.incoming, &mut self.plain, bytes, sealed)
    }

    pub(crate) fn close(&mut self) {
        self.records.close(&mut self.incoming, &mut self.plain);
    }

    /// The ciphertext that waits for the socket.
    pub(crate) fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.records.outgoing
    }

    /// Whether the peer sends nothing more.
    pub(crate) fn ended(&self) -> bool {
        self.records.ended
    }
}

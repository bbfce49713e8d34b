//! Tests of the whole server over TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use mynah::config::Config;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Client;
use crate::running::Running;

/// Writes a new certificate and its key.
fn certify(directory: &Path) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
}

async fn start(change: impl FnOnce(&mut Config)) -> (Running, TempDir) {
    let files = tempfile::tempdir().unwrap();
    certify(files.path());
    let server = Running::new(|config| {
        config.server.tls.cert_file = Some(files.path().join("cert.pem"));
        config.server.tls.key_file = Some(files.path().join("key.pem"));
        change(config);
    })
    .await;
    (server, files)
}

/// Connects, and trusts the certificate that is in the file now.
async fn connect(address: SocketAddr, files: &TempDir) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(files.path().join("cert.pem")).unwrap();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

#[tokio::test]
async fn chat_works_over_tls_while_the_certificate_is_renewed() {
    let (server, files) = start(|_| {}).await;
    let mut alice = Client::over(connect(server.address, &files).await.unwrap(), 4, "")
        .await
        .unwrap();
    alice.register("alice", "a").await;
    certify(files.path());
    // The server uses the new certificate only after it has read the files again.
    let stream = loop {
        if let Ok(stream) = connect(server.address, &files).await {
            break stream;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let mut bob = Client::over(stream, 3, "").await.unwrap();
    bob.register("bob", "b").await;
    for n in 0..20 {
        let message = json!({"type": 101, "data": {"type": 3, "to": {"user": "alice"}, "data": {"n": n}}});
        assert_eq!(bob.ask(&message).await["code"], 0);
        assert_eq!(alice.frame().await["data"]["n"], n);
    }
    server.stop().await;
}

#[tokio::test]
async fn the_admin_address_uses_tls_unless_disabled() {
    for admin in [true, false] {
        let (server, files) = start(|config| {
            config.server.admin_listen = Some("127.0.0.1:0".into());
            config.server.tls.admin = admin;
        })
        .await;
        let spoken = connect(server.admin.unwrap(), &files).await;
        assert_eq!(spoken.is_ok(), admin, "{spoken:?}");
    }
}

#[tokio::test]
async fn unusable_certificate_files_are_an_error_at_the_start() {
    let (mut config, _data) = crate::running::config(|_| {});
    config.server.tls.cert_file = Some("/nowhere/cert.pem".into());
    config.server.tls.key_file = Some("/nowhere/key.pem".into());
    let why = mynah::server::Server::open(config).await.err().unwrap();
    assert!(
        format!("{why:#}").contains("server.tls.cert_file /nowhere/cert.pem"),
        "{why:#}"
    );
}

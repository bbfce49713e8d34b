//! Connections with TLS.

use std::os::unix::fs::PermissionsExt;

use mynah_store::Store;

use super::server::Server;
use crate::{OpenError, Options, Postgres};

#[tokio::test]
async fn certificates_are_checked_as_sslmode_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    // The server runs as another user.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let trusted = authority.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
    for (name, text) in [
        ("ca.pem", trusted),
        ("server.pem", leaf),
        ("server.key", key.serialize_pem()),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let Some(server) = Server::start_with(false, path) else {
        return;
    };
    let url = |host: &str, rest: &str| {
        let url = server.url().replace("127.0.0.1", host);
        url.replace("sslmode=disable", rest)
    };
    let ca = format!("sslrootcert={path}/ca.pem");
    for accepted in [
        url("127.0.0.1", "sslmode=prefer"),
        url("127.0.0.1", "sslmode=require"),
        url("127.0.0.1", &format!("sslmode=verify-ca&{ca}")),
        url("localhost", &format!("sslmode=verify-full&{ca}")),
    ] {
        let store = Postgres::open(Options::new(&*accepted))
            .await
            .unwrap_or_else(|error| panic!("{accepted}: {error}"));
        store.close().await;
    }
    for refused in [
        url("127.0.0.1", &format!("sslmode=verify-full&{ca}")),
        url("localhost", "sslmode=verify-full"),
        url("127.0.0.1", "sslmode=verify-ca"),
    ] {
        let error = Postgres::open(Options::new(&*refused)).await.err();
        assert!(matches!(error, Some(OpenError::Unavailable(_))), "{refused}");
    }
}

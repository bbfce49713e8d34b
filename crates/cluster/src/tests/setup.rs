//! Servers that cannot be used: each is an error that says what to change, and never contains the password.

use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redis::cmd;
use rustls::RootCertStore;
use tracing_subscriber::util::SubscriberInitExt;

use crate::testing::*;
use crate::*;

fn start(address: Address) -> Directory {
    let incarnation = Incarnation::random().unwrap();
    Directory::start(config(Arc::new(address), incarnation, Policy::Single))
}

fn address(url: &str) -> Address {
    Address::parse(url, &trusting_nobody()).unwrap()
}

#[tokio::test]
async fn a_password_is_checked() {
    let Some(server) = Server::start().await else {
        return;
    };
    let set = |name: &'static str, value: &'static str| {
        let mut set = cmd("CONFIG");
        set.arg("SET").arg(name).arg(value);
        set
    };
    () = server.run(&set("requirepass", "hunter2")).await;
    let at = format!("127.0.0.1:{}", server.port);
    let missing = start(address(&format!("redis://{at}")));
    let trouble_is = async |directory: &Directory, expected: Trouble| {
        let found = trouble(directory.state(), |trouble| *trouble != Trouble::NotYet).await;
        assert_eq!(found, expected);
        let shown = format!("{found} {found:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    };
    trouble_is(&missing, Trouble::PasswordMissing).await;
    let wrong = start(address(&format!("redis://:hunter3@{at}")));
    trouble_is(&wrong, Trouble::PasswordWrong).await;
    let stranger = start(address(&format!("redis://nobody:hunter2@{at}")));
    trouble_is(&stranger, Trouble::PasswordWrong).await;
    let right = start(address(&format!("redis://:hunter2@{at}")));
    connected(right.state()).await;
    let missing_database = start(address(&format!("redis://:hunter2@{at}/9999")));
    let found = trouble(missing_database.state(), |trouble| *trouble != Trouble::NotYet).await;
    assert!(matches!(found, Trouble::Database(_)), "{found}");
    // Commands fail at once while there is no connection.
    let alice = uid("alice");
    let new = entry(Incarnation([1; 16]), "s", "d", "");
    assert_eq!(missing.claim(&alice, &new, &[]).await, Err(Failure::Unavailable));
}

#[tokio::test]
async fn a_user_without_permission_is_told_so() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut user = cmd("ACL");
    user.arg(
        &[
            "SETUSER",
            "mynah",
            "on",
            ">hunter2",
            "~test:*",
            "&test:*",
            "+@all",
            "-@dangerous",
        ][..],
    );
    () = server.run(&user).await;
    let denied = start(address(&format!(
        "redis://mynah:hunter2@127.0.0.1:{}",
        server.port
    )));
    let found = trouble(denied.state(), |trouble| *trouble != Trouble::NotYet).await;
    assert!(
        matches!(&found, Trouble::Denied(why) if why.contains("info")),
        "{found}"
    );
    // With what the error names, everything works.
    let mut allow = cmd("ACL");
    allow.arg(&["SETUSER", "mynah", "+info"][..]);
    () = server.run(&allow).await;
    connected(denied.state()).await;
    let new = entry(Incarnation([1; 16]), "s", "d", "");
    let order = denied.claim(&uid("alice"), &new, &[]).await.unwrap().order;
    let held = Held {
        uid: uid("alice"),
        entry: new,
        order,
    };
    let results = denied.refresh(&[held], |_| true).await.unwrap();
    assert_eq!(results, [Refreshed::Kept]);
    denied.release(&uid("alice"), "s").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let port = free_port();
    let directory = start(address(&format!("redis://127.0.0.1:{port}")));
    let found = trouble(directory.state(), |trouble| *trouble != Trouble::NotYet).await;
    assert!(
        matches!(&found, Trouble::Unreachable { at, .. } if *at == format!("127.0.0.1:{port}")),
        "{found}"
    );
}

#[tokio::test]
async fn a_replica_and_a_node_of_a_redis_cluster_are_refused() {
    let Some(server) = Server::start().await else {
        return;
    };
    let replica = start_server(&["--replicaof", "127.0.0.1", &server.port.to_string()]);
    let directory = start(address(&replica.url()));
    trouble(directory.state(), |trouble| *trouble == Trouble::Replica).await;
    let sharded = start_server(&["--cluster-enabled", "yes"]);
    let directory = start(address(&sharded.url()));
    trouble(directory.state(), |trouble| *trouble == Trouble::ClusterMode).await;
}

fn start_server(options: &[&str]) -> Server {
    let port = free_port();
    let port_text = port.to_string();
    let options = [&["--port", port_text.as_str()], options].concat();
    Server::start_with(port, &options).unwrap()
}

/// A server with TLS, and the configuration that trusts its certificate.
fn with_tls() -> Option<(Server, Arc<rustls::ClientConfig>, tempfile::TempDir)> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = write("server.pem", certificate.pem());
    let key = write("server.key", key.serialize_pem());
    let port = free_port();
    let options = [
        "--port",
        "0",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let server = Server::start_with(port, &options)?;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    Some((server, trusting(roots), dir))
}

#[tokio::test]
async fn tls_is_used_and_certificates_are_checked() {
    let Some((server, trusting, _dir)) = with_tls() else {
        return;
    };
    let port = server.port;
    let good = Address::parse(&format!("rediss://localhost:{port}"), &trusting).unwrap();
    let good = start(good);
    connected(good.state()).await;
    let new = entry(Incarnation([1; 16]), "s", "d", "");
    good.claim(&uid("alice"), &new, &[]).await.unwrap();

    let other_name = Address::parse(&format!("rediss://127.0.0.1:{port}"), &trusting).unwrap();
    let found = trouble(start(other_name).state(), |trouble| {
        matches!(trouble, Trouble::Tls(_))
    })
    .await;
    assert!(found.to_string().contains("certificate"), "{found}");
    let unknown = start(address(&format!("rediss://localhost:{port}")));
    trouble(unknown.state(), |trouble| matches!(trouble, Trouble::Tls(_))).await;
    // The port expects TLS.
    let plain = start(address(&format!("redis://localhost:{port}")));
    let found = trouble(plain.state(), |trouble| matches!(trouble, Trouble::NotRedis(_))).await;
    assert!(found.to_string().contains("rediss://"), "{found}");
    // The port does not expect it.
    let Some(plain) = Server::start().await else {
        return;
    };
    let url = format!("rediss://localhost:{}", plain.port);
    let found = start(Address::parse(&url, &trusting).unwrap());
    trouble(found.state(), |trouble| matches!(trouble, Trouble::Tls(_))).await;
}

#[tokio::test]
async fn nodes_with_another_secret_may_not_use_the_name() {
    let Some(server) = Server::start().await else {
        return;
    };
    let _first = directory(&server, Policy::Single).await;
    let incarnation = Incarnation::random().unwrap();
    let other = |name: &str| {
        let secret = Secret::new("another one of some length").unwrap();
        let name = ClusterName::new(name).unwrap();
        let config = config(server.address(), incarnation, Policy::Single);
        Directory::start(DirectoryConfig {
            secret,
            name,
            ..config
        })
    };
    let refused = other("test");
    trouble(refused.state(), |trouble| {
        matches!(trouble, Trouble::OtherCluster(15))
    })
    .await;
    connected(other("another").state()).await;
}

#[tokio::test]
async fn keys_of_another_program_are_told_apart_from_those_of_another_cluster() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut list = cmd("LPUSH");
    list.arg("test:owner").arg("hello");
    for foreign in [cmd("SET").arg("test:owner").arg("hello"), &mut list] {
        let _: redis::Value = server.run(cmd("DEL").arg("test:owner")).await;
        let _: redis::Value = server.run(foreign).await;
        let refused = start(address(&server.url()));
        trouble(refused.state(), |trouble| *trouble == Trouble::Foreign).await;
    }
    // The keys were left alone.
    let left: Vec<String> = server.run(cmd("LRANGE").arg("test:owner").arg(0).arg(-1)).await;
    assert_eq!(left, ["hello"]);
}

/// An operator lets Redis remove keys while a node runs.
#[tokio::test]
async fn settings_are_checked_again_while_a_node_runs() {
    let Some(server) = Server::start().await else {
        return;
    };
    let logged = Logged::default();
    let _guard = tracing_subscriber::fmt()
        .with_writer(logged.clone())
        .set_default();
    let _directory = directory(&server, Policy::Single).await;
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let mut set = cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg("1gb");
        set.arg("maxmemory-policy").arg(policy);
        () = server.run(&set).await;
        let is_warned = async || logged.text().contains(policy).then_some(());
        until("it is logged", is_warned).await;
    }
}

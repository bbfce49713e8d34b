//! Addresses, proxies, origins, and limits of connections.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Client, Got};
use crate::running::{Running, uid};

const KEY: &str = "a-key-of-the-test";

/// Sends a request on a new connection and returns the whole response.
async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn dial(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Returns a counter of refused connections in `/metrics`.
async fn refused(address: SocketAddr, reason: &str) -> u64 {
    let metrics = ask(address, "GET", "/metrics", "").await;
    let name = format!("mynah_connections_refused_total{{reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn only_the_admin_address_serves_the_api() {
    let server = Running::new(|config| {
        config.server.admin_listen = Some("127.0.0.1:0".into());
        config.auth.api_keys = vec![mynah::config::Secret::new(KEY)];
    })
    .await;
    let (public, admin) = (server.address, server.admin.unwrap());
    for (method, path, at_public, at_admin) in [
        ("GET", "/v1/users/alice", 404, 200),
        ("GET", "/v1/openapi.json", 404, 200),
        ("GET", "/metrics", 404, 200),
        ("GET", "/health/live", 200, 200),
        ("GET", "/health/ready", 200, 200),
        ("GET", "/", 200, 404),
        ("GET", "/open/online", 200, 404),
        ("POST", "/signout", 400, 404),
        ("GET", "/socket.io/?EIO=4&transport=polling", 200, 404),
    ] {
        let answer = ask(public, method, path, "").await;
        assert_eq!(status(&answer), at_public, "{path}: {answer}");
        let answer = ask(admin, method, path, "").await;
        assert_eq!(status(&answer), at_admin, "{path}: {answer}");
        if at_admin == 404 {
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }
    let mut alice = server.registered("alice").await;
    let answer = ask(admin, "POST", "/v1/users/alice/signout", "").await;
    assert!(answer.contains("{\"closed\":1}"), "{answer}");
    assert_eq!(alice.next().await, Got::Disconnect);
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_an_error_at_the_start() {
    let server = Running::new(|config| config.server.admin_listen = Some("127.0.0.1:0".into())).await;
    let (config, _data) = crate::running::config(|config| {
        config.server.admin_listen = server.admin.map(|address| address.to_string());
    });
    let why = mynah::server::Server::open(config).await.err().unwrap();
    assert!(why.to_string().contains("cannot listen on"), "{why}");
}

/// Returns the address that the API shows for alice's only connection.
async fn address_of(server: &Running, stream: TcpStream, headers: &str) -> String {
    let mut client = Client::over(stream, 4, headers).await.unwrap();
    client.register("alice", "d").await;
    let user = server.gateway.user(&uid("alice")).await.unwrap();
    user.connections[0].address.clone()
}

#[tokio::test]
async fn only_trusted_proxies_may_name_the_client() {
    let server = Running::new(|config| {
        config.server.trusted_proxies = vec!["127.0.0.2".into(), "10.0.0.0/8".into()];
    })
    .await;
    for (from, headers, expected) in [
        (
            "127.0.0.2",
            "X-Forwarded-For: 1.1.1.1, 198.51.100.7, 10.1.1.1\r\n",
            "198.51.100.7",
        ),
        (
            "127.0.0.2",
            "X-Forwarded-For: ::ffff:198.51.100.7\r\n",
            "198.51.100.7",
        ),
        ("127.0.0.2", "X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"),
        ("127.0.0.2", "", "127.0.0.2"),
        ("127.0.0.2", "Forwarded: for=198.51.100.7\r\n", "127.0.0.2"),
        ("127.0.0.1", "X-Forwarded-For: 198.51.100.7\r\n", "127.0.0.1"),
        (
            "127.0.0.1",
            "X-Forwarded-For: 10.0.0.1, 127.0.0.2\r\n",
            "127.0.0.1",
        ),
        ("127.0.0.1", "X-Real-IP: 198.51.100.7\r\n", "127.0.0.1"),
    ] {
        let stream = dial(from, server.address).await;
        assert_eq!(
            address_of(&server, stream, headers).await,
            expected,
            "{from} {headers}"
        );
    }
}

/// A client with an IPv4 address is shown and trusted as such, even if the listener is an IPv6 socket.
#[tokio::test]
async fn ipv4_clients_of_an_ipv6_socket_have_ipv4_addresses() {
    let server = Running::new(|config| {
        config.server.listen = "[::]:0".into();
        config.server.allow_open_beyond_loopback = true;
        config.server.trusted_proxies = vec!["127.0.0.2".into()];
    })
    .await;
    let to: SocketAddr = ([127, 0, 0, 1], server.address.port()).into();
    let plain = dial("127.0.0.1", to).await;
    assert_eq!(address_of(&server, plain, "").await, "127.0.0.1");
    let proxied = dial("127.0.0.2", to).await;
    assert_eq!(
        address_of(&server, proxied, "X-Forwarded-For: 198.51.100.7\r\n").await,
        "198.51.100.7"
    );
}

#[tokio::test]
async fn the_proxy_protocol_header_is_required_and_used() {
    let server = Running::new(|config| {
        config.server.trusted_proxies = vec!["127.0.0.2".into()];
        config.server.proxy_protocol = true;
        config.server.admin_listen = Some("127.0.0.1:0".into());
    })
    .await;
    let mut stream = dial("127.0.0.2", server.address).await;
    stream
        .write_all(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\n")
        .await
        .unwrap();
    // The client behind the PROXY header is not a trusted proxy, so its X-Forwarded-For is ignored.
    let spoofed = "X-Forwarded-For: 203.0.113.1\r\n";
    assert_eq!(address_of(&server, stream, spoofed).await, "198.51.100.7");

    let mut spoofing = dial("127.0.0.1", server.address).await;
    let _ = spoofing
        .write_all(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\n\r\n")
        .await;
    let mut answer = Vec::new();
    let _ = spoofing.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    // The backend's address does not expect a PROXY header.
    assert_eq!(refused(server.admin.unwrap(), "untrusted").await, 1);
}

#[tokio::test]
async fn limits_count_the_clients_address_behind_a_proxy() {
    let server = Running::new(|config| {
        config.server.trusted_proxies = vec!["127.0.0.2".into()];
        config.limits.connections_per_address = 2;
        config.limits.connections = 5;
    })
    .await;
    let connect = async |client: &str| {
        let stream = dial("127.0.0.2", server.address).await;
        Client::over(stream, 4, &format!("X-Forwarded-For: {client}\r\n")).await
    };
    let mut inside = Vec::new();
    for client in ["198.51.100.7", "198.51.100.7", "2001:db8::1", "2001:db8::2"] {
        inside.push(connect(client).await.unwrap());
    }
    for client in ["198.51.100.7", "2001:db8::3"] {
        let refused = connect(client).await.err().unwrap();
        assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
        assert!(refused.contains("retry-after: "), "{refused}");
    }
    inside.push(connect("198.51.100.8").await.unwrap());
    let over = connect("198.51.100.9").await.err().unwrap();
    assert!(over.starts_with("HTTP/1.1 503 "), "{over}");
    assert_eq!(refused(server.address, "address").await, 2);
    assert_eq!(refused(server.address, "connections").await, 1);
    for client in &mut inside {
        client.ask(&json!({"type": 103, "data": {}})).await;
    }
}

#[tokio::test]
async fn pages_of_unlisted_origins_are_refused() {
    let server =
        Running::new(|config| config.server.cors_origins = vec!["https://*.example.com".into()]).await;
    let connect = async |headers: &str| {
        let stream = TcpStream::connect(server.address).await.unwrap();
        Client::over(stream, 4, headers).await.map(drop)
    };
    for origin in [
        "https://chat.example.com",
        "http://localhost",
        "https://localhost",
    ] {
        assert_eq!(
            connect(&format!("Origin: {origin}\r\n")).await,
            Ok(()),
            "{origin}"
        );
    }
    assert_eq!(connect("").await, Ok(()));
    for origin in ["https://evil.example", "https://example.com.evil.example", "null"] {
        let why = connect(&format!("Origin: {origin}\r\n")).await.unwrap_err();
        assert!(why.starts_with("HTTP/1.1 403 "), "{origin} {why}");
        let polling = "/socket.io/?EIO=4&transport=polling";
        let answer = ask(server.address, "GET", polling, &format!("Origin: {origin}\r\n")).await;
        assert_eq!(status(&answer), 403, "{origin}");
    }
    assert_eq!(refused(server.address, "origin").await, 6);
}

#[tokio::test]
async fn a_client_that_never_registers_is_closed_to_reconnect() {
    let server = Running::new(|config| config.limits.register_timeout_ms = 300).await;
    for revision in [3, 4] {
        let mut registers = Client::connect(server.address, revision).await;
        registers.register("alice", "d").await;
        let mut silent = Client::connect(server.address, revision).await;
        assert_eq!(silent.next().await, Got::Closed);
        // The client that has registered is still connected after the timeout.
        registers.ask(&json!({"type": 103, "data": {}})).await;
    }
    assert_eq!(refused(server.address, "register_timeout").await, 2);
}

/// Nothing tells a stranger whether a server is one of several.
#[tokio::test]
async fn below_internal_there_is_nothing_for_strangers() {
    let server = Running::new(|_| {}).await;
    let headers = "X-Mynah-Token: 0000\r\n";
    let unknown = ask(server.address, "GET", "/unknown/hello", headers).await;
    let without_date = |answer: &str| {
        let lines = answer.lines().filter(|line| !line.starts_with("date:"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(status(&unknown), 404);
    for path in ["/internal/hello", "/internal/session", "/internal/"] {
        let answer = ask(server.address, "GET", path, headers).await;
        assert_eq!(without_date(&answer), without_date(&unknown), "{path}");
    }
}

//! Tests TLS without sockets against a client of rustls, and the buffers that an idle stream holds.

use std::io::{Read, Write};

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::testing::{Bare, Kit};
use crate::*;

/// The next of a sequence of pseudorandom numbers.
fn next(seed: &mut u64) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// Runs a client and a server until each has received data of the other. The bytes of the client are cut into
/// pieces at random, and with `spoil` one of their bits may be changed.
fn talk(kit: &Kit, mut seed: u64, spoil: bool) -> io::Result<()> {
    let (mut client, mut server) = (kit.client(), Bare::new(kit.server.clone()));
    let spoiled = spoil.then(|| next(&mut seed) % 1_200);
    let (mut sent, mut written) = (0, false);
    for _ in 0..100 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        for byte in &mut wire {
            if spoiled == Some(sent) {
                *byte ^= 1 << (next(&mut seed) % 8);
            }
            sent += 1;
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + next(&mut seed) % rest.len());
            let fed = server.feed(piece);
            if fed.is_err() {
                // Further calls do not panic.
                let _ = server.feed(behind);
                let _ = server.encrypt(b"x", &mut [0; 100]);
                server.close();
            }
            fed?;
            rest = behind;
        }
        let mut came = &server.outgoing()[..];
        while !came.is_empty() {
            client.read_tls(&mut came)?;
            client.process_new_packets().map_err(io::Error::other)?;
        }
        server.outgoing().clear();
        if !client.is_handshaking() && !mem::replace(&mut written, true) {
            client.writer().write_all(&[b'a'; 700])?;
        }
        if server.plain.len() == 700 {
            let mut sealed = [0; 2_000];
            let n = server.encrypt(b"answer", &mut sealed)?;
            client.read_tls(&mut &sealed[..n])?;
            client.process_new_packets().map_err(io::Error::other)?;
            let mut answer = [0; 6];
            client.reader().read_exact(&mut answer)?;
            assert_eq!(&answer, b"answer");
            assert!(server.incoming.is_empty());
            return Ok(());
        }
    }
    Err(io::Error::other("they did not come to an end"))
}

#[test]
fn records_may_be_cut_anywhere() {
    for version in [&TLS12, &TLS13] {
        let kit = Kit::new(version);
        for seed in 0..100 {
            talk(&kit, seed, false).unwrap_or_else(|error| panic!("{version:?} {seed}: {error}"));
        }
    }
}

#[test]
fn a_changed_bit_is_an_error_and_not_a_panic() {
    for version in [&TLS12, &TLS13] {
        let kit = Kit::new(version);
        let failed = (0..600).filter(|seed| talk(&kit, *seed, true).is_err()).count();
        assert!(failed > 300, "{version:?}: {failed} of 600");
    }
}

#[test]
fn bytes_that_are_not_tls_are_an_error_and_not_a_panic() {
    let kit = Kit::new(&TLS13);
    let mut seed = 1;
    for _ in 0..2_000 {
        let mut bytes: Vec<u8> = (0..next(&mut seed) % 200)
            .map(|_| next(&mut seed) as u8)
            .collect();
        // Half of the inputs look like the beginning of a record.
        if let [kind, major, minor, high, ..] = &mut bytes[..]
            && next(&mut seed).is_multiple_of(2)
        {
            (*kind, *major, *minor, *high) = (20 + (*kind % 5), 3, 1, 0);
        }
        let mut server = Bare::new(kit.server.clone());
        for piece in bytes.chunks(1 + next(&mut seed) % 50) {
            if server.feed(piece).is_err() {
                break;
            }
        }
        assert!(server.plain.is_empty());
    }
}

#[tokio::test]
async fn an_idle_stream_holds_no_buffer() {
    let kit = Kit::new(&TLS13);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = tokio_rustls::TlsConnector::from(kit.client.clone());
    let client = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        connector
            .connect(ServerName::try_from("localhost").unwrap(), tcp)
            .await
            .unwrap()
    };
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsStream::accept(tcp, kit.server.clone()).await.unwrap()
    };
    let (mut client, mut server) = tokio::join!(client, server);
    let large = vec![7; 300_000];
    for _ in 0..2 {
        let mut came = vec![0; large.len()];
        let writing = async {
            client.write_all(&large).await.unwrap();
            client.flush().await.unwrap();
        };
        tokio::join!(writing, async { server.read_exact(&mut came).await.unwrap() });
        assert_eq!(came, large);
        let writing = async {
            server.write_all(&large).await.unwrap();
            server.flush().await.unwrap();
        };
        tokio::join!(writing, async { client.read_exact(&mut came).await.unwrap() });
        assert_eq!(came, large);
        let held = [
            server.incoming.capacity(),
            server.plain.capacity(),
            server.records.outgoing.capacity(),
        ];
        assert_eq!(held, [0; 3]);
    }
}

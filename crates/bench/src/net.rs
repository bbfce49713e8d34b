//! Connecting: source addresses and non-blocking connects.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};
use mio::net::TcpStream as MioStream;
use socket2::{Domain, Protocol, Socket, Type};

/// The number of connections that share a source address. By default the kernel has 28,000 ports per pair of
/// addresses.
const PER_SOURCE: usize = 2_000;

/// The server's address.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The value of the `Host` header.
    pub(crate) host: String,
    /// The first address that the host resolves to.
    pub(crate) address: SocketAddr,
    /// The path of Engine.IO, with a slash at both ends.
    pub(crate) path: String,
}

impl Target {
    /// Reads `http://host:port`.
    pub(crate) fn parse(url: &str, path: &str) -> anyhow::Result<Self> {
        let Some(host) = url.strip_prefix("http://") else {
            bail!("the url must start with http:// (TLS is not supported: measure it through a proxy)");
        };
        let host = host.trim_end_matches('/').to_owned();
        let with_port = if host
            .rsplit(':')
            .next()
            .is_some_and(|port| port.parse::<u16>().is_ok())
        {
            host.clone()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("{with_port} does not resolve"))?
            .next()
            .with_context(|| format!("{with_port} has no address"))?;
        let path = format!("/{}/", path.trim_matches('/'));
        Ok(Self { host, address, path })
    }

    /// Starts to connect the client with this number.
    ///
    /// On loopback, every [`PER_SOURCE`] clients have a source address of their own in 127.0.0.0/8, so that
    /// there are enough ports. Other runs use other addresses, because a closed connection keeps its port for
    /// a minute. With `segments` of the size of a network's, the server's kernel buffers less for a client
    /// that does not read than it does on loopback.
    pub(crate) fn dial(&self, client: usize, segments: bool) -> io::Result<MioStream> {
        let socket = Socket::new(
            Domain::for_address(self.address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if let IpAddr::V4(address) = self.address.ip()
            && address.is_loopback()
        {
            let source = source(client, std::process::id());
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        if segments {
            socket.set_tcp_mss(SEGMENT)?;
        }
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(MioStream::from_std(socket.into()))
    }

    /// A blocking connection, for the few calls before and after a run.
    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The size of a TCP segment in an Ethernet frame, in bytes.
const SEGMENT: u32 = 1_448;

/// `EINPROGRESS` on Linux: connecting continues in the background.
const EINPROGRESS: i32 = 115;

/// The source address of a client on loopback: 127.x.0.1, 127.x.0.2 and so on, where x depends on the run's
/// process.
fn source(client: usize, process: u32) -> Ipv4Addr {
    let group = client / PER_SOURCE;
    let byte = |number: usize| (number % 250 + 1) as u8;
    Ipv4Addr::new(127, byte(process as usize), byte(group / 250) - 1, byte(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_addresses_are_spread() {
        assert_eq!(source(0, 250), Ipv4Addr::new(127, 1, 0, 1));
        assert_eq!(source(PER_SOURCE - 1, 250), source(0, 250));
        assert_eq!(source(PER_SOURCE, 251), Ipv4Addr::new(127, 2, 0, 2));
        assert_eq!(source(250 * PER_SOURCE, 249), Ipv4Addr::new(127, 250, 1, 1));
    }

    #[test]
    fn urls_are_parsed() {
        let target = Target::parse("http://127.0.0.1:3001/", "socket.io").expect("valid");
        assert_eq!(target.host, "127.0.0.1:3001");
        assert_eq!(target.path, "/socket.io/");
        assert!(Target::parse("https://127.0.0.1", "/").is_err());
    }
}

//! Where Redis is, and how a connection is authenticated and protected: `cluster.redis_url`.
//!
//! Invariants: neither an error nor `Debug` shows the password, also if it was written into the wrong part of
//! the URL. Which certificates are trusted is decided by the caller's TLS configuration.

use std::fmt;
use std::io;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use redis::{ProtocolVersion, RedisConnectionInfo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::failure::Trouble;

/// Why `cluster.redis_url` cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another protocol.
    #[error("cluster.redis_url must begin with redis:// or, for TLS, rediss://")]
    Scheme,
    /// No valid host.
    #[error(
        "cluster.redis_url has no valid host: expected redis://:password@host:6379/0, with / ? and # in the \
         password written as %2F %3F %23"
    )]
    Host,
    /// No valid port.
    #[error("cluster.redis_url: the port must be a number from 1 to 65535; write / in a password as %2F")]
    Port,
    /// No valid database.
    #[error(
        "cluster.redis_url: what follows the host must be the number of a database, for example /0; write / in a \
         password as %2F"
    )]
    Database,
    /// A query or fragment.
    #[error("cluster.redis_url must not contain ? or #: write them in a password as %3F and %23")]
    Options,
    /// A user without a password.
    #[error(
        "cluster.redis_url has a user without a password; a password alone is written redis://:password@host"
    )]
    User,
    /// The user or password is not valid UTF-8.
    #[error("cluster.redis_url: the user and password must be UTF-8; write other bytes percent-encoded")]
    Text,
}

/// A stream to the server, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// See the module.
pub struct Address {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// What the server is told first.
    pub(crate) login: RedisConnectionInfo,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Shows host and port.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    /// Reads a URL; `tls` is used if it begins with `rediss://`.
    pub fn parse(url: &str, tls: &Arc<ClientConfig>) -> Result<Self, AddressError> {
        let (is_tls, rest) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(AddressError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(AddressError::Options);
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (host, port) = host_and_port(place)?;
        let database: u16 = match database {
            "" => 0,
            digits => digits.parse().map_err(|_| AddressError::Database)?,
        };
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name()
            .set_db(database.into());
        if !user.is_empty() {
            let (user, password) = user.split_once(':').ok_or(AddressError::User)?;
            let decoded = |text| {
                percent_decode_str(text)
                    .decode_utf8()
                    .map_err(|_| AddressError::Text)
            };
            if !user.is_empty() {
                login = login.set_username(decoded(user)?);
            }
            login = login.set_password(decoded(password)?);
        }
        let tls = match is_tls {
            true => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| AddressError::Host)?;
                Some((TlsConnector::from(tls.clone()), name))
            }
            false => None,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
            login,
        })
    }

    /// Opens a stream to the server before `deadline`.
    pub(crate) async fn open(&self, deadline: Instant) -> Result<Box<dyn Stream>, Trouble> {
        let unreachable = |error: io::Error| Trouble::Unreachable {
            at: self.to_string(),
            why: error.to_string(),
        };
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        let stream = timeout_at(deadline, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = stream.unwrap_or_else(late).map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        // A server without TLS may wait for the rest of what it takes for a command.
        let stream = timeout_at(deadline, connector.connect(name.clone(), stream)).await;
        match stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(Trouble::Tls(error.to_string())),
        }
    }
}

fn host_and_port(place: &str) -> Result<(&str, u16), AddressError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or(AddressError::Host)?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| AddressError::Host)?;
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':').ok_or(AddressError::Port)?)),
            }
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return Err(AddressError::Host);
    }
    let port = match port {
        None => 6379,
        Some(port) => port.parse().map_err(|_| AddressError::Port)?,
    };
    match port {
        0 => Err(AddressError::Port),
        port => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::trusting_nobody;

    fn parse(url: &str) -> Result<Address, AddressError> {
        Address::parse(url, &trusting_nobody())
    }

    #[test]
    fn a_url_names_server_user_password_and_database() {
        let address = parse("redis://redis.example").unwrap();
        assert_eq!(address.to_string(), "redis.example:6379");
        assert_eq!((address.login.db(), address.login.password()), (0, None));
        let address = parse("rediss://ann:a%2Fb%40@[::1]:7000/3").unwrap();
        assert_eq!(address.to_string(), "[::1]:7000");
        assert!(address.tls.is_some());
        assert_eq!(address.login.username(), Some("ann"));
        assert_eq!(address.login.password(), Some("a/b@"));
        assert_eq!(address.login.db(), 3);
        let address = parse("redis://:p@ss:w@10.0.0.1:6380/").unwrap();
        assert_eq!(
            (address.login.username(), address.login.password()),
            (None, Some("p@ss:w"))
        );
    }

    #[test]
    fn a_wrong_url_is_an_error_without_its_text() {
        for (url, expected) in [
            ("http://hunter2", AddressError::Scheme),
            ("redis:/hunter2", AddressError::Scheme),
            ("redis://", AddressError::Host),
            ("redis://:hunter2@", AddressError::Host),
            ("redis://[::1", AddressError::Host),
            ("redis://[hunter2]", AddressError::Host),
            ("redis://:hunter2@host:0", AddressError::Port),
            ("redis://:hunter2@host:port", AddressError::Port),
            ("redis://hunter2@host", AddressError::User),
            ("redis://:%ff@host", AddressError::Text),
            ("redis://:hunter2@host/one", AddressError::Database),
            // The password was not encoded.
            ("redis://:hun/ter2@host", AddressError::Host),
            ("redis://:hun#ter2@host", AddressError::Options),
            ("redis://:hun?ter2@host", AddressError::Options),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error, expected, "{url}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{shown}");
        }
        let shown = format!("{:?}", parse("redis://ann:hunter2@host").unwrap());
        assert!(!shown.contains("hunter2") && !shown.contains("ann"), "{shown}");
    }
}

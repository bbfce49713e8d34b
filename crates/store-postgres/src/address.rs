//! Where PostgreSQL is, and how the connection to it is protected: `store.url`.
//!
//! Invariant: with `sslmode` verify-ca or verify-full, the server must have a certificate of a trusted
//! authority; with verify-full, the certificate must also name the host. `require` encrypts, and checks the
//! authority only if `sslrootcert` is given, as libpq does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::Failure;

/// Settings of each connection: the server ends statements and transactions whose client waits no longer,
/// finds rows by index even while a table has no statistics, and plans each statement once.
const SETTINGS: &str = "-c statement_timeout=7s -c lock_timeout=6s -c idle_in_transaction_session_timeout=6s \
     -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
     -c jit=off -c client_min_messages=warning -c default_transaction_isolation=read\\ committed";

/// Parameters of the URL that tokio-postgres reads.
const OTHER_PARAMETERS: &[&str] = &[
    "connect_timeout",
    "options",
    "target_session_attrs",
    "load_balance_hosts",
    "hostaddr",
    "channel_binding",
];
const PARAMETERS: &str = "after ? it may have sslmode, sslrootcert, connect_timeout, options and \
     target_session_attrs; write ? and @ in a password as %3F and %40";

/// Why `store.url` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is not a PostgreSQL URL.
    #[error("store.url is not a PostgreSQL URL (postgres://user@host/database): {0}")]
    Malformed(String),
    /// An unknown `sslmode`.
    #[error("store.url: sslmode must be disable, prefer, require, verify-ca or verify-full, not {0:?}")]
    Mode(String),
    /// The file of `sslrootcert` cannot be used.
    #[error("store.url: sslrootcert: cannot read certificates from {path}: {why}")]
    Authorities {
        /// The file.
        path: String,
        /// The reason.
        why: String,
    },
}

/// The address of a database, with its TLS settings. `Debug` does not show the password.
#[derive(Clone)]
pub(super) struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?})", self.config.get_hosts())
    }
}

/// How a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Authority,
    Host,
}

impl Address {
    /// Reads a URL. `schema` is the schema of the tables.
    pub(super) fn parse(url: &str, schema: &str) -> Result<Self, AddressError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        if !(base.starts_with("postgres://") || base.starts_with("postgresql://")) {
            return Err(AddressError::Malformed(
                "it must begin with postgres://".to_owned(),
            ));
        }
        let (mut mode, mut authorities, mut rest) = ("prefer", None, Vec::new());
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("sslmode", value)) => mode = value,
                Some(("sslrootcert", value)) => authorities = Some(value),
                Some((key, _)) if OTHER_PARAMETERS.contains(&key) => rest.push(part),
                // The text may be a part of a password.
                _ => return Err(AddressError::Malformed(PARAMETERS.to_owned())),
            }
        }
        let url = if rest.is_empty() {
            base.to_owned()
        } else {
            format!("{base}?{}", rest.join("&"))
        };
        let mut config: Config = url
            .parse()
            .map_err(|error: tokio_postgres::Error| AddressError::Malformed(error.to_string()))?;
        let (ssl, check) = match (mode, authorities) {
            ("disable", _) => (SslMode::Disable, None),
            ("prefer", _) => (SslMode::Prefer, Some(Check::Nothing)),
            ("require", None) => (SslMode::Require, Some(Check::Nothing)),
            ("require", Some(_)) | ("verify-ca", _) => (SslMode::Require, Some(Check::Authority)),
            ("verify-full", _) => (SslMode::Require, Some(Check::Host)),
            (other, _) => return Err(AddressError::Mode(other.to_owned())),
        };
        let options = match config.get_options() {
            Some(own) => format!("{SETTINGS} -c search_path={schema} {own}"),
            None => format!("{SETTINGS} -c search_path={schema}"),
        };
        config
            .ssl_mode(ssl)
            .options(options)
            .application_name("mynah")
            .connect_timeout(Duration::from_secs(5))
            .tcp_user_timeout(Duration::from_secs(8))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3);
        let tls = check.map(|check| tls(check, authorities)).transpose()?;
        Ok(Self { config, tls })
    }

    /// Opens a connection and lets the runtime drive it.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                // Whoever waits for an answer gets the error.
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(client)
            }
        }
    }
}

fn tls(check: Check, authorities: Option<&str>) -> Result<MakeRustlsConnect, AddressError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    match authorities {
        None | Some("system") => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let failed = |why: String| AddressError::Authorities {
                path: path.to_owned(),
                why,
            };
            let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("it has none".to_owned()));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| AddressError::Malformed(error.to_string()))?;
    let config = if check == Check::Host {
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        let by_authority = match check {
            Check::Nothing => None,
            _ => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| AddressError::Malformed(error.to_string()))?,
            ),
        };
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyHost {
                by_authority,
                provider,
            }))
            .with_no_client_auth()
    };
    Ok(MakeRustlsConnect::new(config))
}

/// Accepts certificates for any host: those of these authorities, or any certificate if there are none.
#[derive(Debug)]
struct AnyHost {
    by_authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(verifier) = &self.by_authority else {
            return Ok(ServerCertVerified::assertion());
        };
        match verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            // rustls checks the name last, so everything else is right.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_modes_and_refuses_others() {
        let parse = |query: &str| Address::parse(&format!("postgres://u:secret@h/d{query}"), "mynah");
        for mode in [
            "",
            "?sslmode=disable",
            "?sslmode=require",
            "?sslmode=verify-full&connect_timeout=3",
        ] {
            let address = parse(mode).unwrap();
            assert!(!format!("{address:?}").contains("secret"));
        }
        assert!(matches!(parse("?sslmode=maybe"), Err(AddressError::Mode(_))));
        assert!(matches!(parse("?x=1"), Err(AddressError::Malformed(_))));
        let missing = parse("?sslmode=verify-ca&sslrootcert=/nowhere");
        assert!(matches!(missing, Err(AddressError::Authorities { .. })));
        let other = Address::parse("mysql://h/d", "mynah").unwrap_err();
        assert!(!other.to_string().contains("secret"));
    }
}

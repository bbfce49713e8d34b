//! Decides which servers are trusted: those with a certificate of an authority in Mozilla's list, and those
//! with a certificate that the operator trusts in addition. Explains to the operator why a connection failed.
//!
//! Invariants: issuer, validity period, purpose and name of a certificate are always checked; this cannot be
//! switched off. Only a certificate that says that it belongs to an authority may issue others: whoever holds
//! the key of one trusted server cannot impersonate another.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use anyhow::{Context, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::text::bytes_without_mark;

/// The TLS configuration for calls to other servers; the certificates in `ca_file` are trusted too.
pub(crate) fn client_config(ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let own = match ca_file {
        None => Vec::new(),
        Some(path) => certificates(path).with_context(|| {
            format!(
                "outbound.ca_file (or SSL_CERT_FILE) {} cannot be used",
                path.display()
            )
        })?,
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Verifier::new(own)?);
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path)?;
    let found = CertificateDer::pem_slice_iter(bytes_without_mark(&pem)).collect::<Result<Vec<_>, _>>()?;
    ensure!(!found.is_empty(), "it contains no certificate in PEM form");
    Ok(found)
}

/// The purpose of a server's certificate: id-kp-serverAuth (RFC 5280, 4.2.1.12).
const SERVER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// rustls's own verifier does not accept a certificate of an authority as that of a server. This one also
/// accepts a server's own certificate, as made by `openssl req -x509`, if it is trusted itself and its name,
/// purpose and validity period are right.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(own: Vec<CertificateDer<'static>>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        // rustls treats every root as an authority, so certificates that may not issue others are left out.
        // Certificates that cannot be parsed, such as old ones in a bundle of the system, are skipped.
        roots.add_parsable_certificates(own.iter().filter(|der| is_authority(der)).cloned());
        let provider = Arc::new(ring::default_provider());
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { usual, own })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.usual
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if verified.is_ok() || !self.own.contains(end_entity) {
            return verified;
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        is_usable(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether a certificate may issue others: either an extension of it says so, or it is a root certificate of
/// version 1, which has no extensions.
fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return false;
    };
    let tbs = certificate.tbs_certificate();
    if tbs.version() == Version::V1 {
        return tbs.issuer() == tbs.subject();
    }
    let is_ca = tbs.get_extension::<BasicConstraints>();
    let may_sign = match tbs.get_extension::<KeyUsage>() {
        Ok(usage) => usage.is_none_or(|(_, usage)| usage.key_cert_sign()),
        Err(_) => false,
    };
    is_ca.is_ok_and(|found| found.is_some_and(|(_, said)| said.ca)) && may_sign
}

/// Checks that a certificate is valid at this time and may be used by a server.
fn is_usable(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let tbs = certificate.tbs_certificate();
    let validity = tbs.validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet);
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired);
    }
    let purposes = tbs
        .get_extension::<ExtendedKeyUsage>()
        .map_err(|_| CertificateError::BadEncoding)?;
    match purposes {
        Some((_, ExtendedKeyUsage(purposes))) if !purposes.contains(&SERVER) => {
            Err(CertificateError::InvalidPurpose)
        }
        _ => Ok(()),
    }
}

/// The innermost cause of a connection error, in a few words.
pub(crate) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    loop {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        // An io::Error hides what it wraps from `source`.
        let wrapped = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => inner.source(),
        };
        match next {
            Some(next) => inner = next,
            None => return inner.to_string(),
        }
    }
}

fn of_tls(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(why) = error else {
        return format!("the TLS connection failed: {error}");
    };
    let why = match why {
        CertificateError::UnknownIssuer => {
            "unknown issuer; if it is your own authority, name its certificate in outbound.ca_file".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; the clock of this machine or of the issuer is wrong".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it was issued for another name than the host of the URL (see its subjectAltName)".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was not made for servers (see its extendedKeyUsage)".to_owned()
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        // The certificate says that it belongs to an authority, as those of `openssl req -x509` do, and is
        // not trusted.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "unknown issuer, it is self-signed; if that is right, name it in outbound.ca_file".to_owned()
        }
        other => other.to_string(),
    };
    format!("its certificate is not accepted: {why}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        KeyUsagePurpose, date_time_ymd,
    };

    use super::*;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = params("An Authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// The beginning of a year, in seconds since 1970.
    fn year(year: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952))
    }

    fn check(
        own: &[&CertificateDer<'static>],
        server: &CertificateDer<'_>,
        name: &str,
        now: UnixTime,
    ) -> Result<(), String> {
        let verifier = Verifier::new(own.iter().map(|der| (*der).clone()).collect()).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let verified = verifier.verify_server_cert(server, &[], &name, &[], now);
        // The errors are wrapped as the HTTP client wraps them.
        let wrapped = |error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        verified.map(drop).map_err(|error| cause(&wrapped(error)))
    }

    #[test]
    fn an_own_authority_is_trusted_when_it_is_named() {
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let server = params("push.example").signed_by(&key, &authority).unwrap();
        let (ca, server) = (authority.der(), server.der());
        let now = year(2030);
        assert_eq!(check(&[ca], server, "push.example", now), Ok(()));
        for (own, name, now, why) in [
            (&[][..], "push.example", now, "unknown issuer"),
            (&[ca][..], "other.example", now, "another name"),
            (&[ca][..], "push.example", year(2045), "it has expired"),
            (&[ca][..], "push.example", year(2010), "not valid yet"),
        ] {
            let said = check(own, server, name, now).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    /// `openssl req -x509` makes such a certificate, which says that it belongs to an authority.
    #[test]
    fn a_self_signed_certificate_is_trusted_when_it_is_named_itself() {
        let mut params = params("push.example");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let server = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let other = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (server, other) = (server.der(), other.der());
        let now = year(2030);
        assert_eq!(check(&[other, server], server, "push.example", now), Ok(()));
        for (own, name, now, why) in [
            (&[][..], "push.example", now, "self-signed"),
            (&[other][..], "push.example", now, "self-signed"),
            (&[server][..], "other.example", now, "another name"),
            (&[server][..], "push.example", year(2045), "it has expired"),
            (&[server][..], "push.example", year(2010), "not valid yet"),
        ] {
            let said = check(own, server, name, now).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    /// Certificates that do not belong to an authority, but are used to issue others.
    fn issuers() -> Vec<CertifiedIssuer<'static, KeyPair>> {
        let plain = params("push.example");
        let mut no_ca = params("push.example");
        no_ca.is_ca = IsCa::ExplicitNoCa;
        let mut signs_no_certificates = params("push.example");
        signs_no_certificates.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        signs_no_certificates.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        [plain, no_ca, signs_no_certificates]
            .map(|params| CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
            .into()
    }

    #[test]
    fn a_trusted_server_cannot_issue_a_certificate_for_another_one() {
        for issuer in issuers() {
            let (own, now) = (issuer.der(), year(2030));
            assert_eq!(check(&[own], own, "push.example", now), Ok(()));
            for name in ["push.example", "other.example"] {
                let key = KeyPair::generate().unwrap();
                let forged = params(name).signed_by(&key, &issuer).unwrap();
                let said = check(&[own], forged.der(), name, now).unwrap_err();
                assert!(said.contains("unknown issuer"), "{said}");
            }
        }
    }

    #[test]
    fn a_certificate_that_is_not_made_for_servers_is_refused_even_if_it_is_named() {
        for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa] {
            let mut params = params("push.example");
            params.is_ca = is_ca;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let client = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let said = check(&[client.der()], client.der(), "push.example", year(2030)).unwrap_err();
            assert!(said.contains("not made for servers"), "{said}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        for text in [None, Some("nothing")] {
            text.into_iter().for_each(|text| fs::write(&path, text).unwrap());
            let why = format!("{:#}", client_config(Some(&path)).unwrap_err());
            assert!(
                why.contains("outbound.ca_file") && why.contains("ca.pem"),
                "{why}"
            );
        }
    }

    #[test]
    fn the_innermost_cause_is_returned() {
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(cause(&refused), "connection refused");
    }
}

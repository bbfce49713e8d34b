//! The certificate that nodes show to each other.
//!
//! A node with TLS is reached by other nodes over TLS too. Its usual certificate is of no use for them: it is
//! made for the name that clients use, which load balancers serve, and not for `cluster.advertise`. So all
//! nodes of a cluster make the same key pair from its secret, and show a certificate of it to whoever asks
//! for a server name that is made from the secret as well. A node that connects accepts that key and no
//! other. Nothing has to be announced, distributed or renewed, and strangers only see the usual certificate.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use ring::hmac;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;

/// What precedes the 32 bytes of a private key of Ed25519 in its PKCS #8 form (RFC 8410, section 7).
const PKCS8: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[error("no certificate for connections between nodes can be made: {0}")]
pub struct NoIdentity(String);

/// See the module. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Identity {
    name: ServerName<'static>,
    certified: Arc<CertifiedKey>,
    client: Arc<ClientConfig>,
}

impl Identity {
    /// The identity that is made of this key of the cluster.
    pub fn new(key: &[u8; 32]) -> Result<Self, NoIdentity> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let digits = hmac::sign(&key, b"server name");
        let digits: String = digits.as_ref()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("{digits}.mynah.internal");
        let private = [&PKCS8[..], hmac::sign(&key, b"certificate").as_ref()].concat();
        let private = PrivatePkcs8KeyDer::from(private);
        Self::of(name, &private).map_err(|error| NoIdentity(error.to_string()))
    }

    fn of(name: String, private: &PrivatePkcs8KeyDer<'_>) -> Result<Self, Box<dyn std::error::Error>> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(private, &PKCS_ED25519)?;
        let certificate = CertificateParams::new([name.clone()])?.self_signed(&pair)?;
        let certificate = certificate.der().clone();
        let key = ParsedCertificate::try_from(&certificate)?.subject_public_key_info();
        let signer = provider::sign::any_eddsa_type(private)?;
        let crypto = Arc::new(provider::default_provider());
        Ok(Self {
            name: ServerName::try_from(name)?,
            certified: Arc::new(CertifiedKey::new(vec![certificate], signer)),
            client: Arc::new(client(key, crypto)?),
        })
    }

    /// The certificate for a connection on which the peer has asked for this server name; `None` if the peer
    /// is not a node.
    pub fn certificate(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let is_asked = server_name.is_some_and(|name| self.name.to_str() == name);
        is_asked.then(|| self.certified.clone())
    }

    /// What connects to other nodes, and the server name to ask for.
    pub(crate) fn connector(&self) -> (TlsConnector, ServerName<'static>) {
        (TlsConnector::from(self.client.clone()), self.name.clone())
    }
}

fn client(
    key: SubjectPublicKeyInfoDer<'static>,
    crypto: Arc<CryptoProvider>,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = OnlyKey {
        key,
        algorithms: crypto.signature_verification_algorithms,
    };
    let mut client = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(client)
}

/// Accepts a peer that proves that it has one private key, whatever else its certificate says.
#[derive(Debug)]
struct OnlyKey {
    key: SubjectPublicKeyInfoDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OnlyKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        match shown == self.key {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_makes_the_same_identity() {
        let [one, same, other] = [1, 1, 2].map(|n| Identity::new(&[n; 32]).unwrap());
        let key = |identity: &Identity| {
            let certificate = &identity.certified.cert[0];
            ParsedCertificate::try_from(certificate)
                .unwrap()
                .subject_public_key_info()
        };
        assert_eq!((&one.name, key(&one)), (&same.name, key(&same)));
        assert_ne!(one.name, other.name);
        assert_ne!(key(&one), key(&other));
        assert!(one.certificate(Some(&same.name.to_str())).is_some());
        assert!(one.certificate(Some(&other.name.to_str())).is_none());
        assert!(one.certificate(None).is_none());
        // What a stranger could read from a log.
        assert!(!format!("{one:?}").contains("PrivateKey"), "{one:?}");
    }
}

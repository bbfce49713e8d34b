//! The certificate of `server.tls`, which is read again when its files change.
//!
//! Invariant: there is always a certificate with a matching key. If the files become unusable, the
//! certificate in use is kept, and that is logged once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, bail};
use mynah_forward::Identity;
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::sync::Notify;
use x509_cert::der::Decode;

use crate::clock;
use crate::config::Tls;
use crate::metrics::Metrics;
use crate::text::bytes_without_mark;

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The certificate in use, and the files that it was read from.
#[derive(Debug)]
pub(crate) struct Certificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: Arc<Current>,
    metrics: Arc<Metrics>,
    /// The state of the files when they were read last.
    seen: Stamps,
    /// How often in a row the files could not be used. It does not count beyond 2.
    failed: u8,
    /// Notified when the files must be read at once.
    asked: Arc<Notify>,
}

/// The certificate in use.
#[derive(Debug)]
struct Current {
    certified: RwLock<Arc<CertifiedKey>>,
    /// The certificate that other nodes ask for.
    for_nodes: OnceLock<Identity>,
}

impl Current {
    fn new(certified: CertifiedKey) -> Self {
        Self {
            certified: RwLock::new(Arc::new(certified)),
            for_nodes: OnceLock::new(),
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let for_nodes = self.for_nodes.get();
        for_nodes
            .and_then(|identity| identity.certificate(hello.server_name()))
            .or_else(|| Some(self.certified.read().clone()))
    }
}

/// Tells whether a file was changed or replaced, also behind a symbolic link: its device, inode and size, and
/// the times of its last write and change.
type Stamp = Option<(u64, u64, u64, [i64; 4])>;
type Stamps = [Stamp; 2];

fn stamp(file: &Path) -> Stamp {
    let it = fs::metadata(file).ok()?;
    let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
    Some((it.dev(), it.ino(), it.size(), times))
}

/// The result of checking the files.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Unchanged,
    Renewed,
    /// The files cannot be used, perhaps because one of them is being replaced.
    Failed,
    /// The files still cannot be used.
    FailedAgain(String),
}

impl Certificate {
    /// Reads the files, if any are configured.
    pub(crate) fn open(tls: &Tls, metrics: Arc<Metrics>) -> anyhow::Result<Option<Self>> {
        let (cert_file, key_file) = match (&tls.cert_file, &tls.key_file) {
            (None, None) => return Ok(None),
            (Some(cert_file), Some(key_file)) => (cert_file.clone(), key_file.clone()),
            (Some(_), None) => {
                bail!("server.tls.cert_file is set and server.tls.key_file is not: TLS needs both")
            }
            (None, Some(_)) => {
                bail!("server.tls.key_file is set and server.tls.cert_file is not: TLS needs both")
            }
        };
        let seen = [stamp(&cert_file), stamp(&key_file)];
        let certified = read(&cert_file, &key_file)?;
        let certificate = Self {
            cert_file,
            key_file,
            current: Arc::new(Current::new(certified)),
            metrics,
            seen,
            failed: 0,
            asked: Arc::default(),
        };
        certificate.show_expiry();
        Ok(Some(certificate))
    }

    /// The TLS configuration of a listener. It always uses the current certificate.
    pub(crate) fn server_config(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A client resumes its session with a ticket that only this server can read. The server stores no
        // sessions.
        config.ticketer = ring::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// Shows another certificate to other nodes of the cluster.
    pub(crate) fn show_to_nodes(&self, identity: Identity) {
        // It is set once, when the server is opened.
        let _ = self.current.for_nodes.set(identity);
    }

    /// A handle that makes the server read the files at once, even if they have not changed.
    pub(crate) fn asked(&self) -> Arc<Notify> {
        self.asked.clone()
    }

    /// Reads the files whenever they have changed or the handle is notified. Runs forever.
    pub(crate) async fn keep(mut self) {
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(CHECK_INTERVAL) => false,
                () = self.asked.notified() => true,
            };
            // The files may be on a disk that does not respond.
            let checked = tokio::task::spawn_blocking(move || {
                let outcome = if asked { self.read_now() } else { self.check() };
                (self, outcome)
            });
            let Ok((certificate, outcome)) = checked.await else {
                return;
            };
            self = certificate;
            match outcome {
                Outcome::Unchanged | Outcome::Failed => {}
                Outcome::Renewed => tracing::info!("the TLS certificate was read again"),
                Outcome::FailedAgain(why) => {
                    tracing::error!("the previous TLS certificate stays in use: {why}")
                }
            }
        }
    }

    fn check(&mut self) -> Outcome {
        let now = [stamp(&self.cert_file), stamp(&self.key_file)];
        let same = now == self.seen;
        if same && self.failed != 1 {
            return Outcome::Unchanged;
        }
        self.read(now, same)
    }

    /// Reads the files even if they look unchanged; a failure is logged at once.
    fn read_now(&mut self) -> Outcome {
        self.read([stamp(&self.cert_file), stamp(&self.key_file)], true)
    }

    /// Uses the content of the files. If `settled`, a certificate and a key that do not match are an error,
    /// and not an update that is being written.
    fn read(&mut self, now: Stamps, settled: bool) -> Outcome {
        self.seen = now;
        match read(&self.cert_file, &self.key_file) {
            Ok(certified) => {
                *self.current.certified.write() = Arc::new(certified);
                self.failed = 0;
                self.show_expiry();
                Outcome::Renewed
            }
            // The second of the two files may not be written yet.
            Err(_) if !settled => {
                self.failed = 1;
                Outcome::Failed
            }
            Err(why) => {
                self.failed = 2;
                self.metrics.tls_reload_failures.inc();
                Outcome::FailedAgain(format!("{why:#}"))
            }
        }
    }

    fn show_expiry(&self) {
        let certified = self.current.certified.read().clone();
        let Some(expiry) = certified.cert.first().and_then(expiry) else {
            return;
        };
        self.metrics.tls_certificate_expiry_seconds.set(expiry as i64);
        if expiry < clock::unix_millis() / 1_000 {
            tracing::warn!("the TLS certificate has expired: clients will refuse it");
        }
    }
}

/// Reads a certificate and the key that matches it.
fn read(cert_file: &Path, key_file: &Path) -> anyhow::Result<CertifiedKey> {
    let name = |key: &str, file: &Path| format!("server.tls.{key} {}", file.display());
    let cert_name = || name("cert_file", cert_file);
    let key_name = || name("key_file", key_file);
    let chain = fs::read(cert_file)
        .map_err(anyhow::Error::from)
        .and_then(|pem| chain(&pem))
        .with_context(cert_name)?;
    if chain.is_empty() {
        bail!("{} contains no certificate in PEM form", cert_name());
    }
    let key = fs::read(key_file)
        .map_err(anyhow::Error::from)
        .and_then(|pem| Ok(PrivateKeyDer::from_pem_slice(bytes_without_mark(&pem))?))
        .with_context(key_name)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .with_context(|| format!("{} does not match {}", key_name(), cert_name()))
}

fn chain(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(bytes_without_mark(pem)).collect::<Result<_, _>>()?)
}

/// Reads arbitrary bytes as certificates.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let _ = expiry(&CertificateDer::from(data));
    for certificate in chain(data).unwrap_or_default() {
        let _ = expiry(&certificate);
    }
}

/// When a certificate expires, in seconds since 1970.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(
        certificate
            .tbs_certificate()
            .validity()
            .not_after
            .to_unix_duration()
            .as_secs(),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// A certificate for `name` and its key, as PEM.
    fn make_pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2040, 1, 2);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn write(dir: &TempDir, (cert, key): &(String, String)) {
        fs::write(dir.path().join("cert.pem"), cert).unwrap();
        fs::write(dir.path().join("key.pem"), key).unwrap();
    }

    fn open(dir: &TempDir) -> anyhow::Result<Option<Certificate>> {
        let tls = Tls {
            cert_file: Some(dir.path().join("cert.pem")),
            key_file: Some(dir.path().join("key.pem")),
            ..Tls::default()
        };
        Certificate::open(&tls, Arc::default())
    }

    fn used(certificate: &Certificate) -> Vec<u8> {
        certificate.current.certified.read().cert[0].to_vec()
    }

    #[test]
    fn files_that_change_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (make_pair("a.example"), make_pair("b.example"));
        write(&dir, &first);
        let mut certificate = open(&dir).unwrap().unwrap();
        let before = used(&certificate);
        assert_eq!(certificate.check(), Outcome::Unchanged);
        write(&dir, &second);
        assert_eq!(certificate.check(), Outcome::Renewed);
        assert_ne!(used(&certificate), before);
        assert_eq!(certificate.check(), Outcome::Unchanged);
        assert_eq!(
            certificate.read_now(),
            Outcome::Renewed,
            "the files are read on request"
        );
        assert_eq!(
            certificate.metrics.tls_certificate_expiry_seconds.get(),
            2_209_075_200
        );
    }

    /// Some editors write a byte order mark.
    #[test]
    fn certificates_and_keys_may_begin_with_a_byte_order_mark() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = make_pair("a.example");
        write(&dir, &(format!("\u{feff}{cert}"), format!("\u{feff}{key}")));
        assert!(open(&dir).unwrap().is_some());
    }

    #[test]
    fn an_unusable_pair_changes_nothing_and_is_reported_once() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (make_pair("a.example"), make_pair("b.example"));
        write(&dir, &first);
        let mut certificate = open(&dir).unwrap().unwrap();
        let before = used(&certificate);
        // The certificate is written before its key.
        write(&dir, &(second.0.clone(), first.1));
        assert_eq!(certificate.check(), Outcome::Failed);
        assert_eq!(used(&certificate), before);
        write(&dir, &second);
        assert_eq!(certificate.check(), Outcome::Renewed);

        for broken in [
            (second.0.clone(), "no key".to_owned()),
            (String::new(), second.1.clone()),
        ] {
            let before = used(&certificate);
            write(&dir, &broken);
            assert_eq!(certificate.check(), Outcome::Failed);
            assert!(matches!(certificate.check(), Outcome::FailedAgain(_)));
            assert_eq!(certificate.check(), Outcome::Unchanged);
            assert_eq!(used(&certificate), before);
        }
        assert_eq!(certificate.metrics.tls_reload_failures.get(), 2);
        fs::remove_file(dir.path().join("key.pem")).unwrap();
        assert_eq!(certificate.check(), Outcome::Failed);
        write(&dir, &second);
        assert_eq!(certificate.check(), Outcome::Renewed);
    }

    /// Kubernetes updates files in this way: they are links into a directory that is itself a link, which is
    /// replaced.
    #[test]
    fn a_replaced_link_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        for (place, name) in [("one", "a.example"), ("two", "b.example")] {
            let (cert, key) = make_pair(name);
            fs::create_dir(dir.path().join(place)).unwrap();
            fs::write(dir.path().join(place).join("cert.pem"), cert).unwrap();
            fs::write(dir.path().join(place).join("key.pem"), key).unwrap();
        }
        symlink("one", dir.path().join("data")).unwrap();
        for file in ["cert.pem", "key.pem"] {
            symlink(Path::new("data").join(file), dir.path().join(file)).unwrap();
        }
        let mut certificate = open(&dir).unwrap().unwrap();
        let before = used(&certificate);
        symlink("two", dir.path().join("new")).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("data")).unwrap();
        assert_eq!(certificate.check(), Outcome::Renewed);
        assert_ne!(used(&certificate), before);
    }

    #[test]
    fn errors_name_the_setting_and_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", open(&dir).unwrap_err());
        assert!(error().contains("server.tls.cert_file"), "{}", error());
        let (first, second) = (make_pair("a.example"), make_pair("b.example"));
        write(&dir, &(first.0.clone(), String::new()));
        assert!(error().contains("server.tls.key_file"), "{}", error());
        write(&dir, &("nothing".to_owned(), first.1));
        assert!(error().contains("contains no certificate"), "{}", error());
        write(&dir, &(first.0, second.1));
        assert!(error().contains("does not match"), "{}", error());
        let half = Tls {
            cert_file: Some("x".into()),
            ..Tls::default()
        };
        let why = Certificate::open(&half, Arc::default()).unwrap_err();
        assert!(why.to_string().contains("TLS needs both"), "{why}");
    }
}

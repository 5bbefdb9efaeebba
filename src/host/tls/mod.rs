//! TLS to servers: whom we trust, and what a server's certificate says.
//!
//! One stack for every protocol (rustls with ring). The verifier is our own around webpki, because
//! a check has to tell *why* a certificate is not trusted, how long one that is trusted still
//! holds, and because PostgreSQL's `sslmode` knows more ways to trust than rustls does.

mod certificate;
mod verifier;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};

pub use certificate::Certificate;

use self::verifier::Verifier;
use super::Observe;
use super::files::read_limited;
use super::reach::{Obstacle, ReachError};

/// What a file of certificates may measure at most: a few times what distributions ship.
const LARGEST_FILE: u64 = 4 << 20;

/// Whose signature counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Authorities that this machine trusts.
    #[default]
    System,
    /// Only what stands in this PEM file: authorities, or the server's own certificate.
    File(PathBuf),
}

/// What is asked of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// It is valid, signed by somebody whom we trust, and made out to this server.
    Full,
    /// It is valid and signed by somebody whom we trust.
    Authority,
    /// Nothing: the connection is encrypted, to whomever.
    Nothing,
}

/// What a server showed, and why it was not trusted.
#[derive(Debug, Default)]
struct Seen {
    certificate: Option<CertificateDer<'static>>,
    rejected: Option<CertificateError>,
}

/// The means to speak TLS to one server.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    seen: Arc<Mutex<Seen>>,
}

impl Observe {
    /// The means to speak TLS. `protocols` are what to offer by ALPN; none to offer nothing.
    ///
    /// # Errors
    /// When the certificates that we are to trust cannot be read.
    pub async fn tls(
        &self,
        trust: &Trust,
        verify: Verify,
        protocols: &[&[u8]],
    ) -> Result<Tls, ReachError> {
        let trusted = match (trust, verify) {
            (_, Verify::Nothing) => Trusted::default(),
            (Trust::System, _) => {
                let roots = self.blocking(system_roots).await;
                let roots =
                    roots.map_err(|e| ours("read this machine's authorities", e.cause))??;
                Trusted {
                    roots,
                    pinned: Vec::new(),
                }
            }
            (Trust::File(path), _) => read_trusted(&self.scope().resolve(path))?,
        };
        Tls::new(trusted, verify, protocols)
    }
}

/// What we trust.
#[derive(Debug)]
struct Trusted {
    roots: Arc<RootCertStore>,
    /// Certificates that are trusted as they are.
    pinned: Vec<CertificateDer<'static>>,
}

impl Default for Trusted {
    fn default() -> Self {
        Self {
            roots: Arc::new(RootCertStore::empty()),
            pinned: Vec::new(),
        }
    }
}

fn ours(action: impl Into<String>, cause: impl Into<String>) -> ReachError {
    ReachError::new(Obstacle::OurSide, action, cause)
}

/// This machine's authorities, read once: parsing them takes milliseconds.
fn system_roots() -> Result<Arc<RootCertStore>, ReachError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        let cause = match loaded.errors.first() {
            Some(error) => error.to_string(),
            None => "there are none".to_owned(),
        };
        let help = "install the package `ca-certificates`, or name a file with the authorities";
        return Err(ours("read this machine's authorities", cause).with_help(help));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

fn read_trusted(path: &Path) -> Result<Trusted, ReachError> {
    let action = || format!("read the certificates in {}", path.display());
    let text = read_limited(path, LARGEST_FILE).map_err(|e| ours(action(), e.cause))?;
    let pinned: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|e| ours(action(), format!("it is not PEM: {e}")))?;
    if pinned.is_empty() {
        let cause = "there is no certificate in it";
        return Err(
            ours(action(), cause).with_help("it must be PEM: `-----BEGIN CERTIFICATE-----`")
        );
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pinned.iter().cloned());
    Ok(Trusted {
        roots: Arc::new(roots),
        pinned,
    })
}

impl Tls {
    fn new(trusted: Trusted, verify: Verify, protocols: &[&[u8]]) -> Result<Self, ReachError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let verifier = Verifier {
            trusted,
            verify,
            algorithms: provider.signature_verification_algorithms,
            seen: Arc::clone(&seen),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ours("set up TLS", e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            config: Arc::new(config),
            seen,
        })
    }

    /// The means to speak TLS outside of any run.
    ///
    /// # Errors
    /// When the certificates that we are to trust cannot be read.
    pub(in crate::host) fn of(trust: &Trust, verify: Verify) -> Result<Self, ReachError> {
        let trusted = match (trust, verify) {
            (_, Verify::Nothing) => Trusted::default(),
            (Trust::System, _) => Trusted {
                roots: system_roots()?,
                pinned: Vec::new(),
            },
            (Trust::File(path), _) => read_trusted(path)?,
        };
        Self::new(trusted, verify, &[])
    }

    /// For libraries that speak TLS themselves.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The certificate that the server showed last, trusted or not.
    pub fn certificate(&self) -> Option<Certificate> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Certificate::parse(seen.certificate.as_ref()?)
    }

    /// Why the certificate was not trusted, as an error of `action`; none if it was.
    pub fn rejection(&self, action: &str) -> Option<ReachError> {
        let rejected = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.rejected.clone()?
        };
        let (cause, help) = certificate::explain(&rejected, self.certificate().as_ref());
        let mut error = ReachError::new(Obstacle::Tls, action, cause);
        error.help = help;
        Some(error)
    }

    /// What an error of a handshake means.
    pub fn error(&self, action: &str, error: &io::Error) -> ReachError {
        if let Some(rejected) = self.rejection(action) {
            return rejected;
        }
        match error.get_ref().and_then(|e| e.downcast_ref()) {
            Some(tls) => ReachError::new(Obstacle::Tls, action, handshake_cause(tls)),
            None => ReachError::io(action, error),
        }
    }
}

/// What an error of TLS means, for people.
pub(in crate::host) fn handshake_cause(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => "what it answers is not TLS".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("it refused the handshake: {alert:?}"),
        rustls::Error::PeerIncompatible(_) => {
            format!("it speaks no TLS that we speak (1.2 or 1.3): {error}")
        }
        other => other.to_string(),
    }
}

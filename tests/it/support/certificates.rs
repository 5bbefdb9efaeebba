//! A certificate authority of the tests' own, and certificates that are good, expired, about to
//! expire, for another host, or of an authority that nobody trusts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::lifetime;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a certificate says: for whom, and until when.
#[derive(Clone)]
pub struct Subject {
    names: Vec<String>,
    from: SystemTime,
    until: SystemTime,
}

impl Default for Subject {
    /// Good for `localhost` and 127.0.0.1, for a year.
    fn default() -> Subject {
        Subject::expires_in_days(365)
    }
}

impl Subject {
    /// Good, for so many days from now (and an hour, so that whole days are seen).
    pub fn expires_in_days(days: u32) -> Subject {
        Subject {
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            from: SystemTime::now() - 90 * DAY,
            until: SystemTime::now() + days * DAY + Duration::from_secs(3600),
        }
    }

    /// Expired since yesterday.
    pub fn expired() -> Subject {
        Subject {
            until: SystemTime::now() - DAY,
            ..Subject::default()
        }
    }

    /// Good, but for another host.
    pub fn wrong_host() -> Subject {
        Subject {
            names: vec!["elsewhere.example".to_owned()],
            ..Subject::default()
        }
    }
}

/// A test authority; its own certificate lies in a file that a client can be told to trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// The authority that tests trust.
    pub fn shared() -> &'static Authority {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        SHARED.get_or_init(|| Authority::new("runbook test authority"))
    }

    /// An authority of another name and key, which nobody trusts who trusts the shared one.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - 100 * DAY).into();
        params.not_after = (SystemTime::now() + 3650 * DAY).into();
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it can sign itself");
        let folder = lifetime::folder("authority");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("it can be written");
        Authority { issuer, folder }
    }

    /// The file with its certificate (PEM).
    pub fn file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Issues a server's certificate.
    pub fn issue(&self, subject: &Subject) -> Certificate {
        let mut params =
            CertificateParams::new(subject.names.clone()).expect("the names are names");
        params
            .distinguished_name
            .push(DnType::CommonName, subject.names[0].as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = subject.from.into();
        params.not_after = subject.until.into();
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params
            .signed_by(&key, &self.issuer)
            .expect("it can be signed");
        Certificate { signed, key }
    }
}

/// A certificate with its key.
pub struct Certificate {
    signed: rcgen::Certificate,
    key: KeyPair,
}

impl Certificate {
    /// The certificate in PEM.
    pub fn chain(&self) -> String {
        self.signed.pem()
    }

    /// The key in PEM.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// What a server needs to speak TLS with it.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key().as_bytes()).expect("it is a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![self.signed.der().clone()], key)
            .expect("key and certificate belong together");
        Arc::new(config)
    }
}

//! Judges a server's certificate, and remembers what it saw.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::Certificate;
use super::{Seen, Trusted, Verify};

/// The verifier of one server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trusted: Trusted,
    pub(super) verify: Verify,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Verifier {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.verify == Verify::Nothing {
            return Ok(());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if self.trusted.pinned.contains(end_entity) {
            // Trusted as it is: webpki asks for an authority above it and refuses a certificate
            // that is its own (`openssl req -x509`, Debian's snakeoil). Its dates still count.
            within_dates(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.trusted.roots,
                intermediates,
                now,
                self.algorithms.all,
            )
            .map_err(|error| no_authority(error, end_entity))?;
        }
        match self.verify {
            Verify::Full => verify_server_name(&parsed, server_name),
            Verify::Authority | Verify::Nothing => Ok(()),
        }
    }
}

/// Of a certificate that is its own authority webpki says that an authority is no server; what
/// counts is that nobody whom we trust signed it.
fn no_authority(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let is_other = matches!(error, Error::InvalidCertificate(CertificateError::Other(_)));
    if is_other && Certificate::parse(certificate).is_some_and(|c| c.self_signed) {
        return CertificateError::UnknownIssuer.into();
    }
    error
}

fn within_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > certificate.not_after.as_second() {
        return Err(CertificateError::Expired.into());
    }
    if now < certificate.not_before.as_second() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge(end_entity, intermediates, server_name, now);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.certificate = Some(end_entity.clone().into_owned());
        seen.rejected = match &verdict {
            Err(Error::InvalidCertificate(why)) => Some(why.clone()),
            _ => None,
        };
        verdict.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

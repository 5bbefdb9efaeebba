//! What a certificate says of itself, and why one is not trusted.

use jiff::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The names and addresses that it is made out to (its subject alternative names: a common
    /// name alone counts no longer, RFC 9525).
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Whether that is itself.
    pub self_signed: bool,
    /// From when it holds.
    pub not_before: Timestamp,
    /// Until when it holds.
    pub not_after: Timestamp,
}

impl Certificate {
    pub(super) fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let names = alternatives.map(|names| &names.value.general_names[..]);
        let validity = certificate.validity();
        Some(Self {
            names: names
                .unwrap_or_default()
                .iter()
                .filter_map(name_of)
                .collect(),
            issuer: certificate.issuer().to_string(),
            self_signed: certificate.issuer() == certificate.subject(),
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        })
    }

    /// How many whole days it still holds at `now`; negative once it has expired.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after.as_second() - now.as_second()).div_euclid(86_400)
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Why a certificate is not trusted, and what to do about it.
pub(super) fn explain(
    why: &CertificateError,
    certificate: Option<&Certificate>,
) -> (String, Option<String>) {
    use CertificateError as E;
    let day = |at: Option<Timestamp>| {
        at.map(|at| format!(" on {}", at.strftime("%Y-%m-%d")))
            .unwrap_or_default()
    };
    let (cause, help) = match why {
        E::Expired => (
            format!(
                "its certificate expired{}",
                day(certificate.map(|c| c.not_after))
            ),
            "renew it",
        ),
        E::ExpiredContext { not_after, .. } => {
            let at = i64::try_from(not_after.as_secs())
                .ok()
                .and_then(|s| Timestamp::from_second(s).ok());
            let own = certificate.is_some_and(|c| Some(c.not_after) == at);
            let whose = if own {
                "its certificate"
            } else {
                "a certificate above its own"
            };
            (format!("{whose} expired{}", day(at)), "renew it")
        }
        E::NotValidYet | E::NotValidYetContext { .. } => (
            format!(
                "its certificate does not hold yet, only from{}",
                day(certificate.map(|c| c.not_before)).replacen(" on", "", 1)
            ),
            "look at this machine's clock, and at the certificate",
        ),
        E::NotValidForName | E::NotValidForNameContext { .. } => (
            match certificate.map(|c| c.names.join(", ")) {
                Some(names) if !names.is_empty() => {
                    format!("its certificate is made out to {names}, and not to this name")
                }
                _ => "its certificate is made out to no name (it has no subject alternative names)"
                    .to_owned(),
            },
            "connect by a name that the certificate is made out to, or have one made out to this name",
        ),
        // BadSignature: somebody of the same name as one whom we trust.
        E::UnknownIssuer | E::BadSignature => (
            match certificate {
                Some(certificate) if certificate.self_signed => format!(
                    "its certificate is signed by itself ({}), and we do not trust that",
                    certificate.issuer
                ),
                Some(certificate) => format!(
                    "its certificate is signed by {}, whom we do not trust",
                    certificate.issuer
                ),
                None => "its certificate is signed by somebody whom we do not trust".to_owned(),
            },
            "name a file with the authority's certificate, or with the server's own; if the authority \
             is known here, the server does not send the certificates between its own and that one",
        ),
        E::Revoked => (
            "its certificate has been revoked".to_owned(),
            "get a new one",
        ),
        other => return (format!("its certificate is not valid: {other}"), None),
    };
    (cause, Some(help.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Certificate;
    use jiff::Timestamp;

    #[test]
    fn counts_whole_days() {
        let certificate = Certificate {
            names: Vec::new(),
            issuer: String::new(),
            self_signed: false,
            not_before: Timestamp::UNIX_EPOCH,
            not_after: Timestamp::from_second(10 * 86_400).unwrap(),
        };
        for (now, left) in [(0, 10), (1, 9), (86_400 * 10 - 1, 0), (86_400 * 10 + 1, -1)] {
            let now = Timestamp::from_second(now).unwrap();
            assert_eq!(certificate.days_left(now), left);
        }
    }
}

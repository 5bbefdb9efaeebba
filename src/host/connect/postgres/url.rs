//! The URL of a PostgreSQL connection: libpq, "Connection URIs", as far as we go along with it.
//!
//! What is about TLS and about which host to take is read here, because `tokio-postgres` knows only
//! half of it; the rest is left to it. No message of this file repeats a part of the URL that may be
//! a password.

use std::path::PathBuf;

use tokio_postgres::config::Host as PgHost;

use crate::base::Duration;
use crate::host::net::Endpoint;
use crate::host::tls::{Trust, Verify};

/// Where PostgreSQL listens unless told otherwise.
const PORT: u16 = 5432;

/// Where Debian and Fedora put its socket; libpq's own default elsewhere is `/tmp`.
const SOCKET_FOLDER: &str = "/var/run/postgresql";

/// What TLS to a host is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// None.
    Never,
    /// If the server offers it, with whatever certificate.
    Offered,
    /// Or nothing.
    Always(Verify),
}

/// Which of several hosts is wanted (`target_session_attrs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// The first that answers.
    #[default]
    Any,
    /// One whose transactions may write.
    ReadWrite,
    /// One whose transactions may not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
}

/// One host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where to connect to.
    pub endpoint: Endpoint,
    /// What its certificate must be made out to.
    pub name: String,
    /// What TLS to it is like.
    pub tls: TlsPolicy,
}

/// What a URL says.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its hosts, in the order in which they are tried.
    pub hosts: Vec<Host>,
    /// Which of them is wanted.
    pub session: Session,
    /// Whose signature counts.
    pub trust: Trust,
    /// How long to wait for a connection, where it says so.
    pub connect_timeout: Option<Duration>,
    /// User, password, database, options.
    pub login: tokio_postgres::Config,
}

/// The modes of `sslmode`: libpq, "SSL Mode Descriptions".
#[derive(Clone, Copy, PartialEq, Eq)]
enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What of a URL's parameters is read here.
#[derive(Default)]
struct Parameters {
    mode: Option<SslMode>,
    trust: Option<Trust>,
    session: Session,
    connect_timeout: Option<Duration>,
}

impl Target {
    /// What `url` says.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_url {
            return Err("`url` must begin with `postgres://`".to_owned());
        }
        let (front, query) = split(url);
        let mut ours = Parameters::default();
        let mut theirs = Vec::new();
        for parameter in query.split('&').filter(|text| !text.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !ours.take(&decode(key), &decode(value))? {
                theirs.push(parameter);
            }
        }
        let rest = format!("{front}?{}", theirs.join("&"));
        let login: tokio_postgres::Config = rest.parse().map_err(|error| why(&error))?;
        let hosts = hosts(&login, &ours)?;
        Ok(Self {
            hosts,
            session: ours.session,
            trust: ours.trust.unwrap_or_default(),
            connect_timeout: ours.connect_timeout,
            login,
        })
    }

    /// The database's name; the user's where the URL names none.
    pub fn database(&self) -> &str {
        let named = self.login.get_dbname().or(self.login.get_user());
        named.unwrap_or("the database of that user's name")
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        self.login.get_user().unwrap_or("this process's own user")
    }

    /// For people: `shop at 127.0.0.1:5432 as app`.
    pub fn shown(&self, host: &Host) -> String {
        let (database, user) = (self.database(), self.user());
        format!("{database} at {} as {user}", host.endpoint)
    }
}

/// What stands before the parameters, and the parameters. As in libpq, the login ends at the first
/// `@`, so that a question mark before it belongs to the password.
fn split(url: &str) -> (&str, &str) {
    let login = url.find('@').map_or(0, |at| at + 1);
    match url[login..].find('?') {
        Some(at) => (&url[..login + at], &url[login + at + 1..]),
        None => (url, ""),
    }
}

/// Percent-decoding; what is no valid escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escape.unwrap_or(bytes[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Why the library does not take a URL; its causes name the parameter and not its value.
fn why(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error);
    let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
    format!("`url` is not the URL of a PostgreSQL database: {cause}")
}

impl Parameters {
    /// Takes a parameter that is read here; false for any other.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "sslmode" => self.mode = Some(ssl_mode(value)?),
            "sslrootcert" if value == "system" => {
                self.trust = Some(Trust::System);
                // As in libpq: this machine's authorities vouch for names, so names are looked at.
                self.mode.get_or_insert(SslMode::VerifyFull);
            }
            "sslrootcert" => self.trust = Some(Trust::File(PathBuf::from(value))),
            "target_session_attrs" => self.session = session(value)?,
            "connect_timeout" => {
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| "`connect_timeout` in `url` is not a number of seconds")?;
                // As in libpq, zero is no limit of the URL's.
                self.connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            // Ours says which run and step it is; the others say nothing to us.
            "application_name"
            | "fallback_application_name"
            | "gssencmode"
            | "sslcompression"
            | "sslsni"
            | "client_encoding" => {}
            "sslcert" | "sslkey" | "sslpassword" => {
                return Err(format!(
                    "`{key}` in `url`: certificates of clients are not supported"
                ));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn policy(&self, endpoint: &Endpoint) -> TlsPolicy {
        if matches!(endpoint, Endpoint::Unix(_)) {
            return TlsPolicy::Never;
        }
        let has_file = matches!(self.trust, Some(Trust::File(_)));
        match self.mode {
            // Away from this machine nobody else vouches for whom we talk to.
            None if endpoint.is_local() => TlsPolicy::Offered,
            None => TlsPolicy::Always(Verify::Full),
            Some(SslMode::Disable) => TlsPolicy::Never,
            Some(SslMode::Prefer) => TlsPolicy::Offered,
            // libpq, "sslmode": with a root certificate, `require` means `verify-ca`.
            Some(SslMode::Require) if has_file => TlsPolicy::Always(Verify::Authority),
            Some(SslMode::Require) => TlsPolicy::Always(Verify::Nothing),
            Some(SslMode::VerifyCa) => TlsPolicy::Always(Verify::Authority),
            Some(SslMode::VerifyFull) => TlsPolicy::Always(Verify::Full),
        }
    }
}

fn ssl_mode(value: &str) -> Result<SslMode, String> {
    Ok(match value {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        other => {
            return Err(format!(
                "`sslmode={other}` in `url`: write `disable`, `prefer`, `require`, `verify-ca` or \
                 `verify-full`"
            ));
        }
    })
}

fn session(value: &str) -> Result<Session, String> {
    Ok(match value {
        "any" => Session::Any,
        "read-write" => Session::ReadWrite,
        "read-only" => Session::ReadOnly,
        "primary" => Session::Primary,
        "standby" => Session::Standby,
        other => {
            return Err(format!(
                "`target_session_attrs={other}` in `url`: write `any`, `read-write`, `read-only`, \
                 `primary` or `standby`"
            ));
        }
    })
}

/// The hosts, each with its port: one port may stand for all of them.
fn hosts(login: &tokio_postgres::Config, ours: &Parameters) -> Result<Vec<Host>, String> {
    let ports = login.get_ports();
    let port = |at: usize| match ports {
        [] => PORT,
        [only] => *only,
        many => many.get(at).copied().unwrap_or(PORT),
    };
    let addresses = login.get_hostaddrs();
    let names = login.get_hosts();
    if !addresses.is_empty() && !names.is_empty() && addresses.len() != names.len() {
        return Err("`url` has as many `hostaddr` as hosts, or none".to_owned());
    }
    let count = names.len().max(addresses.len());
    let mut hosts = Vec::with_capacity(count);
    for at in 0..count {
        let name = match names.get(at) {
            Some(PgHost::Unix(folder)) => {
                hosts.push(socket(folder.clone(), port(at)));
                continue;
            }
            Some(PgHost::Tcp(name)) => Some(name.clone()),
            None => None,
        };
        let address = addresses.get(at).map(ToString::to_string);
        let Some(host) = address.or_else(|| name.clone()) else {
            continue;
        };
        if host.contains('@') {
            return Err(
                "`url` has more than one `@`: one in the user or password is written `%40`"
                    .to_owned(),
            );
        }
        let endpoint = Endpoint::Tcp {
            host: host.clone(),
            port: port(at),
        };
        hosts.push(Host {
            tls: ours.policy(&endpoint),
            name: name.unwrap_or(host),
            endpoint,
        });
    }
    if hosts.is_empty() {
        hosts.push(socket(SOCKET_FOLDER.into(), port(0)));
    }
    Ok(hosts)
}

fn socket(folder: PathBuf, port: u16) -> Host {
    Host {
        endpoint: Endpoint::Unix(folder.join(format!(".s.PGSQL.{port}"))),
        name: "localhost".to_owned(),
        tls: TlsPolicy::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::{Session, Target, TlsPolicy};
    use crate::host::net::Endpoint;
    use crate::host::tls::{Trust, Verify};

    fn parse(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    fn tls(url: &str) -> TlsPolicy {
        parse(url).hosts[0].tls
    }

    #[test]
    fn reads_what_libpq_reads() {
        let target = parse("postgresql://app:p%40ss%3Aw%2Frd%3F@db.example.org:5433/shop");
        assert_eq!((target.user(), target.database()), ("app", "shop"));
        assert_eq!(target.login.get_password(), Some(&b"p@ss:w/rd?"[..]));
        assert_eq!(
            target.shown(&target.hosts[0]),
            "shop at db.example.org:5433 as app"
        );
        let target = parse("postgres://app@[::1]/");
        assert_eq!(target.hosts[0].endpoint.to_string(), "[::1]:5432");
        assert_eq!(target.database(), "app");
        let target = parse("postgres://u:a?b@h/d?connect_timeout=3&application_name=x");
        assert_eq!(target.login.get_password(), Some(&b"a?b"[..]));
        assert_eq!(target.connect_timeout.unwrap().to_string(), "3s");
    }

    #[test]
    fn reads_sockets() {
        let path = |url: &str| match &parse(url).hosts[0].endpoint {
            Endpoint::Unix(path) => path.display().to_string(),
            other => other.to_string(),
        };
        let expected = "/run/pg/.s.PGSQL.5433";
        assert_eq!(path("postgres://app@%2Frun%2Fpg:5433/shop"), expected);
        assert_eq!(path("postgres:///shop?host=/run/pg&port=5433"), expected);
        assert_eq!(
            path("postgres:///shop"),
            "/var/run/postgresql/.s.PGSQL.5432"
        );
        assert_eq!(
            tls("postgres:///shop?sslmode=verify-full"),
            TlsPolicy::Never
        );
    }

    #[test]
    fn verifies_away_from_this_machine() {
        use TlsPolicy::{Always, Never, Offered};
        for (url, expected) in [
            ("postgres://h/d", Always(Verify::Full)),
            ("postgres://127.0.0.1/d", Offered),
            ("postgres://localhost/d", Offered),
            ("postgres://h/d?sslmode=disable", Never),
            ("postgres://h/d?sslmode=prefer", Offered),
            ("postgres://h/d?sslmode=require", Always(Verify::Nothing)),
            (
                "postgres://h/d?sslmode=require&sslrootcert=/ca.pem",
                Always(Verify::Authority),
            ),
            (
                "postgres://h/d?sslmode=verify-ca",
                Always(Verify::Authority),
            ),
            (
                "postgres://127.0.0.1/d?sslmode=verify-full",
                Always(Verify::Full),
            ),
            (
                "postgres://127.0.0.1/d?sslrootcert=system",
                Always(Verify::Full),
            ),
        ] {
            assert_eq!(tls(url), expected, "{url}");
        }
        let target = parse("postgres://h/d?sslrootcert=%2Fetc%2Fmy%20ca.pem");
        assert_eq!(target.trust, Trust::File("/etc/my ca.pem".into()));
    }

    #[test]
    fn reads_several_hosts() {
        let target = parse("postgres://a,b:5433/d?target_session_attrs=read-write");
        let shown: Vec<String> = target
            .hosts
            .iter()
            .map(|h| h.endpoint.to_string())
            .collect();
        assert_eq!(shown, ["a:5432", "b:5433"]);
        assert_eq!(target.session, Session::ReadWrite);
        let target = parse("postgres://db/d?hostaddr=10.0.0.7");
        assert_eq!(target.hosts[0].endpoint.to_string(), "10.0.0.7:5432");
        assert_eq!(target.hosts[0].name, "db");
    }

    #[test]
    fn never_repeats_a_password() {
        for wrong in [
            "hunter2",
            "host=h password=hunter2",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://u:p@hunter2@h/d",
            "postgres://u:hunter2@h/d?sslmode=maybe",
            "postgres://u:hunter2@h/d?sslcert=x",
            "postgres://u:hunter2@h/d?password=hunter2&nonsense=1",
            "postgres://u:hunter2@h/d?target_session_attrs=x",
            "postgres://u:hunter2@h/d?connect_timeout=x",
            "postgres://u:hunter2@[::1/d",
            "postgres://u:hunter2@h/%ff",
            "",
        ] {
            let error = Target::parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

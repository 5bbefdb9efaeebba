//! Sockets: names to addresses, connections, each within a deadline.
//!
//! Protocols are spoken elsewhere (`http`, `connect/`, `systemd`); what they say on top of a
//! connection is bounded by [`Scope::within`] too.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Scope;
use super::reach::{Obstacle, ReachError};
use crate::base::{Deadline, Duration, EndReason};

/// A length of time that has begun to run.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    limit: Duration,
    deadline: Deadline,
    heeds_end: bool,
}

impl Allowance {
    /// The same for what is part of the ending itself, such as a cancel request: it goes on when
    /// the attempt has been told to end.
    pub fn despite_end(self) -> Self {
        Self {
            heeds_end: false,
            ..self
        }
    }

    /// One of `parts` equal shares of what is left.
    pub fn share(self, scope: &Scope, parts: usize) -> Self {
        if parts <= 1 {
            return self;
        }
        let left = self.left(scope).as_std();
        let share = left / u32::try_from(parts).unwrap_or(u32::MAX);
        self.with(scope.allow(share.into()))
    }

    /// The same, but no more than `limit` from now.
    pub fn at_most(self, scope: &Scope, limit: Duration) -> Self {
        if self.left(scope) <= limit {
            self
        } else {
            self.with(scope.allow(limit))
        }
    }

    /// `other`, which ends as this one does.
    fn with(self, other: Self) -> Self {
        Self {
            heeds_end: self.heeds_end,
            ..other
        }
    }

    /// What is left of it.
    pub fn left(self, scope: &Scope) -> Duration {
        self.deadline.left(scope.clock()).unwrap_or(self.limit)
    }
}

/// Why waiting ended before what was waited for had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// This much time had been allowed, and it had passed.
    Late(Duration),
    /// The attempt was told to end.
    Told(EndReason),
}

impl Scope {
    /// Begins to count `limit`.
    pub fn allow(&self, limit: Duration) -> Allowance {
        Allowance {
            limit,
            deadline: self.clock().deadline_in(limit),
            heeds_end: true,
        }
    }

    /// As long as the attempt itself may take: it is told to end when its time is up.
    pub fn allow_all(&self) -> Allowance {
        self.allow(Duration::from_secs(20 * 24 * 60 * 60))
    }

    /// `future`'s value, unless `allowance` runs out or the attempt is told to end before it is
    /// there.
    ///
    /// # Errors
    /// Which of the two it was.
    pub async fn within<F: Future>(
        &self,
        allowance: Allowance,
        future: F,
    ) -> Result<F::Output, Stopped> {
        tokio::select! {
            biased;
            value = future => Ok(value),
            reason = self.cancel.told(), if allowance.heeds_end => Err(Stopped::Told(reason)),
            () = self.clock().sleep_until(allowance.deadline) => {
                Err(Stopped::Late(allowance.limit))
            }
        }
    }
}

impl Stopped {
    /// As an error of `action`.
    pub fn error(self, action: impl Into<String>) -> ReachError {
        match self {
            Self::Late(limit) => {
                ReachError::new(Obstacle::NoAnswer, action, format!("no answer in {limit}"))
            }
            Self::Told(reason) => {
                let cause = match reason {
                    EndReason::Timeout => "the step's time was over",
                    EndReason::Cancelled => "the run was cancelled",
                };
                ReachError::new(Obstacle::Ended(reason), action, cause)
            }
        }
    }
}

/// A connection, of whatever kind.
pub trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin> Stream for T {}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A name or address, and a port.
    Tcp {
        /// The name or address; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Whether it is on this machine, as its name says: a Unix socket, a loopback address or
    /// `localhost`, which RFC 6761 keeps for it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(address) => address.is_loopback(),
                Err(_) => host.eq_ignore_ascii_case("localhost"),
            },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Whether `text` is an IP address, or a network of them: `10.0.0.0/8`.
pub fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

/// A connection to `endpoint`. Its addresses are tried in turn, each with its share of the time.
///
/// # Errors
/// Why there is none; of several addresses, what the most telling one said.
pub async fn dial(
    scope: &Scope,
    endpoint: &Endpoint,
    allowance: Allowance,
) -> Result<Box<dyn Stream>, ReachError> {
    let action = || format!("connect to {endpoint}");
    let (host, port) = match endpoint {
        Endpoint::Unix(path) => return dial_unix(scope, path, allowance, action()).await,
        Endpoint::Tcp { host, port } => (host, *port),
    };
    let addresses = scope
        .within(allowance, resolve(host, port))
        .await
        .map_err(|stopped| unresolved_in_time(stopped, host))??;
    let mut worst: Option<ReachError> = None;
    for (at, address) in addresses.iter().enumerate() {
        let turn = allowance.share(scope, addresses.len() - at);
        let error = match scope.within(turn, connect(*address)).await {
            Ok(Ok(stream)) => return Ok(Box::new(stream)),
            Ok(Err(error)) => ReachError::io(action(), &error),
            Err(stopped @ Stopped::Told(_)) => return Err(stopped.error(action())),
            Err(stopped @ Stopped::Late(_)) => stopped.error(action()),
        };
        // A machine without IPv6 says so for `::1`; what IPv4 said is what counts.
        let tells_more = |seen: &ReachError| {
            seen.obstacle == Obstacle::OurNetwork || error.obstacle != Obstacle::OurNetwork
        };
        if worst.as_ref().is_none_or(tells_more) {
            worst = Some(error);
        }
    }
    let nothing = || ReachError::new(Obstacle::Unresolved, action(), "its name has no address");
    Err(worst.unwrap_or_else(nothing))
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Questions are small, and answers are waited for.
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
async fn dial_unix(
    scope: &Scope,
    path: &std::path::Path,
    allowance: Allowance,
    action: String,
) -> Result<Box<dyn Stream>, ReachError> {
    match scope.within(allowance, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => {
            let mut reach = ReachError::io(action, &error);
            if error.kind() == std::io::ErrorKind::PermissionDenied {
                reach.obstacle = Obstacle::OurSide;
            }
            Err(reach)
        }
        Err(stopped) => Err(stopped.error(action)),
    }
}

/// The addresses of `host`, which may be one itself.
///
/// # Errors
/// When the name comes to none.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ReachError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    found.map(Iterator::collect).map_err(|error| {
        // getaddrinfo(3) through the standard library.
        let said = super::error::io_cause(&error);
        let prefix = "failed to lookup address information: ";
        let cause = said.strip_prefix(prefix).unwrap_or(&said).to_lowercase();
        ReachError::new(
            Obstacle::Unresolved,
            format!("find the address of {host}"),
            cause,
        )
        .with_help("look at the spelling of the name, and at /etc/resolv.conf and /etc/hosts")
    })
}

fn unresolved_in_time(stopped: Stopped, host: &str) -> ReachError {
    let mut error = stopped.error(format!("find the address of {host}"));
    if let Stopped::Late(limit) = stopped {
        error.obstacle = Obstacle::Unresolved;
        error.cause = format!("the name servers did not answer in {limit}");
    }
    error
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own server")]
mod tests {
    use super::{Endpoint, dial};
    use crate::base::{Duration, EndReason};
    use crate::host::reach::Obstacle;
    use crate::host::testing;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    async fn obstacle(endpoint: Endpoint) -> Obstacle {
        let test = testing::scope();
        let dialed = dial(
            &test.scope,
            &endpoint,
            test.scope.allow(Duration::from_secs(5)),
        )
        .await;
        dialed.err().unwrap().obstacle
    }

    #[tokio::test]
    async fn tells_why_there_is_no_connection() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        assert_eq!(obstacle(tcp("127.0.0.1", port)).await, Obstacle::Refused);
        assert_eq!(obstacle(tcp("localhost", port)).await, Obstacle::Refused);
        let unix = Endpoint::Unix("/nonexistent/socket".into());
        assert_eq!(obstacle(unix).await, Obstacle::Refused);
        // RFC 6761: `.invalid` never resolves.
        let unresolved = obstacle(tcp("nobody.invalid", 1)).await;
        assert_eq!(unresolved, Obstacle::Unresolved);
    }

    #[tokio::test]
    async fn ends_when_told() {
        let test = testing::scope();
        test.scope.cancel.end(EndReason::Cancelled);
        let pending = std::future::pending::<()>();
        let allowance = test.scope.allow(Duration::from_secs(60));
        let stopped = test.scope.within(allowance, pending).await.unwrap_err();
        let error = stopped.error("wait");
        assert_eq!(error.obstacle, Obstacle::Ended(EndReason::Cancelled));
    }

    #[test]
    fn knows_this_machine_by_name() {
        for (host, local) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.3.2.1", true),
            ("::1", true),
            ("10.0.0.1", false),
            ("localhost.example.org", false),
        ] {
            assert_eq!(tcp(host, 1).is_local(), local, "{host}");
        }
        assert_eq!(tcp("::1", 5432).to_string(), "[::1]:5432");
    }
}

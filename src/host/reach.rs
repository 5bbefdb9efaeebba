//! What keeps us from talking to a server: one list for every protocol, so that checks judge alike.
//!
//! What an obstacle weighs is not decided here but in `steps::reach`.

use std::io;

use super::{HostError, HostErrorKind};
use crate::base::EndReason;

/// What keeps us from talking to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its name came to no address.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// No way leads to its address.
    NoRoute,
    /// It did not answer in time.
    NoAnswer,
    /// It ended the connection before it had answered.
    HungUp,
    /// Its certificate is not to be trusted, or it speaks no TLS that we speak.
    Tls,
    /// What it says is not the protocol.
    Garbled,
    /// It answers, and turns this login away.
    Denied,
    /// It answers, and does not let this login ask for this.
    Forbidden,
    /// It answers, and says that it cannot serve now: starting, loading, full.
    NotReady,
    /// It answers, and has no connection left for this login.
    Exhausted,
    /// It answers, and others hold what was asked for, or have changed it meanwhile: it may be asked again.
    Locked,
    /// It answers, and rejects what was asked.
    Rejected,
    /// It was told to do something, and nobody knows whether it did.
    InDoubt,
    /// Our own network does not work.
    OurNetwork,
    /// Something on our side is wrong: a declaration, a file, the limit of open files.
    OurSide,
    /// We were told to end.
    Ended(EndReason),
}

impl Obstacle {
    /// Its name in what a step puts out.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unresolved => "unresolved",
            Self::Refused => "refused",
            Self::NoRoute => "no_route",
            Self::NoAnswer => "no_answer",
            Self::HungUp => "hung_up",
            Self::Tls => "tls",
            Self::Garbled => "garbled",
            Self::Denied => "denied",
            Self::Forbidden => "forbidden",
            Self::NotReady => "not_ready",
            Self::Exhausted => "exhausted",
            Self::Locked => "locked",
            Self::Rejected => "rejected",
            Self::InDoubt => "in_doubt",
            Self::OurNetwork => "our_network",
            Self::OurSide => "our_side",
            Self::Ended(_) => "ended",
        }
    }
}

/// A server that could not be talked to: what was attempted, on what, what happened, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not {action}: {cause}")]
pub struct ReachError {
    /// What was in the way.
    pub obstacle: Obstacle,
    /// What was attempted, as it follows "could not": "connect to 127.0.0.1:5432". Never holds a
    /// password.
    pub action: String,
    /// What happened.
    pub cause: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl ReachError {
    /// An error.
    pub fn new(obstacle: Obstacle, action: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            obstacle,
            action: action.into(),
            cause: cause.into(),
            help: None,
        }
    }

    /// An error of the system on a connection.
    pub fn io(action: impl Into<String>, error: &io::Error) -> Self {
        Self::new(obstacle_of(error), action, cause_of(error))
    }

    /// Says what to do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<ReachError> for HostError {
    fn from(error: ReachError) -> Self {
        let kind = match error.obstacle {
            Obstacle::Unresolved
            | Obstacle::Refused
            | Obstacle::NoRoute
            | Obstacle::NoAnswer
            | Obstacle::HungUp
            | Obstacle::NotReady
            | Obstacle::Exhausted
            | Obstacle::Locked
            | Obstacle::OurNetwork => HostErrorKind::Transient,
            Obstacle::InDoubt => HostErrorKind::InDoubt,
            Obstacle::Tls
            | Obstacle::Garbled
            | Obstacle::Denied
            | Obstacle::Forbidden
            | Obstacle::Rejected
            | Obstacle::OurSide => HostErrorKind::Permanent,
            Obstacle::Ended(EndReason::Timeout) => HostErrorKind::TimedOut,
            Obstacle::Ended(EndReason::Cancelled) => HostErrorKind::Cancelled,
        };
        Self {
            kind,
            action: error.action,
            cause: error.cause,
            help: error.help,
            untouched: false,
        }
    }
}

/// What an error of the system means for a connection: connect(2), tcp(7), unix(7).
fn obstacle_of(error: &io::Error) -> Obstacle {
    use io::ErrorKind as K;
    match error.kind() {
        // NotFound is a Unix socket that nobody has made.
        K::ConnectionRefused | K::NotFound => Obstacle::Refused,
        K::ConnectionReset
        | K::ConnectionAborted
        | K::BrokenPipe
        | K::NotConnected
        | K::UnexpectedEof
        | K::WriteZero => Obstacle::HungUp,
        K::TimedOut => Obstacle::NoAnswer,
        K::HostUnreachable => Obstacle::NoRoute,
        // A Unix socket whose queue of waiting connections is full.
        K::WouldBlock => Obstacle::NotReady,
        // PermissionDenied on TCP is a packet filter of this machine.
        K::NetworkUnreachable | K::NetworkDown | K::AddrNotAvailable | K::PermissionDenied => {
            Obstacle::OurNetwork
        }
        K::InvalidData => Obstacle::Garbled,
        _ => Obstacle::OurSide,
    }
}

/// What an error of the system means, for people.
fn cause_of(error: &io::Error) -> String {
    let said = super::error::io_cause(error);
    match obstacle_of(error) {
        Obstacle::Refused if error.kind() == io::ErrorKind::NotFound => {
            "there is no such socket".to_owned()
        }
        Obstacle::Refused => "nobody listens there (connection refused)".to_owned(),
        Obstacle::HungUp => "the server closed the connection".to_owned(),
        Obstacle::NoRoute => format!("no way leads there ({said})"),
        Obstacle::NotReady => "its queue of waiting connections is full".to_owned(),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::{Obstacle, ReachError};
    use std::io;

    #[test]
    fn tells_their_faults_from_ours() {
        let table = [
            (io::ErrorKind::ConnectionRefused, Obstacle::Refused),
            (io::ErrorKind::ConnectionReset, Obstacle::HungUp),
            (io::ErrorKind::UnexpectedEof, Obstacle::HungUp),
            (io::ErrorKind::NetworkUnreachable, Obstacle::OurNetwork),
            (io::ErrorKind::HostUnreachable, Obstacle::NoRoute),
            (io::ErrorKind::TimedOut, Obstacle::NoAnswer),
            (io::ErrorKind::OutOfMemory, Obstacle::OurSide),
        ];
        for (kind, obstacle) in table {
            let error = ReachError::io("connect", &io::Error::from(kind));
            assert_eq!(error.obstacle, obstacle, "{kind:?}");
        }
    }
}

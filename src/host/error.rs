//! What can go wrong at the door.

/// Whether trying again could help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostErrorKind {
    /// It may pass: a refused or reset connection, a resource that is busy.
    Transient,
    /// It will be the same next time.
    Permanent,
    /// The deadline of the step or of the attempt passed.
    TimedOut,
    /// The run was cancelled.
    Cancelled,
    /// Our own record could not be written: nothing more may happen.
    Audit,
    /// Nobody knows whether it happened.
    InDoubt,
}

/// What was attempted, on what, what happened, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not {action}: {cause}")]
pub struct HostError {
    /// Whether trying again could help.
    pub kind: HostErrorKind,
    /// What was attempted, as it follows "could not": "read /etc/shadow".
    pub action: String,
    /// What happened.
    pub cause: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether it is known that nothing was touched yet.
    pub untouched: bool,
}

impl HostError {
    /// An error of `kind`.
    pub fn new(kind: HostErrorKind, action: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            kind,
            action: action.into(),
            cause: cause.into(),
            help: None,
            untouched: false,
        }
    }

    /// One that will be the same next time.
    pub fn permanent(action: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::new(HostErrorKind::Permanent, action, cause)
    }

    /// One that may pass.
    pub fn transient(action: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::new(HostErrorKind::Transient, action, cause)
    }

    /// An error of the system; what may pass is told from what will not by its kind.
    pub fn io(action: impl Into<String>, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let kind = match error.kind() {
            K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::NotConnected
            | K::BrokenPipe
            | K::Interrupted
            | K::WouldBlock
            | K::TimedOut
            | K::ResourceBusy
            | K::UnexpectedEof
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::AddrNotAvailable => HostErrorKind::Transient,
            _ => HostErrorKind::Permanent,
        };
        Self::new(kind, action, io_cause(error))
    }

    /// It came before anything was touched.
    pub fn before_a_touch(mut self) -> Self {
        self.untouched = true;
        self
    }

    /// Says what to do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What the system said, as people say it: without "(os error 2)".
pub fn io_cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

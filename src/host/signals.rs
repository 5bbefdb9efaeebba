//! Signals that tell the engine to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::HostError;

/// A signal that tells the engine to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndSignal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`, `systemctl stop`.
    Terminate,
    /// The terminal is gone.
    Hangup,
    /// No signal: `runbook cancel`.
    Asked,
}

impl EndSignal {
    /// `SIGINT`, `SIGTERM`, `SIGHUP`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Asked => "runbook cancel",
        }
    }

    /// The exit status of a run that it ended: 128 and its number. What has none counts as SIGTERM.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate | Self::Hangup | Self::Asked => 143,
        }
    }
}

/// Listens to the signals that tell the engine to end.
#[derive(Debug)]
pub struct Signals(Option<Listening>);

#[derive(Debug)]
struct Listening {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on: the process no longer ends by itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self, HostError> {
        let listen = |kind| signal(kind).map_err(|e| HostError::io("listen to signals", &e));
        Ok(Self(Some(Listening {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })))
    }

    /// Listens to none: they end the process by themselves.
    pub fn none() -> Self {
        Self(None)
    }

    /// The next one.
    pub async fn next(&mut self) -> EndSignal {
        let Some(listening) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = listening.interrupt.recv() => EndSignal::Interrupt,
            _ = listening.terminate.recv() => EndSignal::Terminate,
            _ = listening.hangup.recv() => EndSignal::Hangup,
        }
    }
}

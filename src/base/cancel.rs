//! Telling work to end: first politely, then at once.

use std::sync::Arc;

use tokio::sync::watch;

/// Why something is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Its deadline passed.
    Timeout,
    /// The run was cancelled.
    Cancelled,
}

/// How far along the ending is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ending {
    /// Go on.
    #[default]
    None,
    /// End politely: finish what is cheap to finish, ask processes with SIGTERM.
    Polite(EndReason),
    /// End now: SIGKILL.
    Now(EndReason),
}

impl Ending {
    /// Why, if at all.
    pub fn reason(self) -> Option<EndReason> {
        match self {
            Self::None => None,
            Self::Polite(reason) | Self::Now(reason) => Some(reason),
        }
    }
}

/// A handle on one piece of work, to tell it to end and to ask whether it was told.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<watch::Sender<Ending>>);

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// Nothing said yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Ending::None)))
    }

    /// What has been said.
    pub fn state(&self) -> Ending {
        *self.0.borrow()
    }

    /// Says "end politely"; the first reason stays.
    pub fn end(&self, reason: EndReason) {
        self.0.send_if_modified(|ending| {
            let first = *ending == Ending::None;
            if first {
                *ending = Ending::Polite(reason);
            }
            first
        });
    }

    /// Says "end now"; the first reason stays.
    pub fn end_now(&self, reason: EndReason) {
        self.0.send_if_modified(|ending| {
            let reason = ending.reason().unwrap_or(reason);
            let changed = !matches!(ending, Ending::Now(_));
            *ending = Ending::Now(reason);
            changed
        });
    }

    /// Waits until it is told to end, politely or at once.
    pub async fn told(&self) -> EndReason {
        loop {
            let mut receiver = self.0.subscribe();
            let seen = receiver.borrow_and_update().reason();
            if let Some(reason) = seen {
                return reason;
            }
            // The sender lives as long as `self`, so that a change is all that can come.
            let _ = receiver.changed().await;
        }
    }

    /// Waits until it is told to end at once.
    pub async fn told_now(&self) {
        loop {
            let mut receiver = self.0.subscribe();
            let seen = *receiver.borrow_and_update();
            if matches!(seen, Ending::Now(_)) {
                return;
            }
            let _ = receiver.changed().await;
        }
    }
}

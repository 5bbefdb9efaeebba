//! Which database (or whatever else has a name and an identity) a run is about to change: told to the
//! engine, which records it and knows whether it is the one that was expected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::HostError;

/// What a named connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind of the connection.
    pub kind: &'static str,
    /// Its name.
    pub connection: String,
    /// What tells it from others.
    pub identity: Value,
}

/// What is about to be changed. Nothing is, until the answer has come; an error says why it must not.
pub type Asked = (Target, oneshot::Sender<Result<(), HostError>>);

/// The way to the engine.
#[derive(Clone, Debug)]
pub struct Targets {
    asks: mpsc::UnboundedSender<Asked>,
    seen: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Targets {
    /// A way to whoever listens at the other end.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Asked>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let seen = Arc::default();
        (Self { asks, seen }, asked)
    }

    /// A way to nobody: then nothing can be changed.
    pub fn nobody() -> Self {
        Self::new().0
    }

    /// Says what a preview looked at.
    pub fn see(&self, connection: &str, identity: &impl Serialize) {
        if let Ok(identity) = serde_json::to_value(identity) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(connection.to_owned(), identity);
        }
    }

    /// What previews have looked at, by connection.
    pub fn seen(&self) -> BTreeMap<String, Value> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// Says what is about to be changed, and waits until that is recorded.
    ///
    /// # Errors
    /// When it is not the one that is expected, or cannot be recorded.
    pub async fn confirm(
        &self,
        kind: &'static str,
        connection: &str,
        identity: &impl Serialize,
    ) -> Result<(), HostError> {
        let action = || format!("record what `{connection}` is before it is changed");
        let nobody = || HostError::permanent(action(), "nobody records it");
        let target = target(kind, connection, identity).ok_or_else(nobody)?;
        let (answer, answered) = oneshot::channel();
        self.asks.send((target, answer)).map_err(|_| nobody())?;
        answered.await.map_err(|_| nobody())?
    }
}

fn target(kind: &'static str, connection: &str, identity: &impl Serialize) -> Option<Target> {
    Some(Target {
        kind,
        connection: connection.to_owned(),
        identity: serde_json::to_value(identity).ok()?,
    })
}

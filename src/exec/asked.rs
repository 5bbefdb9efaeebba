//! What people ask of a run from elsewhere while it runs: to end.

use serde::{Deserialize, Serialize};

use super::scheduler::Engine;

/// What such statements are called.
pub const CANCEL: &str = "cancel";

/// Somebody asks a run to end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cancellation {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Engine<'_> {
    /// Waits until somebody asks the run to end, and says who and why.
    pub(super) async fn asked_to_end(&self) -> String {
        let folder = self.shared.folder.path();
        let statement = self.outside.asked_to_end(&self.clock, folder).await;
        self.forget_cancel();
        let reason = statement.said.reason.map(|reason| format!(": {reason}"));
        format!("{}{}", statement.user, reason.unwrap_or_default())
    }

    /// What was asked of an earlier part of the run, or was acted on, is over.
    pub(super) fn forget_cancel(&self) {
        self.outside.forget_cancel(self.shared.folder.path());
    }
}

//! What people ask of a run from elsewhere while it runs: to end.

use serde::{Deserialize, Serialize};

use super::scheduler::Engine;
use crate::base::Duration;
use crate::host::inbox;

/// What such statements are called.
pub const CANCEL: &str = "cancel";

/// How often it is looked whether somebody asks for something.
const POLL: Duration = Duration::from_millis(500);

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
        loop {
            self.clock.sleep(POLL).await;
            let said = inbox::heard::<Cancellation>(self.shared.folder.path(), CANCEL);
            let said = said.unwrap_or_default().into_iter().flatten().next();
            if let Some(statement) = said {
                self.forget_cancel();
                let reason = statement.said.reason.map(|reason| format!(": {reason}"));
                return format!("{}{}", statement.user, reason.unwrap_or_default());
            }
        }
    }
    /// What was asked of an earlier part of the run, or was acted on, is over.
    pub(super) fn forget_cancel(&self) {
        // At worst it is acted on again.
        let _ = inbox::forget(self.shared.folder.path(), CANCEL);
    }
}

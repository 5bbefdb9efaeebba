//! Secrets, taken out of what a plan shows.

use serde_json::Value;

use super::scheduler::Engine;
use crate::plan::{Decision, Described};
use crate::step::Preview;

impl Engine<'_> {
    pub(super) fn redact(&self, text: &str) -> String {
        self.shared.redactor.text(text).into_owned()
    }

    pub(super) fn redact_description(&self, described: &mut Described) {
        described.name = described.name.as_ref().map(|name| self.redact(name));
        let description = &mut described.description;
        description.summary = self.redact(&description.summary);
        for detail in &mut description.details {
            *detail = self.redact(detail);
        }
        match &mut described.decision {
            Decision::Run => {}
            Decision::MayRun { because: text }
            | Decision::Skip { reason: text }
            | Decision::Fail { error: text } => *text = self.redact(text),
        }
    }

    pub(super) fn redacted(&self, mut preview: Preview) -> Preview {
        match &mut preview {
            Preview::NoChange | Preview::Opaque => {}
            Preview::Unknown { because } => *because = self.redact(because),
            Preview::Change(change) => {
                change.summary = self.redact(&change.summary);
                let counts = std::mem::take(&mut change.counts);
                let mut counts = Value::Object(counts);
                self.shared.redactor.value(&mut counts);
                if let Value::Object(counts) = counts {
                    change.counts = counts;
                }
                for item in &mut change.items {
                    *item = self.redact(item);
                }
                for note in &mut change.notes {
                    *note = self.redact(note);
                }
                change.diff = change.diff.as_ref().map(|diff| self.redact(diff));
            }
        }
        preview
    }
}

//! What a run is about to change: recorded before it does so for the first time, and compared with what
//! was expected: what an earlier part of the run has changed, and what its plan has looked at.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scheduler::Engine;
use crate::event::{Event, JournalError, TargetIdentify};
use crate::host::HostError;
use crate::host::targets::Target;

impl Engine<'_> {
    /// Answers those who are about to change something, for ever.
    pub(super) async fn answer_targets(&self) -> Result<(), JournalError> {
        let next = || std::future::poll_fn(|cx| self.asked.borrow_mut().poll_recv(cx));
        while let Some((target, answer)) = next().await {
            let told = match self.expects(&target) {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let identify = TargetIdentify {
                        connection: target.connection.clone(),
                        kind: target.kind.to_owned(),
                        identity: target.identity.clone(),
                    };
                    let recorder = &self.recorder;
                    recorder.record(None, None, Event::TargetIdentify(identify))?;
                    recorder.sync().await?;
                    let mut known = self.targets.borrow_mut();
                    known.insert(target.connection, target.identity);
                    Ok(())
                }
                Err(error) => {
                    self.verdict.borrow_mut().denied();
                    Err(error)
                }
            };
            // Who has gone meanwhile changes nothing.
            let _ = answer.send(told);
        }
        std::future::pending().await
    }

    /// What previews have looked at, by connection.
    pub(super) fn seen(&self) -> BTreeMap<String, Value> {
        let mut seen = self.shared.targets.seen();
        seen.values_mut()
            .for_each(|identity| self.shared.redactor.value(identity));
        seen
    }

    /// What the connection of a configuration leads to, where a preview has looked.
    pub(super) fn target_of(&self, config: &Value) -> Option<Value> {
        let name = config.get("connection")?.as_str()?;
        self.seen().remove(name)
    }

    /// Whether it is what was recorded before; an error where it is something else.
    fn expects(&self, target: &Target) -> Result<bool, HostError> {
        let mut now = target.identity.clone();
        self.shared.redactor.value(&mut now);
        let name = &target.connection;
        let other = |then: &Value, who: &str| {
            let cause = format!("it is {}, and {who} {}", shown(&now), shown(then));
            Err(
                HostError::permanent(format!("change something at `{name}`"), cause)
                    .with_help("find out why the connection leads elsewhere, then begin anew"),
            )
        };
        let planned = self.plan.as_ref().and_then(|plan| plan.targets.get(name));
        if let Some(planned) = planned.filter(|planned| **planned != now) {
            return other(planned, "what was planned for is");
        }
        match self.targets.borrow().get(name) {
            None => Ok(false),
            Some(known) => {
                let mut known = known.clone();
                self.shared.redactor.value(&mut known);
                if known == now {
                    return Ok(true);
                }
                other(&known, "what this run has changed so far is")
            }
        }
    }
}

/// `system_identifier 7, database shop, standby false`.
fn shown(identity: &Value) -> String {
    let Some(fields) = identity.as_object() else {
        return identity.to_string();
    };
    let field = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    };
    fields.iter().map(field).collect::<Vec<_>>().join(", ")
}

//! Asking a step's `verify:` whether the step has happened.

use super::attempt::Work;
use super::leaf::condition;
use super::scheduler::Engine;
use crate::base::{Duration, StepPath};
use crate::compile::Local;
use crate::event::{EffectClass, Event, JournalError, Level, Section, StepVerify};
use crate::expr::from_json;
use crate::host::Part;
use crate::model::Verify;
use crate::step::{Partial, StepError, StepErrorKind};

/// How long a probe may take.
const PROBE_TIME: Duration = Duration::from_secs(60);

impl Engine<'_> {
    /// Whether the step at `path` has happened; `Err` within: why that cannot be found out.
    pub(super) async fn probe(
        &self,
        verify: &Verify,
        section: Section,
        path: &StepPath,
        attempt: u32,
        local: &Local<'_>,
    ) -> Result<Result<bool, String>, JournalError> {
        let ty = verify.probe.ty;
        let mut record = StepVerify {
            ty: ty.name().to_owned(),
            config: serde_json::Value::Null,
            outputs: serde_json::Value::Null,
            happened: None,
            error: None,
        };
        let answer = self
            .look_whether(verify, section, path, attempt, local, &mut record)
            .await;
        match &answer {
            Ok(happened) => record.happened = Some(*happened),
            Err(error) => record.error = Some(error.clone()),
        }
        self.recorder
            .record(Some(path), Some(attempt), Event::StepVerify(record))?;
        Ok(answer)
    }

    async fn look_whether(
        &self,
        verify: &Verify,
        section: Section,
        path: &StepPath,
        attempt: u32,
        local: &Local<'_>,
        record: &mut StepVerify,
    ) -> Result<bool, String> {
        let probe = &verify.probe;
        let config = match probe.config.eval(local) {
            Ok(Partial::Known(config)) => config,
            Ok(partial) => {
                let why = partial.why_unknown().unwrap_or_default();
                return Err(format!(
                    "the configuration of its `verify` is not known: {why}"
                ));
            }
            Err(error) => {
                return Err(format!(
                    "the configuration of its `verify` has no value: {error}"
                ));
            }
        };
        record.config = config.clone();
        // A generic type in a `verify` is declared by its author to change nothing.
        let work = Work {
            ty: probe.ty,
            effect: EffectClass::Read,
            section,
            part: Part::Verify,
            lock: None,
        };
        let deadline = self.clock.deadline_in(PROBE_TIME);
        let end = self.attempt(work, path, attempt, config, deadline).await;
        let (status, outputs, findings) = match end.result {
            Ok(outcome) => ("succeeded", outcome.outputs, outcome.findings),
            // A command that ends with another status than 0 has looked all the same; one that was
            // killed, or did not start, has not.
            Err(StepError {
                kind: StepErrorKind::Opaque,
                outputs: Some(outputs),
                findings,
                ..
            }) if !outputs["exit_code"].is_null() => ("failed", outputs, findings),
            Err(error) => return Err(format!("its `verify` could not look: {error}")),
        };
        if let Some(blind) = findings.iter().find(|found| found.level == Level::Unknown) {
            let (subject, message) = (&blind.subject, &blind.message);
            return Err(format!("its `verify` could not look: {subject}: {message}"));
        }
        record.outputs = outputs.clone();
        let value = serde_json::json!({
            "status": status,
            "outputs": outputs,
            "findings": findings,
        });
        let scope = local.clone().with_probe(from_json(value));
        condition(&verify.expect, &scope)
            .map_err(|error| format!("the `expect` of its `verify` has no value: {error}"))
    }
}

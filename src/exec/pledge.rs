//! Whether a step does what a saved plan, or whoever agreed to it, has seen.

use serde_json::{Value, json};

use super::attempt::Work;
use super::plan::LOOK_TIME;
use super::scheduler::Engine;
use crate::base::StepPath;
use crate::event::EffectClass;
use crate::host::Part;
use crate::model::Step;
use crate::plan::Seen;
use crate::step::Preview;

impl Engine<'_> {
    /// Why a step or item is not what the plan that is to be kept to says, if that is so.
    pub(super) async fn breaks_plan(
        &self,
        at: usize,
        path: &StepPath,
        config: &Value,
    ) -> Option<String> {
        let pledge = self.plan.as_ref()?;
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        if node.effect == EffectClass::Read {
            return None;
        }
        // Of a step whose list was not known, the plan has the step alone.
        let whole = StepPath::step(path.step.clone()).to_string();
        let planned = pledge
            .steps
            .get(&path.to_string())
            .or(pledge.steps.get(&whole));
        // It was told as not known yet, and whoever saved the plan has seen that.
        if planned == Some(&None) {
            return None;
        }
        let work = Work {
            ty: step.ty,
            effect: EffectClass::Read,
            section: node.section,
            part: Part::Preview,
            lock: None,
        };
        let preview = match self.preview_of(work, path, config.clone(), LOOK_TIME).await {
            Ok(preview) => preview,
            Err(error) => {
                return Some(format!(
                    "it cannot be compared with what was planned: {error}"
                ));
            }
        };
        match planned {
            // What has nothing to do is not in a plan.
            None if preview == Preview::NoChange => None,
            None => Some("it would change something, and was not planned".to_owned()),
            Some(digest) if *digest == self.step_digest(step, path, config, &preview) => None,
            Some(_) => {
                let now = Seen::of(&self.redacted(preview));
                let what = pledge.otherwise(&path.to_string(), now.as_ref());
                Some(format!("it would do something else than was planned{what}"))
            }
        }
    }

    /// A keyed digest of what a step would do; nothing where its preview cannot tell.
    pub(super) fn step_digest(
        &self,
        step: &Step,
        path: &StepPath,
        config: &Value,
        preview: &Preview,
    ) -> Option<String> {
        if matches!(preview, Preview::Unknown { .. }) {
            return None;
        }
        let mut preview = preview.clone();
        if let Preview::Change(change) = &mut preview {
            change.notes.clear();
        }
        let does = json!({
            "path": path.to_string(),
            "type": step.ty.name(),
            "config": config,
            "preview": preview,
            "target": self.target_of(config),
        });
        let redactor = &self.shared.redactor;
        Some(redactor.keyed_digest(does.to_string().as_bytes()))
    }
}

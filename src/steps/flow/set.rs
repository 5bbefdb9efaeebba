//! `flow.set`: names for values that later steps use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::{EffectClass, RepeatClass};
use crate::host::Observe;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Set;

/// Keeps values under names, for later steps and for the record.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: greet
/// params:
///   who: { type: string, default: world }
/// steps:
///   - id: greeting
///     flow.set: { values: { text: "Hello, ${{ params.who }}" } }
///   - id: check
///     flow.assert: { that: ["'Hello' in steps.greeting.outputs.values.text"] }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names and values, of any type.
    pub values: Map<String, Value>,
}

/// What was kept.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The names and values.
    pub values: Map<String, Value>,
}

impl StepType for Set {
    const NAME: &'static str = "flow.set";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    const PURE: bool = true;
    type Config = Config;
    type Outputs = Outputs;

    fn describe(config: &Partial) -> Description {
        Description::line(format!("set {}", config.text("values").unwrap_or_default()))
    }
}

impl Look for Set {
    async fn look(config: Config, _: &Observe) -> Result<Outcome<Outputs>, StepError> {
        Ok(Outcome::unchanged(Outputs {
            values: config.values,
        }))
    }
}

//! `flow.assert`: the run goes on only if all of this is true.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::count::plural;
use crate::base::field::Evaluated;
use crate::event::{EffectClass, RepeatClass};
use crate::host::Observe;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Assert;

/// Fails unless all of its expressions are true.
///
/// The error names each expression that is not, with the values that it was made of.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: enough-cores
/// steps:
///   - id: cores
///     effect: read
///     exec.command: { argv: [nproc] }
///   - id: enough
///     flow.assert:
///       that: [steps.cores.outputs.stdout | int >= 1]
///       message: This machine has no processor
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What must be true.
    #[schemars(length(min = 1))]
    pub that: Vec<Evaluated>,
    /// What it means when it is not.
    pub message: Option<String>,
}

/// What was judged.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many expressions were true: all of them.
    pub checked: usize,
}

impl StepType for Assert {
    const NAME: &'static str = "flow.assert";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    const PURE: bool = true;
    type Config = Config;
    type Outputs = Outputs;

    fn describe(config: &Partial) -> Description {
        let count = match config.get("that") {
            Some(Partial::Known(Value::Array(that))) => that.len(),
            Some(Partial::List(that)) => that.len(),
            _ => 1,
        };
        let conditions = plural(count, "condition");
        match config.text("message") {
            Some(message) => Description::line(format!("check {conditions}, else fail: {message}")),
            None => Description::line(format!("check {conditions}")),
        }
    }
}

impl Look for Assert {
    async fn look(config: Config, _: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let mut wrong = Vec::new();
        for that in &config.that {
            match that.value {
                Value::Bool(true) => {}
                Value::Bool(false) => {
                    wrong.push(format!("`{}` is false{}", that.source, with(that)))
                }
                ref other => wrong.push(format!("`{}` is {other}, not true or false", that.source)),
            }
        }
        if wrong.is_empty() {
            return Ok(Outcome::unchanged(Outputs {
                checked: config.that.len(),
            }));
        }
        let wrong = wrong.join("; ");
        Err(StepError::permanent(match config.message {
            Some(message) => format!("{message}: {wrong}"),
            None => wrong,
        }))
    }
}

/// The longest value that is repeated in a message, in characters.
const LONGEST: usize = 120;

fn with(that: &Evaluated) -> String {
    let values: Vec<String> = that
        .operands
        .iter()
        .map(|(path, value)| {
            let text = value.to_string();
            match text.char_indices().nth(LONGEST) {
                Some((end, _)) => format!("{path} = {}…", &text[..end]),
                None => format!("{path} = {text}"),
            }
        })
        .collect();
    if values.is_empty() {
        String::new()
    } else {
        format!(" ({})", values.join(", "))
    }
}

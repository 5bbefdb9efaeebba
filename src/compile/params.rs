//! Values of parameters: read from texts, checked against their declaration.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::base::suggest;
use crate::diag::{Code, codes};
use crate::model::{Param, ParamType, Playbook};

/// What is wrong with a parameter that was given, or is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Nobody declares it.
    #[error("there is no parameter `{name}`{}", hint(.near, .known))]
    Unknown {
        /// What was given.
        name: String,
        /// What it was meant to be.
        near: Option<String>,
        /// All of them.
        known: Vec<String>,
    },
    /// Its declaration refuses the value.
    #[error("parameter `{name}` {message}")]
    Bad {
        /// Which.
        name: String,
        /// "is 0, and is at least 1".
        message: String,
    },
    /// It has no value and no default.
    #[error(
        "parameter `{name}` has no value: give it with `-p {name}=VALUE` or the environment \
         variable RUNBOOK_PARAM_{}", .name.to_uppercase()
    )]
    Missing {
        /// Which.
        name: String,
    },
}

impl ParamError {
    /// The code under which it is told.
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => codes::UNKNOWN_PARAM,
            Self::Bad { .. } => codes::BAD_PARAM,
            Self::Missing { .. } => codes::MISSING_PARAM,
        }
    }
}

fn hint(near: &Option<String>, known: &[String]) -> String {
    match (near, known) {
        (Some(near), _) => format!("; did you mean `{near}`?"),
        (None, []) => "; the playbook declares none".to_owned(),
        (None, known) => format!("; there are `{}`", known.join("`, `")),
    }
}

/// A value that was given: as text from the command line or the environment, or typed from a file.
#[derive(Clone, Debug)]
pub enum Given {
    /// As text.
    Text(String),
    /// With a type.
    Typed(Value),
}

/// The values of all parameters, from what was given and the defaults. `lookup` reads environment
/// variables.
///
/// # Errors
/// Everything that is wrong with them.
pub fn resolve(
    playbook: &Playbook,
    given: &IndexMap<String, Given>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Map<String, Value>, Vec<ParamError>> {
    let mut errors = Vec::new();
    for name in given.keys() {
        if !playbook.params.contains_key(name) {
            let near = suggest::nearest(name, playbook.params.keys().map(String::as_str));
            errors.push(ParamError::Unknown {
                name: name.clone(),
                near: near.map(str::to_owned),
                known: playbook.params.keys().cloned().collect(),
            });
        }
    }
    let mut values = Map::new();
    for (name, param) in &playbook.params {
        let from_environment = || {
            let own = lookup(&format!("RUNBOOK_PARAM_{}", name.to_uppercase()));
            own.or_else(|| param.from_env.as_deref().and_then(lookup))
                .map(Given::Text)
        };
        let value = match given.get(name).cloned().or_else(from_environment) {
            Some(Given::Text(text)) => from_text(param, &text),
            Some(Given::Typed(value)) => Ok(value),
            None => match &param.default {
                Some(default) => Ok(default.value.clone()),
                None => {
                    errors.push(ParamError::Missing { name: name.clone() });
                    continue;
                }
            },
        };
        match value.and_then(|value| validate(param, &value).map(|()| value)) {
            Ok(value) => {
                values.insert(name.clone(), value);
            }
            Err(message) => errors.push(ParamError::Bad {
                name: name.clone(),
                message,
            }),
        }
    }
    if errors.is_empty() {
        Ok(values)
    } else {
        Err(errors)
    }
}

/// The value that `text` stands for, by the parameter's type.
fn from_text(param: &Param, text: &str) -> Result<Value, String> {
    let wanted = |what: &str| format!("is {what}, and `{text}` is none");
    match param.ty {
        ParamType::String | ParamType::Duration | ParamType::Size => {
            Ok(Value::String(text.to_owned()))
        }
        ParamType::Integer => text
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| wanted("a whole number")),
        ParamType::Number => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(text
                .parse::<i64>()
                .map_or_else(|_| Value::from(number), Value::from)),
            _ => Err(wanted("a number")),
        },
        ParamType::Boolean => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("is `true` or `false`, and not `{text}`")),
        },
        ParamType::List | ParamType::Object => serde_json::from_str(text).map_err(|_| {
            format!("takes JSON, such as `[1, 2]` or `{{\"a\": 1}}`, and not `{text}`")
        }),
    }
}

/// Whether `value` fits the declaration; what does not, as it follows the parameter's name.
///
/// # Errors
/// "is 0, and the declaration says: 0 is less than the minimum of 1".
pub fn validate(param: &Param, value: &Value) -> Result<(), String> {
    match (param.ty, value) {
        (ParamType::Duration, Value::String(text)) => {
            text.parse::<crate::base::Duration>()
                .map_err(|e| format!("is a duration: {e}"))?;
        }
        (ParamType::Size, Value::String(text)) => {
            text.parse::<crate::base::ByteSize>()
                .map_err(|e| format!("is a size: {e}"))?;
        }
        _ => {}
    }
    let validator = jsonschema::validator_for(&param.schema)
        .map_err(|error| format!("has a declaration that makes no sense: {error}"))?;
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(format!(
        "does not fit its declaration: {}",
        errors.join("; ")
    ))
}

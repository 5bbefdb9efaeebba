//! What a saved plan promises, and what differs from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Seen;

/// What a saved plan promises: what would be changed, and nothing else. It is compared, and never run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pledge {
    /// SHA-256 of the playbook.
    pub playbook: String,
    /// SHA-256 of the project file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The parameters' values, redacted.
    pub params: Map<String, Value>,
    /// The machine.
    pub host: String,
    /// What was looked at to be changed, by connection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Value>,
    /// By path, the digest of each step or item that would, or may, change something; nothing where
    /// not all of it was known.
    pub steps: BTreeMap<String, Option<String>>,
    /// What was seen of each, to say what is another one now. It stands with the steps of a saved plan.
    #[serde(skip)]
    pub seen: BTreeMap<String, Seen>,
}

impl Pledge {
    /// How what is seen `now` of a step or item differs from what was, as the end of a sentence.
    pub fn otherwise(&self, path: &str, now: Option<&Seen>) -> String {
        let what = now.and_then(|now| Some(self.seen.get(path)?.otherwise(now)));
        let what = what.filter(|what| !what.is_empty()).unwrap_or_default();
        match what.is_empty() {
            true => String::new(),
            false => format!(" ({})", what.join("; ")),
        }
    }

    /// What differs in `now` from what was promised, a line each.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.playbook != now.playbook {
            found.push("the playbook was edited".to_owned());
        }
        if self.project != now.project {
            found.push("the project file was edited".to_owned());
        }
        if self.host != now.host {
            found.push(format!(
                "it was made on {}, and this is {}",
                self.host, now.host
            ));
        }
        for (name, value) in &self.params {
            if now.params.get(name) != Some(value) {
                let now = now.params.get(name).unwrap_or(&Value::Null);
                found.push(format!("parameter `{name}` was {value}, and is {now}"));
            }
        }
        for (name, target) in &self.targets {
            if let Some(now) = now.targets.get(name).filter(|now| *now != target) {
                found.push(format!("`{name}` was {target}, and is {now}"));
            }
        }
        for (path, digest) in &now.steps {
            match self.steps.get(path) {
                None => found.push(format!(
                    "`{path}` would change something, and was not planned"
                )),
                Some(before) if before != digest => {
                    let what = self.otherwise(path, now.seen.get(path));
                    found.push(format!(
                        "`{path}` would do something else than was planned{what}"
                    ));
                }
                Some(_) => {}
            }
        }
        for path in self
            .steps
            .keys()
            .filter(|path| !now.steps.contains_key(*path))
        {
            found.push(format!(
                "`{path}` was planned, and has nothing to do any more"
            ));
        }
        found
    }
}

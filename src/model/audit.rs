//! The state folder's `audit.yaml`: who witnesses its ledger, and how long the records of its runs
//! are kept.
//!
//! It belongs to the state folder, not to a project: whoever edits playbooks cannot send the
//! witnesses away.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::read::Decoder;
use super::tree::Tree;
use crate::base::Duration;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::doc::{Document, Kind};
use crate::host::connect::inline_schema;
use crate::host::witness::WitnessConfig;
use crate::step::{Registry, Shape};

/// The file's name in the state folder.
pub const AUDIT_FILE: &str = "audit.yaml";

/// What the state folder says of its audit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// Who is sent each checkpoint of the ledger
    #[serde(default)]
    pub witnesses: Vec<WitnessConfig>,
    /// How many of them must have taken it: with fewer, the exit status of a run is 5. With 0, the
    /// default, one that does not take it is told and that is all.
    #[serde(default)]
    pub require: u16,
    /// Which runs' records `runbook audit prune` takes away
    #[serde(default)]
    pub retention: Retention,
}

/// Which runs' records are kept. The ledger itself is always kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Those of runs that ended less than this long ago
    #[serde(default)]
    pub keep_for: Option<Duration>,
    /// Those of the last so many runs of each playbook; 1 by default
    #[serde(default)]
    pub keep_last: Option<u32>,
}

const HEADER: &str = "runbook-audit";

/// The schema of the file.
pub fn audit_schema() -> Value {
    let mut schema = inline_schema::<AuditConfig>();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "The audit of a runbook state folder".into();
    schema["properties"][HEADER] = serde_json::json!({
        "const": "v1", "description": "Marks the file, and the version of its language",
    });
    schema["required"] = serde_json::json!([HEADER]);
    schema
}

/// Reads the file from its tree; `None` where something is wrong with it, which was told.
pub fn decode(
    document: &Document,
    text: &str,
    diagnostics: &mut Diagnostics,
) -> Option<AuditConfig> {
    let registry = Registry::new(&[]);
    let mut decoder = Decoder {
        registry: &registry,
        text,
        diagnostics,
    };
    let mut map = decoder.map(&document.root, "the audit's file")?;
    if !decoder.header(&mut map, HEADER, document.root.span) {
        return None;
    }
    let Shape::Object(fields) = Shape::from_schema(&inline_schema::<AuditConfig>()) else {
        return None;
    };
    let (mut config, mut witnesses) = (Map::new(), &[][..]);
    for key in ["witnesses", "require", "retention"] {
        let (Some(entry), Some(field)) =
            (map.take(key), fields.iter().find(|field| field.name == key))
        else {
            continue;
        };
        let before = decoder.diagnostics.len();
        match decoder.lower(&entry.value, &field.shape, key, false) {
            Tree::Known(value) => drop(config.insert(key.to_owned(), value)),
            _ if decoder.diagnostics.len() > before => {}
            _ => decoder.error(
                codes::EXPR_NOT_HERE,
                entry.value.span,
                format!("`{key}` is read before anything is evaluated"),
            ),
        }
        if let (Kind::Seq(items), "witnesses") = (&entry.value.kind, key) {
            witnesses = items;
        }
    }
    map.finish(decoder.diagnostics);
    if decoder.diagnostics.has_errors() {
        return None;
    }
    let config: AuditConfig = match serde_json::from_value(Value::Object(config)) {
        Ok(config) => config,
        Err(error) => {
            let (span, message) = (document.root.span, error.to_string());
            decoder.error(codes::BAD_VALUE, span, message);
            return None;
        }
    };
    for (at, (witness, node)) in config.witnesses.iter().zip(witnesses).enumerate() {
        if let Err(message) = witness.check() {
            decoder.error(codes::BAD_VALUE, node.span, message);
            continue;
        }
        let mut before = config.witnesses[..at].iter();
        let name = witness.name();
        if before.any(|other| other.name() == name) {
            let message = format!("two witnesses are called `{name}`; give this one a `name`");
            decoder.error(codes::BAD_VALUE, node.span, message);
        }
    }
    if usize::from(config.require) > config.witnesses.len() {
        let message = format!(
            "`require` is {}, and there are {} witnesses",
            config.require,
            config.witnesses.len()
        );
        let diagnostic = Diagnostic::error(codes::BAD_VALUE, message).at(document.root.span);
        decoder.diagnostics.push(diagnostic);
    }
    (!decoder.diagnostics.has_errors()).then_some(config)
}

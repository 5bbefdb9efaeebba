//! A whole playbook.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::declare::{Connection, Param, ReportDecl, SecretDecl, Var};
use super::read::Decoder;
use super::steering::Lock;
use super::step::{FailOn, Step};
use crate::base::{Duration, SourceId, Span, Spanned};
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::doc::{Document, Entry, MapReader};
use crate::step::Registry;

/// What a step without `needs` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Every step above it.
    #[default]
    Sequential,
    /// Nothing.
    Parallel,
}

/// What steps take that do not say otherwise.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// How long a step may take.
    pub timeout: Option<Duration>,
    /// The finding that fails a step.
    pub fail_on: Option<FailOn>,
}

/// A playbook, as it is written.
#[derive(Clone, Debug)]
pub struct Playbook {
    /// The text that it was read from.
    pub source: SourceId,
    /// Its name.
    pub name: Spanned<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it is sorted by.
    pub labels: Map<String, Value>,
    /// What a step without `needs` waits for.
    pub order: Order,
    /// Its parameters.
    pub params: IndexMap<String, Param>,
    /// Its secrets, and those of its project.
    pub secrets: IndexMap<String, SecretDecl>,
    /// Its connections, and those of its project.
    pub connections: IndexMap<String, Connection>,
    /// Its variables, and those of its project.
    pub vars: IndexMap<String, Var>,
    /// How long a run may take.
    pub timeout: Option<Spanned<Duration>>,
    /// What steps take that do not say otherwise.
    pub defaults: Defaults,
    /// What only one run may use at a time.
    pub lock: Option<Lock>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// The steps that run after them in any case.
    pub finally: Vec<Step>,
    /// What is written when the run is over.
    pub reports: Vec<ReportDecl>,
}

/// Reads a playbook from its tree. `text` is what the tree was read from.
///
/// What cannot be read is left out and told; `None` where there is not even a name.
pub fn decode(
    document: &Document,
    text: &str,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Playbook> {
    let mut decoder = Decoder {
        registry,
        text,
        diagnostics,
    };
    let node = &document.root;
    let mut map = decoder.map(node, "a playbook")?;
    if !decoder.header(&mut map, "runbook", node.span) {
        return None;
    }
    let name = match map.take("name") {
        Some(entry) => decoder.playbook_name(entry),
        None => {
            map.missing("name", decoder.diagnostics);
            None
        }
    };
    let description = map
        .take("description")
        .and_then(|e| decoder.text(e))
        .map(|t| t.value);
    let labels = map
        .take("labels")
        .map(|e| decoder.labels(e))
        .unwrap_or_default();
    let order = map.take("order").and_then(|entry| {
        let words = [
            ("sequential", Order::Sequential),
            ("parallel", Order::Parallel),
        ];
        decoder.word(entry, &words)
    });
    let params = map
        .take("params")
        .map(|e| decoder.params(e))
        .unwrap_or_default();
    let secrets = map
        .take("secrets")
        .map(|e| decoder.secrets(e))
        .unwrap_or_default();
    let connections = map
        .take("connections")
        .map(|e| decoder.connections(e))
        .unwrap_or_default();
    let vars = map
        .take("vars")
        .map(|e| decoder.vars(e))
        .unwrap_or_default();
    let timeout = map
        .take("timeout")
        .and_then(|e| decoder.positive_duration(e));
    let defaults = map
        .take("defaults")
        .map(|e| decoder.defaults(e))
        .unwrap_or_default();
    let lock = map.take("lock").and_then(|e| decoder.lock(e, true));
    let steps = match map.take("steps") {
        Some(entry) => {
            let steps = decoder.steps(entry);
            if steps.is_empty() && entry.value.as_seq().is_none_or(<[_]>::is_empty) {
                let message = "a playbook has at least one step";
                decoder.error(codes::BAD_VALUE, entry.key.span, message);
            }
            steps
        }
        None => {
            map.missing("steps", decoder.diagnostics);
            Vec::new()
        }
    };
    let finally = map
        .take("finally")
        .map(|e| decoder.steps(e))
        .unwrap_or_default();
    let reports = map
        .take("reports")
        .map(|e| decoder.reports(e))
        .unwrap_or_default();
    map.finish(decoder.diagnostics);
    Some(Playbook {
        source: document.source,
        name: name?,
        description,
        labels,
        order: order.unwrap_or_default(),
        params,
        secrets,
        connections,
        vars,
        timeout,
        defaults,
        lock,
        steps,
        finally,
        reports,
    })
}

impl Decoder<'_> {
    /// The first key, which says what kind of file it is and for which version of the language.
    pub fn header(&mut self, map: &mut MapReader<'_>, key: &'static str, span: Span) -> bool {
        let Some(entry) = map.take(key) else {
            self.diagnostics.push(
                Diagnostic::error(
                    codes::NOT_A_PLAYBOOK,
                    format!("the first key is not `{key}: v1`"),
                )
                .at(Span::new(
                    span.source,
                    span.start as usize,
                    span.start as usize,
                ))
                .help(format!(
                    "write `{key}: v1` at the top, if this is meant to be one"
                )),
            );
            return false;
        };
        if entry.value.as_str() != Some("v1") {
            self.diagnostics.push(
                Diagnostic::error(
                    codes::NOT_A_PLAYBOOK,
                    "this version of the language is not known",
                )
                .at(entry.value.span)
                .help(format!("this engine reads `{key}: v1`")),
            );
            return false;
        }
        true
    }

    /// The name of a playbook: one path segment, so that it can be part of file names.
    fn playbook_name(&mut self, entry: &Entry) -> Option<Spanned<String>> {
        let name = self.text(entry)?;
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let starts = name.value.chars().next().is_some_and(char::is_alphanumeric);
        if !starts || name.value.len() > 100 || !name.value.chars().all(fits) {
            self.diagnostics.push(
                Diagnostic::error(
                    codes::BAD_NAME,
                    format!("`{}` cannot be a playbook's name", name.value),
                )
                .at(name.span)
                .help(
                    "take letters, digits, `-`, `_` and `.`, as in `weekly-db-maintenance`; \
                           `description` takes any text",
                ),
            );
            return None;
        }
        Some(name)
    }

    fn labels(&mut self, entry: &Entry) -> Map<String, Value> {
        let mut labels = Map::new();
        let Some(map) = entry.value.as_map() else {
            self.wrong_type("labels", "a mapping", &entry.value);
            return labels;
        };
        for label in &map.entries {
            if let Some(text) = self.text(label) {
                labels.insert(label.key.value.to_string(), Value::String(text.value));
            }
        }
        labels
    }

    pub(super) fn defaults(&mut self, entry: &Entry) -> Defaults {
        let Some(mut map) = self.map(&entry.value, "`defaults`") else {
            return Defaults::default();
        };
        let timeout = map
            .take("timeout")
            .and_then(|e| self.positive_duration(e))
            .map(|timeout| timeout.value);
        let fail_on = map
            .take("fail_on")
            .and_then(|e| self.word(e, FailOn::WORDS));
        map.finish(self.diagnostics);
        Defaults { timeout, fail_on }
    }
}

//! Reading what steps come to and what people say, in a case.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::case::{Answer, Answers, Approval, Cancel, Crash, Said, Target};
use super::file::Reader;
use super::stage::type_of;
use crate::base::{Duration, Span, StepPath, suggest};
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::doc::{Entry, MapReader, Node};
use crate::event::{EffectClass, Finding, Level};
use crate::host::Part;
use crate::model::Tree;
use crate::step::{AnyStep, Shape};

/// What a target's name may end in.
const PARTS: &[(&str, Part)] = &[
    ("preview", Part::Preview),
    ("undo", Part::Undo),
    ("verify", Part::Verify),
];

impl Reader<'_> {
    /// Answers, by target.
    pub(super) fn answers(&mut self, entry: &Entry) -> IndexMap<Target, Answers> {
        let mut all = IndexMap::new();
        let Some(map) = entry.value.as_map().filter(|_| !entry.value.is_null()) else {
            self.decoder
                .wrong_type("answers", "a mapping by step", &entry.value);
            return all;
        };
        for entry in map {
            let Some(target) = self.target(entry) else {
                continue;
            };
            let Some(ty) = type_of(self.program, &target) else {
                continue;
            };
            let items = match entry.value.as_seq() {
                Some(items) => items.iter().collect(),
                None => vec![&entry.value],
            };
            if items.is_empty() {
                let message = format!("`{target}` needs at least one answer");
                self.decoder
                    .error(codes::BAD_VALUE, entry.value.span, message);
            }
            let list = { items.into_iter() }
                .filter_map(|item| self.answer(item, &target, ty))
                .collect();
            let span = entry.value.span;
            all.insert(target, Answers { span, list });
        }
        all
    }

    /// The target that a key names.
    pub(super) fn target(&mut self, entry: &Entry) -> Option<Target> {
        let (text, span) = (&*entry.key.value, entry.key.span);
        let (path, part) = match text.split_once('.') {
            None => (text, Part::Step),
            Some((path, suffix)) => match PARTS.iter().find(|(word, _)| *word == suffix) {
                Some((_, part)) => (path, *part),
                None => {
                    let near = suggest::nearest(suffix, PARTS.iter().map(|(word, _)| *word));
                    let message = format!("`{text}` ends in no part of a step");
                    self.decoder.diagnostics.push(
                        Diagnostic::error(codes::UNKNOWN_KEY, message)
                            .at(span)
                            .maybe_help(did_you_mean(near))
                            .help("there are `.preview`, `.undo` and `.verify`"),
                    );
                    return None;
                }
            },
        };
        let path = self.path(path, span)?;
        let target = Target { path, part };
        if type_of(self.program, &target).is_none() {
            let message = format!(
                "step `{}` has no{}",
                target.path.step,
                part.suffix().replace('.', " `") + "`"
            );
            self.decoder.error(codes::UNKNOWN_KEY, span, message);
            return None;
        }
        Some(target)
    }

    /// The step or item that `text` names, if the playbook has it.
    pub(super) fn path(&mut self, text: &str, span: Span) -> Option<StepPath> {
        let id = text.split('[').next().unwrap_or_default();
        let Some(at) = self.program.find(id) else {
            let nodes = 0..self.program.nodes().len();
            let ids = nodes.map(|at| self.program.step(at).id.value.as_str());
            let near = suggest::nearest(id, ids);
            self.decoder.diagnostics.push(
                Diagnostic::error(codes::UNKNOWN_STEP, format!("there is no step `{id}`"))
                    .at(span)
                    .maybe_help(did_you_mean(near)),
            );
            return None;
        };
        let path: StepPath = match text.parse() {
            Ok(path) => path,
            Err(error) => {
                let error: crate::base::id::ParsePathError = error;
                self.decoder.error(codes::BAD_NAME, span, error.to_string());
                return None;
            }
        };
        if path.item.is_some() && self.program.step(at).foreach.is_none() {
            let message = format!("step `{id}` has no items: it has no `foreach`");
            self.decoder.error(codes::UNKNOWN_STEP, span, message);
            return None;
        }
        Some(path)
    }

    fn answer(&mut self, node: &Node, target: &Target, ty: &dyn AnyStep) -> Option<Answer> {
        if target.part == Part::Preview {
            return self.preview(node);
        }
        let mut map = self.decoder.map(node, "an answer")?;
        let shape = Shape::from_schema(&ty.output_schema()).without_required();
        let outputs = map
            .take("outputs")
            .map(|entry| self.outputs(entry, &shape, target));
        let findings = map.take("findings").map(|entry| self.findings(entry));
        let changed = map
            .take("changed")
            .map(|entry| (entry.key.span, self.decoder.bool(entry)));
        if let Some((span, Some(true))) = changed
            && target.part == Part::Step
            && self.is_read(target)
        {
            let message = format!(
                "step `{}` only looks, and changes nothing",
                target.path.step
            );
            self.decoder.error(codes::BAD_VALUE, span, message);
        }
        let fails = { map.take("fails") }
            .and_then(|entry| self.decoder.text(entry))
            .map(|text| text.value);
        let transient = self.with_fails(&mut map, "transient", fails.is_some());
        let unknown = self.with_fails(&mut map, "unknown", fails.is_some());
        let after = map
            .take("after")
            .and_then(|entry| self.decoder.duration(entry));
        let crash = match map.take("crash") {
            Some(entry) if target.part == Part::Step => self.decoder.word(entry, Crash::WORDS),
            Some(entry) => {
                let message = "the engine dies at a step, not at what belongs to one";
                self.decoder
                    .error(codes::BAD_VALUE, entry.key.span, message);
                None
            }
            None => None,
        };
        map.finish(self.decoder.diagnostics);
        Some(Answer {
            outputs: outputs.unwrap_or_default(),
            findings: findings.unwrap_or_default(),
            changed: changed.and_then(|(_, changed)| changed),
            fails,
            transient,
            unknown,
            after: after.unwrap_or(Duration::ZERO),
            crash,
        })
    }

    /// A word about a failure, which makes sense only with one.
    fn with_fails(&mut self, map: &mut MapReader<'_>, key: &'static str, fails: bool) -> bool {
        let Some(entry) = map.take(key) else {
            return false;
        };
        if !fails {
            let message =
                format!("`{key}` says what kind of failure it is, and there is no `fails`");
            self.decoder
                .error(codes::BAD_VALUE, entry.key.span, message);
        }
        self.decoder.bool(entry).unwrap_or(false)
    }

    fn is_read(&self, target: &Target) -> bool {
        let at = self.program.find(target.path.step.as_str());
        at.is_some_and(|at| self.program.nodes()[at].effect == EffectClass::Read)
    }

    /// What a step would do: counts, or that it fails or has nothing to do.
    fn preview(&mut self, node: &Node) -> Option<Answer> {
        let mut answer = Answer::default();
        if node.as_str() == Some("no_change") {
            answer.changed = Some(false);
            return Some(answer);
        }
        let map = self.decoder.map(node, "a preview")?;
        if let Some(entry) = node.as_map().and_then(|map| map.get("fails")) {
            answer.fails = self.decoder.text(entry).map(|text| text.value);
            let mut map = map;
            map.take("fails");
            map.finish(self.decoder.diagnostics);
            return Some(answer);
        }
        answer.outputs = object(self.decoder.plain(node, false));
        Some(answer)
    }

    fn outputs(&mut self, entry: &Entry, shape: &Shape, target: &Target) -> Map<String, Value> {
        let what = format!("{target}.outputs");
        match self.decoder.lower(&entry.value, shape, &what, false) {
            Tree::Known(value) => object(value),
            _ => {
                let message = "an answer is a value: no expressions are taken here";
                self.decoder
                    .error(codes::EXPR_NOT_HERE, entry.value.span, message);
                Map::new()
            }
        }
    }

    fn findings(&mut self, entry: &Entry) -> Vec<Finding> {
        let Some(items) = entry.value.as_seq() else {
            self.decoder
                .wrong_type("findings", "a list of findings", &entry.value);
            return Vec::new();
        };
        items.iter().filter_map(|item| self.finding(item)).collect()
    }

    fn finding(&mut self, node: &Node) -> Option<Finding> {
        let mut map = self.decoder.map(node, "a finding")?;
        let words: Vec<(&str, Level)> = { Level::ALL.iter() }
            .map(|level| (level.as_str(), *level))
            .collect();
        let level = match map.take("level") {
            Some(entry) => self.decoder.word(entry, &words),
            None => {
                map.missing("level", self.decoder.diagnostics);
                None
            }
        };
        let mut text = |key: &'static str| {
            let entry = map.take(key)?;
            self.decoder.text(entry).map(|text| text.value)
        };
        let (subject, message, help) = (text("subject"), text("message"), text("help"));
        map.finish(self.decoder.diagnostics);
        Some(Finding {
            help,
            ..Finding::new(
                level?,
                subject.unwrap_or_else(|| "test".to_owned()),
                message.unwrap_or_else(|| "as the test says".to_owned()),
            )
        })
    }

    /// Who says what about steps that ask, by step.
    pub(super) fn approvals(&mut self, entry: &Entry) -> IndexMap<StepPath, Approval> {
        let mut all = IndexMap::new();
        let Some(map) = entry.value.as_map() else {
            self.decoder
                .wrong_type("approvals", "a mapping by step", &entry.value);
            return all;
        };
        for entry in map {
            let Some(path) = self.path(&entry.key.value, entry.key.span) else {
                continue;
            };
            if !self.asks(&path, entry.key.span) {
                continue;
            }
            if let Some(approval) = self.approval(entry, &path) {
                all.insert(path, approval);
            }
        }
        all
    }

    /// Whether a step may ask for something; says so if not.
    pub(super) fn asks(&mut self, path: &StepPath, span: Span) -> bool {
        let id = path.step.as_str();
        let at = self.program.find(id).unwrap_or_default();
        if path.item.is_some() {
            let message = "all items of a step are agreed to as a whole";
            self.decoder.diagnostics.push(
                Diagnostic::error(codes::BAD_VALUE, message)
                    .at(span)
                    .help(format!("write `{id}`")),
            );
            return false;
        }
        let asks = self.program.step(at).approval.is_some()
            || self.program.nodes()[at].effect == EffectClass::Destroy;
        if !asks {
            let message = format!("step `{id}` asks nobody: it has no `approval`");
            self.decoder.error(codes::BAD_VALUE, span, message);
        }
        asks
    }

    fn approval(&mut self, entry: &Entry, path: &StepPath) -> Option<Approval> {
        let node = &entry.value;
        if node.as_scalar().is_some() {
            let word = self.decoder.word(entry, &[("times_out", ())]);
            let at = self.program.find(path.step.as_str())?;
            let approval = self.program.step(at).approval.as_ref();
            if word.is_some() && approval.is_none_or(|approval| approval.timeout.is_none()) {
                let message = format!("the approval of `{path}` has no `timeout`");
                self.decoder.error(codes::BAD_VALUE, node.span, message);
                return None;
            }
            return word.map(|()| Approval::TimesOut);
        }
        let items = match node.as_seq() {
            Some(items) => items.iter().collect(),
            None => vec![node],
        };
        let said = items.into_iter().filter_map(|item| self.said(item));
        Some(Approval::Said(said.collect()))
    }

    fn said(&mut self, node: &Node) -> Option<Said> {
        let mut map = self.decoder.map(node, "an answer")?;
        let by = match map.take("by") {
            Some(entry) => self.decoder.text(entry).map(|text| text.value),
            None => {
                map.missing("by", self.decoder.diagnostics);
                None
            }
        };
        let groups = map
            .take("groups")
            .and_then(|entry| self.decoder.texts(entry));
        let deny = map.take("deny").and_then(|entry| self.decoder.bool(entry));
        let after = map
            .take("after")
            .and_then(|entry| self.decoder.duration(entry));
        let reason = map
            .take("reason")
            .and_then(|entry| self.decoder.text(entry));
        map.finish(self.decoder.diagnostics);
        Some(Said {
            by: by?,
            groups: { groups.into_iter().flatten() }
                .map(|group| group.value)
                .collect(),
            granted: !deny.unwrap_or(false),
            after: after.unwrap_or(Duration::ZERO),
            reason: reason.map(|reason| reason.value),
        })
    }

    pub(super) fn cancel(&mut self, entry: &Entry) -> Option<Cancel> {
        let mut map = self.map(entry, "`cancel`")?;
        let after = match map.take("after") {
            Some(entry) => self.decoder.duration(entry),
            None => {
                map.missing("after", self.decoder.diagnostics);
                None
            }
        };
        let by = map.take("by").and_then(|entry| self.decoder.text(entry));
        let reason = map
            .take("reason")
            .and_then(|entry| self.decoder.text(entry));
        map.finish(self.decoder.diagnostics);
        Some(Cancel {
            by: by.map_or_else(|| "somebody".to_owned(), |by| by.value),
            after: after?,
            reason: reason.map(|reason| reason.value),
        })
    }

    /// Whether steps of unknown outcome had happened, by step or item.
    pub(super) fn resolve(&mut self, entry: &Entry) -> IndexMap<StepPath, bool> {
        let mut all = IndexMap::new();
        let Some(map) = entry.value.as_map() else {
            self.decoder
                .wrong_type("resolve", "a mapping by step", &entry.value);
            return all;
        };
        for entry in map {
            let path = self.path(&entry.key.value, entry.key.span);
            let done = self
                .decoder
                .word(entry, &[("done", true), ("not-done", false)]);
            if let (Some(path), Some(done)) = (path, done) {
                all.insert(path, done);
            }
        }
        all
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

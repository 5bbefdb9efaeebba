//! Reading what is expected of a case.

use super::case::{Bounds, CallExpect, Decided, Expect, StepExpect};
use super::file::Reader;
use crate::base::{Duration, Spanned, StepPath};
use crate::compile;
use crate::diag::codes;
use crate::doc::{Entry, MapReader, Node};
use crate::event::{RunStatus, Status};
use crate::expr::Expr;
use crate::host::Part;

fn run_words() -> Vec<(&'static str, RunStatus)> {
    let all = RunStatus::ALL
        .iter()
        .map(|status| (status.as_str(), *status));
    all.filter(|(_, status)| *status != RunStatus::Running)
        .collect()
}

fn step_words() -> Vec<(&'static str, Status)> {
    let all = Status::ALL.iter().map(|status| (status.as_str(), *status));
    all.filter(|(_, status)| *status != Status::Running)
        .collect()
}

impl Reader<'_> {
    /// The expectations of a case, which must have some.
    pub(super) fn expect(&mut self, case: &mut MapReader<'_>) -> Option<Expect> {
        let Some(entry) = case.take("expect") else {
            case.missing("expect", self.decoder.diagnostics);
            return None;
        };
        let mut map = self.map(entry, "`expect`")?;
        let status = map.take("status").and_then(|entry| {
            let status = self.decoder.word(entry, &run_words())?;
            Some(Spanned::new(status, entry.value.span))
        });
        let exit = map.take("exit").and_then(|entry| {
            let code = self.decoder.int(entry, 0, 255)?;
            Some(Spanned::new(u8::try_from(code).ok()?, entry.value.span))
        });
        let mut expect = Expect {
            status,
            exit,
            steps: Default::default(),
            order: Vec::new(),
            calls: Default::default(),
            that: Vec::new(),
            approvals: Default::default(),
            duration: None,
        };
        self.by_step(&mut map, &mut expect);
        if let Some(entry) = map.take("order") {
            expect.order = self.paths(entry);
        }
        if let Some(entry) = map.take("that") {
            expect.that = self.that(&entry.value);
        }
        expect.duration = map.take("duration").and_then(|entry| self.bounds(entry));
        map.finish(self.decoder.diagnostics);
        Some(expect)
    }

    /// What is expected of steps, calls and approvals, each by step.
    fn by_step(&mut self, map: &mut MapReader<'_>, expect: &mut Expect) {
        for entry in self.entries(map, "steps") {
            let path = self.path(&entry.key.value, entry.key.span);
            let step = self.step_expect(entry);
            if let (Some(path), Some(step)) = (path, step) {
                expect
                    .steps
                    .insert(path, Spanned::new(step, entry.key.span));
            }
        }
        for entry in self.entries(map, "calls") {
            let target = self
                .target(entry)
                .filter(|target| target.part != Part::Preview);
            let call = self.call_expect(entry);
            if let (Some(target), Some(call)) = (target, call) {
                expect
                    .calls
                    .insert(target, Spanned::new(call, entry.key.span));
            }
        }
        for entry in self.entries(map, "approvals") {
            let path = self.path(&entry.key.value, entry.key.span);
            let path = path.filter(|path| self.asks(path, entry.key.span));
            let decided = self.decoder.word(entry, Decided::WORDS);
            if let (Some(path), Some(decided)) = (path, decided) {
                expect
                    .approvals
                    .insert(path, Spanned::new(decided, entry.value.span));
            }
        }
    }

    /// The entries of a mapping by step.
    fn entries<'n>(&mut self, map: &mut MapReader<'n>, key: &'static str) -> &'n [Entry] {
        let Some(entry) = map.take(key) else {
            return &[];
        };
        match entry.value.as_map() {
            Some(map) => &map.entries,
            None => {
                let wanted = "a mapping by step";
                self.decoder.wrong_type(key, wanted, &entry.value);
                &[]
            }
        }
    }

    fn step_expect(&mut self, entry: &Entry) -> Option<StepExpect> {
        let status = |reader: &mut Self, entry: &Entry| {
            let status = reader.decoder.word(entry, &step_words())?;
            Some(Spanned::new(status, entry.value.span))
        };
        if entry.value.as_scalar().is_some() {
            return Some(StepExpect {
                status: Some(status(self, entry)?),
                ..StepExpect::default()
            });
        }
        let mut map = self.map(entry, "what is expected of a step")?;
        let flag = |reader: &mut Self, entry: Option<&Entry>| {
            let entry = entry?;
            let value = reader.decoder.bool(entry)?;
            Some(Spanned::new(value, entry.value.span))
        };
        let text = |reader: &mut Self, entry: Option<&Entry>| reader.decoder.text(entry?);
        let expect = StepExpect {
            status: map.take("status").and_then(|entry| status(self, entry)),
            attempts: map.take("attempts").and_then(|entry| self.count(entry)),
            changed: flag(self, map.take("changed")),
            allowed: flag(self, map.take("allowed")),
            after: map
                .take("after")
                .map(|entry| self.paths(entry))
                .unwrap_or_default(),
            error: text(self, map.take("error")),
            reason: text(self, map.take("reason")),
            outputs: map.take("outputs").map(|entry| {
                Spanned::new(self.decoder.plain(&entry.value, false), entry.value.span)
            }),
            undo: map.take("undo").and_then(|entry| status(self, entry)),
        };
        map.finish(self.decoder.diagnostics);
        Some(expect)
    }

    fn count(&mut self, entry: &Entry) -> Option<Spanned<u32>> {
        let count = self.decoder.int(entry, 0, i64::from(u32::MAX))?;
        Some(Spanned::new(u32::try_from(count).ok()?, entry.value.span))
    }

    fn paths(&mut self, entry: &Entry) -> Vec<Spanned<StepPath>> {
        let texts = self.decoder.texts(entry).unwrap_or_default();
        let paths = texts.into_iter().filter_map(|text| {
            let path = self.path(&text.value, text.span)?;
            Some(Spanned::new(path, text.span))
        });
        paths.collect()
    }

    fn call_expect(&mut self, entry: &Entry) -> Option<CallExpect> {
        let mut map = self.map(entry, "what is expected of a call")?;
        let expect = CallExpect {
            with: map.take("with").map(|entry| {
                Spanned::new(self.decoder.plain(&entry.value, false), entry.value.span)
            }),
            times: map.take("times").and_then(|entry| self.count(entry)),
        };
        map.finish(self.decoder.diagnostics);
        Some(expect)
    }

    fn that(&mut self, node: &Node) -> Vec<Expr> {
        let items = match node.as_seq() {
            Some(items) => items.iter().collect(),
            None => vec![node],
        };
        let conditions: Vec<Expr> = { items.into_iter() }
            .filter_map(|item| self.decoder.expression("that", item))
            .collect();
        let named: Vec<(&'static str, &Expr)> =
            { conditions.iter() }.map(|expr| ("that", expr)).collect();
        let registry = self.decoder.registry;
        compile::check_conditions(self.program, registry, &named, self.decoder.diagnostics);
        conditions
    }

    fn bounds(&mut self, entry: &Entry) -> Option<Spanned<Bounds>> {
        let span = entry.value.span;
        if entry.value.as_scalar().is_some() {
            let exact = self.decoder.duration(entry)?;
            let bounds = Bounds {
                min: exact,
                max: Some(exact),
            };
            return Some(Spanned::new(bounds, span));
        }
        let mut map = self.map(entry, "`duration`")?;
        let min = map
            .take("min")
            .and_then(|entry| self.decoder.duration(entry));
        let max = map
            .take("max")
            .and_then(|entry| self.decoder.duration(entry));
        map.finish(self.decoder.diagnostics);
        let bounds = Bounds {
            min: min.unwrap_or(Duration::ZERO),
            max,
        };
        if bounds.max.is_some_and(|max| max < bounds.min) || (min.is_none() && max.is_none()) {
            let message = "`duration` takes a time, or `min`, `max` or both, the smaller first";
            self.decoder.error(codes::BAD_VALUE, span, message);
            return None;
        }
        Some(Spanned::new(bounds, span))
    }
}

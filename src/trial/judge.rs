//! Compares what came of a case with what was expected. Every expectation is asked, not just the first
//! that is not met.

use serde_json::Value;

use super::case::{Bounds, CallExpect, Decided, StepExpect, Target};
use super::coverage::is_implied;
use super::difference::{difference, short};
use super::missing::missing_outputs;
use super::play::Run;
use crate::base::count::plural;
use crate::base::{Duration, Span, Spanned, StepPath};
use crate::diag::{Diagnostic, codes};
use crate::event::{AnswerBy, Event, RunStatus, SkipKind, Status, StepState};
use crate::exec;
use crate::expr::{Evaluated, Expr, to_json};

/// What is not as it was expected.
pub(super) fn judge(run: &Run<'_>) -> Vec<Diagnostic> {
    let mut judge = Judge {
        run,
        failures: missing_outputs(run),
    };
    judge.verdict();
    judge.crashes();
    let expect = &run.case.expect;
    for (path, step) in &expect.steps {
        judge.step(path, step);
    }
    judge.order(&expect.order);
    for (target, call) in &expect.calls {
        judge.calls(target, call);
    }
    for (path, decided) in &expect.approvals {
        judge.approval(path, decided);
    }
    if let Some(bounds) = &expect.duration {
        judge.duration(bounds);
    }
    judge.conditions(&expect.that);
    judge.failures.sort_by_key(Diagnostic::order);
    judge.failures
}

struct Judge<'a> {
    run: &'a Run<'a>,
    failures: Vec<Diagnostic>,
}

impl Judge<'_> {
    fn fail(&mut self, span: Span, message: String) {
        let diagnostic = Diagnostic::error(codes::TEST_FAILED, message).at(span);
        self.failures.push(diagnostic);
    }

    fn fail_with(&mut self, span: Span, message: String, help: Option<String>) {
        let diagnostic = Diagnostic::error(codes::TEST_FAILED, message).at(span);
        self.failures.push(diagnostic.maybe_help(help));
    }

    /// A run is expected to succeed, unless the case says otherwise.
    fn verdict(&mut self) {
        let expect = &self.run.case.expect;
        let (status, exit) = (self.run.state.status, self.run.exit_code);
        let wanted = match (&expect.status, &expect.exit) {
            (Some(wanted), _) => Some(wanted.clone()),
            (None, None) => Some(Spanned::new(RunStatus::Succeeded, self.run.case.name.span)),
            (None, Some(_)) => None,
        };
        if let Some(wanted) = wanted.filter(|wanted| wanted.value != status) {
            let message = format!(
                "the run should end `{}`, and it ended `{status}`",
                wanted.value
            );
            let why = self.why();
            self.fail_with(wanted.span, message, why);
        }
        if let Some(wanted) = expect
            .exit
            .as_ref()
            .filter(|wanted| Some(wanted.value) != exit)
        {
            let was = exit.map_or_else(|| "none".to_owned(), |code| code.to_string());
            let message = format!(
                "the exit status should be {}, and it is {was}",
                wanted.value
            );
            let why = self.why();
            self.fail_with(wanted.span, message, why);
        }
    }

    /// An engine that lives on where it was to die tests nothing.
    fn crashes(&mut self) {
        for (target, span) in &self.run.lived {
            let message = format!("the engine should die at `{target}`, and never came to that");
            self.fail(*span, message);
        }
    }

    /// The first step that did not go well, as a reason.
    fn why(&self) -> Option<String> {
        let bad = |step: &&StepState| step.status.is_bad() && !step.allowed;
        let waits = |step: &&StepState| step.asked.is_some();
        let steps = || self.run.state.steps.values();
        let step = { steps().filter(|step| step.items.is_none()).find(bad) }
            .or_else(|| steps().find(waits))
            .or_else(|| steps().find(|step| step.skip == Some(SkipKind::Denied)))?;
        let path = &step.path;
        let silent = !self.run.case.approvals.contains_key(path);
        let who = format!("say who gives it: `approvals: {{ {path}: {{ by: alice }} }}`");
        if step.skip == Some(SkipKind::Denied) && silent {
            return Some(format!("`{path}` {}; {who}, or `yes: true`", ended(step)));
        }
        if step.asked.is_some() && step.skip.is_none() {
            let waits = format!("`{path}` waits for an approval");
            return Some(match silent {
                true => format!("{waits}; {who}"),
                false => waits,
            });
        }
        Some(format!("`{}` {}", step.path, ended(step)))
    }

    fn step(&mut self, path: &StepPath, expect: &Spanned<StepExpect>) {
        let run = self.run;
        let Some(step) = run.state.step(path) else {
            return self.fail(expect.span, format!("`{path}` never came about"));
        };
        let wanted = &expect.value;
        if let Some(status) = &wanted.status
            && status.value != step.status
        {
            let message = format!(
                "`{path}` should be `{}`, and it {}",
                status.value,
                ended(step)
            );
            self.fail(status.span, message);
        }
        if let Some(attempts) = &wanted.attempts
            && attempts.value != step.attempts
        {
            let wanted = plural(attempts.value as usize, "attempt");
            let had = step.attempts;
            let errors = step
                .failed_attempts
                .iter()
                .map(|failed| format!("attempt {} failed: {}", failed.attempt, failed.error));
            let errors: Vec<String> = errors.collect();
            let help = (!errors.is_empty()).then(|| errors.join("; "));
            let message = format!("`{path}` should have {wanted}, and had {had}");
            self.fail_with(attempts.span, message, help);
        }
        self.flags(path, wanted, step);
        self.texts(path, wanted, step);
        if let Some(outputs) = &wanted.outputs
            && let Some(difference) = difference(&outputs.value, &step.outputs, "outputs")
        {
            self.fail(outputs.span, format!("`{path}`: {difference}"));
        }
        if let Some(undo) = &wanted.undo {
            let was = self.undone(path, step);
            if was != Some(undo.value) {
                let was = was.map_or_else(
                    || "it was not taken back".to_owned(),
                    |s| format!("that is `{s}`"),
                );
                let message = format!("taking back `{path}` should be `{}`, and {was}", undo.value);
                self.fail(undo.span, message);
            }
        }
        for before in &wanted.after {
            self.after(path, before);
        }
    }

    /// How taking it back ended: of a step with a list, the worst of its items.
    fn undone(&self, path: &StepPath, step: &StepState) -> Option<Status> {
        let own = step.undo.as_ref().map(|undo| undo.status);
        let items = { self.run.state.steps.values() }
            .filter(|item| item.path.step == path.step && item.path.item.is_some())
            .filter(|_| path.item.is_none())
            .filter_map(|item| item.undo.as_ref().map(|undo| undo.status));
        let all: Vec<Status> = own.into_iter().chain(items).collect();
        let worst = { all.iter() }.find(|status| **status != Status::Succeeded);
        worst.or(all.first()).copied()
    }

    fn flags(&mut self, path: &StepPath, wanted: &StepExpect, step: &StepState) {
        for (what, wanted, is) in [
            ("changed something", &wanted.changed, step.changed),
            ("been allowed to fail", &wanted.allowed, step.allowed),
        ] {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| wanted.value != is) {
                let (should, did) = match wanted.value {
                    true => ("should have", "has not"),
                    false => ("should not have", "has"),
                };
                self.fail(wanted.span, format!("`{path}` {should} {what}, and {did}"));
            }
        }
    }

    fn texts(&mut self, path: &StepPath, wanted: &StepExpect, step: &StepState) {
        for (what, wanted, is) in [
            ("error", &wanted.error, &step.error),
            ("reason", &wanted.reason, &step.reason),
        ] {
            let Some(wanted) = wanted else { continue };
            let is = is.as_deref().unwrap_or_default();
            if !is.contains(wanted.value.as_str()) {
                let is = if is.is_empty() { "there is none" } else { is };
                let message = format!(
                    "the {what} of `{path}` should contain `{}`: {is}",
                    wanted.value
                );
                self.fail(wanted.span, message);
            }
        }
    }

    fn began(&self, path: &StepPath) -> Option<usize> {
        let happenings = &self.run.happenings;
        happenings.iter().position(|happening| {
            happening.path.as_ref() == Some(path)
                && matches!(
                    happening.event,
                    Event::StepStart(_) | Event::ForeachExpand(_)
                )
        })
    }

    fn after(&mut self, path: &StepPath, before: &Spanned<StepPath>) {
        let began = self.began(path);
        let over = self.run.happenings.iter().position(|happening| {
            happening.path.as_ref() == Some(&before.value)
                && matches!(happening.event, Event::StepResult(_))
        });
        let message = match (began, over) {
            (Some(began), Some(over)) if began > over => return,
            (Some(_), Some(_)) => format!("`{path}` began before `{}` was over", before.value),
            (None, _) => format!("`{path}` never began, so not after `{}`", before.value),
            (_, None) => format!("`{}` was never over, and `{path}` began", before.value),
        };
        self.fail(before.span, message);
    }

    fn order(&mut self, order: &[Spanned<StepPath>]) {
        let mut last: Option<(usize, &StepPath)> = None;
        for path in order {
            let Some(at) = self.began(&path.value) else {
                let step = self.run.state.step(&path.value);
                let why = step.map(|step| format!("it {}", ended(step)));
                self.fail_with(path.span, format!("`{}` never began", path.value), why);
                continue;
            };
            if let Some((before, name)) = last.filter(|(before, _)| *before > at) {
                let message = format!(
                    "`{}` should begin after `{name}`, and began before it",
                    path.value
                );
                self.fail(path.span, message);
                last = Some((before, name));
            } else {
                last = Some((at, &path.value));
            }
        }
    }

    fn calls(&mut self, target: &Target, expect: &Spanned<CallExpect>) {
        let run = self.run;
        // A step's calls are those of its items too.
        let of = |made: &Target| {
            made.part == target.part
                && made.path.step == target.path.step
                && (target.path.item.is_none() || made.path.item == target.path.item)
        };
        let made: Vec<_> = { run.made.iter() }
            .filter(|made| of(&made.target))
            .collect();
        if let Some(times) = &expect.value.times
            && made.len() != times.value as usize
        {
            let message = format!(
                "`{target}` should be called {}, and it was called {}",
                plural(times.value as usize, "time"),
                plural(made.len(), "time")
            );
            self.fail(times.span, message);
        }
        let Some(with) = &expect.value.with else {
            if made.is_empty() && expect.value.times.is_none() {
                self.fail(expect.span, format!("`{target}` was never called"));
            }
            return;
        };
        let mut differences = made
            .iter()
            .map(|made| difference(&with.value, &made.config, "with"));
        match differences.next_back() {
            None => self.fail(with.span, format!("`{target}` was never called")),
            Some(None) => {}
            Some(Some(last)) => {
                if !differences.any(|difference| difference.is_none()) {
                    let none = if made.len() > 1 { "no call of " } else { "" };
                    let fits = if made.len() > 1 {
                        " fits; of the last one,"
                    } else {
                        ":"
                    };
                    self.fail(with.span, format!("{none}`{target}`{fits} {last}"));
                }
            }
        }
    }

    fn approval(&mut self, path: &StepPath, expect: &Spanned<Decided>) {
        let decided = self.decided(path);
        if decided == expect.value {
            return;
        }
        let (wanted, is) = (expect.value.as_str(), decided.as_str());
        let help = match decided {
            Decided::Waiting if self.run.case.approvals.contains_key(path) => Some(
                "an answer counts if its `by` or one of its `groups` is in the approval's `from`, and \
                 enough people agree"
                    .to_owned(),
            ),
            _ => None,
        };
        let message = format!("the approval of `{path}` should be `{wanted}`, and it is `{is}`");
        self.fail_with(expect.span, message, help);
    }

    fn decided(&self, path: &StepPath) -> Decided {
        let mut decided = Decided::NotAsked;
        let mut granted = Decided::Granted;
        let of = { self.run.happenings.iter() }.filter(|h| h.path.as_ref() == Some(path));
        for happening in of {
            match &happening.event {
                Event::ApprovalAsk(ask) => {
                    decided = Decided::Waiting;
                    granted = match is_implied(self.run.program, &path.step, ask.kind) {
                        true => Decided::Confirmed,
                        false => Decided::Granted,
                    };
                }
                Event::ApprovalAnswer(answer) if answer.granted => decided = granted,
                Event::ApprovalAnswer(answer) if answer.how == AnswerBy::Timeout => {
                    decided = Decided::TimedOut;
                }
                Event::ApprovalAnswer(_) => decided = Decided::Denied,
                // Nobody was there to ask.
                Event::StepResult(result)
                    if result.skip == Some(SkipKind::Denied) && decided == Decided::Waiting =>
                {
                    decided = Decided::Denied;
                }
                _ => {}
            }
        }
        decided
    }

    fn duration(&mut self, bounds: &Spanned<Bounds>) {
        let Bounds { min, max } = bounds.value;
        // To the millisecond, as people write it.
        let took = Duration::from_millis(self.run.duration.as_millis());
        if took < min || max.is_some_and(|max| took > max) {
            let message = format!("the run should take {}, and it took {took}", bounds.value);
            self.fail(bounds.span, message);
        }
    }

    fn conditions(&mut self, conditions: &[Expr]) {
        if conditions.is_empty() {
            return;
        }
        let case = self.run.case;
        let world = exec::world_after(
            self.run.program,
            &self.run.state,
            &case.params,
            &case.secrets,
        );
        let world = match world {
            Ok(world) => world,
            Err(error) => {
                let span = case.name.span;
                return self.fail(span, format!("`that` cannot be asked: {error}"));
            }
        };
        for condition in conditions {
            let source = condition.source().trim();
            let message = match condition.eval(&world) {
                Ok(Evaluated::Known(value)) => match to_json(&value) {
                    Value::Bool(true) => continue,
                    Value::Bool(false) => format!("`{source}` is false"),
                    other => format!("`{source}` is {}, not true or false", short(&other)),
                },
                Ok(Evaluated::Unknown(unknown)) => format!("`{source}` is {}", unknown.why),
                Err(error) => format!("`{source}` has no value: {error}"),
            };
            let operands = condition.operands(&world);
            let values = operands.into_iter().filter_map(|(name, value)| {
                Some(format!("{name} is {}", short(&to_json(value.known()?))))
            });
            let values: Vec<String> = values.collect();
            let help = (!values.is_empty()).then(|| values.join(", "));
            self.fail_with(condition.span(), message, help);
        }
    }
}

/// "is `failed`: connection reset".
fn ended(step: &StepState) -> String {
    let why = step.error.as_deref().or(step.reason.as_deref());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let allowed = if step.allowed { " (allowed)" } else { "" };
    format!("is `{}`{allowed}{why}", step.status)
}

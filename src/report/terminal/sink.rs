//! The sink that tells a run to people while it goes on.

use std::fmt::Write as _;
use std::io::{Write, stderr};

use indexmap::IndexMap;

use super::board::Board;
use super::frame::{self, End, Head, Problem};
use super::group::Known;
use super::live::Live;
use super::look::{self, Ink, Look};
use super::old;
use super::output::Output;
use super::question;
use super::step::{self, Columns};
use super::view::StepView;
use super::wrap::Pieces;
use super::{MAX_PROBLEMS, SCREENFUL, Verbosity};
use crate::base::{RunId, StepId, StepPath};
use crate::event::{
    AnswerBy, ApprovalAnswer, ApprovalAsk, Event, Happening, RunEnd, RunStart, RunState, Section,
    Sink, Status, StepAttempt, StepResult, Transient, UndoResult,
};
use crate::report::pen::{Pen, Plain};
use crate::report::tally::{Tally, repeats_items};
use crate::report::{amount, clean};

/// Tells a run to people while it goes on.
///
/// Nothing here waits for whoever reads; dropping it does, until all is written or nobody reads any
/// more.
pub struct Terminal {
    look: Look,
    verbosity: Verbosity,
    pen: Pen,
    /// What moves, where it is a terminal.
    board: Option<Board>,
    run: Option<(RunId, String)>,
    columns: Columns,
    steps: IndexMap<StepId, Known>,
    tally: Tally,
    problems: Vec<Problem>,
    more_problems: usize,
    /// Lines since the first problem, to know whether it has scrolled away.
    lines: usize,
    /// There are problems of an earlier process, which this one has not told.
    unseen: bool,
    /// Whether it has been said that `finally` steps follow.
    in_finally: bool,
    output: Output,
    cancelled_by: Option<String>,
    signalled: bool,
    waits_for: Vec<StepPath>,
    prompting: Option<String>,
    text: String,
}

impl Terminal {
    /// Plain lines to `out`: for pipes, files, and terminals on which nothing should move.
    pub fn plain(out: impl Write + Send + 'static, look: Look, verbosity: Verbosity) -> Self {
        Self::new(Pen::new(Plain(out)), None, look, verbosity)
    }

    /// Lines on standard error, and below them what moves: running steps with their time and how far
    /// they are. Only where standard error is a terminal.
    pub fn live(look: Look, verbosity: Verbosity) -> Self {
        let board = Board::default();
        let live = Live::new(stderr(), board.clone(), look);
        let mut pen = Pen::new(live);
        pen.start();
        Self::new(pen, Some(board), look, verbosity)
    }

    fn new(pen: Pen, board: Option<Board>, look: Look, verbosity: Verbosity) -> Self {
        Self {
            look,
            verbosity,
            pen,
            board,
            run: None,
            columns: Columns::default(),
            steps: IndexMap::new(),
            tally: Tally::default(),
            problems: Vec::new(),
            more_problems: 0,
            lines: 0,
            unseen: false,
            in_finally: false,
            output: Output::default(),
            cancelled_by: None,
            signalled: false,
            waits_for: Vec::new(),
            prompting: None,
            text: String::new(),
        }
    }

    /// Takes up a run that another process began: what was done before is told as its state, and
    /// what follows as it happens.
    pub fn resume(&mut self, state: &RunState) {
        let planned = state
            .whole_steps()
            .map(|step| (step.path.step.clone(), Known::of(state, step)));
        self.steps = planned.collect();
        self.waits_for = old::waits_for(state);
        let before = state.whole_steps().filter(|step| step.status.is_over());
        let before = before.count();
        self.begin(&Head {
            run: &state.run,
            playbook: &state.playbook.name,
            host: &state.host,
            user: &state.user,
            started_at: state.started_at,
            params: &state.params,
            steps: self.steps.len(),
        });
        for step in state.steps.values().filter(|step| step.status.is_over()) {
            let items = repeats_items(step).then(|| Tally::items(state, step));
            self.count(&StepView::of(step, items.as_ref()), step.section);
        }
        if !self.problems.is_empty() {
            self.unseen = true;
        }
        if self.verbosity > Verbosity::Quiet && before > 0 {
            let line = format!("resumed: {} done before", amount::plural(before, "step"));
            self.text.push_str("  ");
            Pieces::new()
                .and(Ink::Dim, line)
                .write(&mut self.text, &self.look, 2, 2);
        }
        self.flush();
    }

    /// Takes what moves away, lets `talk` use the terminal (to ask something), and goes on.
    pub fn aside<T>(&mut self, talk: impl FnOnce() -> T) -> T {
        if let Some(board) = &self.board {
            board.hide(true);
        }
        self.pen.settle();
        let answer = talk();
        if let Some(board) = &self.board {
            board.hide(false);
        }
        answer
    }

    fn start(&mut self, happening: &Happening, start: &RunStart) {
        let planned = start
            .steps
            .iter()
            .map(|step| (step.id.clone(), Known::planned(step)));
        self.steps = planned.collect();
        self.begin(&Head {
            run: &start.run,
            playbook: &start.playbook.name,
            host: &start.host,
            user: &start.user,
            started_at: happening.at,
            params: &start.params,
            steps: start.steps.len(),
        });
    }

    fn begin(&mut self, head: &Head) {
        self.run = Some((head.run.clone(), head.playbook.to_owned()));
        self.columns = Columns::of(&self.look, self.steps.keys().map(StepId::as_str));
        if let Some(board) = &self.board {
            board.expect(self.steps.len(), self.columns);
        }
        if self.verbosity > Verbosity::Quiet {
            frame::head(&mut self.text, &self.look, head);
        }
    }

    fn result(&mut self, happening: &Happening, result: &StepResult) {
        let Some(path) = &happening.path else { return };
        let Some(known) = self.steps.get_mut(&path.step) else {
            return;
        };
        let (ty, section) = (known.ty.clone(), known.section);
        let name = known.take_name(path);
        let item = known.take_item(path);
        let mut group = None;
        if path.item.is_some() {
            known.group().count(result);
        } else {
            group = known.items.take();
        }
        let view = StepView {
            path,
            ty: &ty,
            name: name.as_deref(),
            item: &item,
            status: result.status,
            allowed: result.allowed,
            changed: result.changed,
            duration_ms: Some(result.duration_ms),
            attempts: happening.attempt.unwrap_or(0),
            outputs: &result.outputs,
            findings: &result.findings,
            error: result.error.as_deref(),
            help: result.help.as_deref(),
            reason: result.reason.as_deref(),
            logs: &result.logs,
            items: group.as_ref().map(|group| &group.items),
        };
        self.output
            .end(&mut self.text, &self.look, self.columns, path);
        self.count(&view, section);
        self.tell(&view, section);
        if let Some(group) = &group {
            group.close(&mut self.text, &self.look);
        }
    }

    /// Takes what ended into the summary.
    fn count(&mut self, view: &StepView, section: Section) {
        if view.path.item.is_none() {
            let statuses = self.tally.section(section);
            statuses.add(view.status, view.allowed, Some(view.changed));
            if let Some(board) = &self.board {
                board.count(view.status.is_bad() && !view.allowed);
            }
        }
        if view.items.is_none() {
            self.tally.levels.add(view.findings);
        }
        if view.is_problem() && !view.is_told_by_items() {
            if self.problems.len() < MAX_PROBLEMS {
                self.problems.push(Problem::of(&self.look, view));
            } else {
                self.more_problems += 1;
            }
        }
    }

    /// Writes the lines of what ended, where they are wanted.
    fn tell(&mut self, view: &StepView, section: Section) {
        let all = self.verbosity == Verbosity::Verbose;
        let item = view.path.item.is_some();
        let normal = self.verbosity == Verbosity::Normal && !item;
        if !(all || normal || view.is_problem()) {
            return;
        }
        let mut columns = self.columns;
        if let Some(known) = self.steps.get_mut(&view.path.step).filter(|_| item) {
            let step = &view.path.step;
            columns = Columns::of_items(&self.look, step.as_str(), known.group().len());
            known
                .group()
                .head(&mut self.text, &self.look, self.columns, step);
            if !known.group().admits(all) {
                return;
            }
        }
        if section == Section::Finally && !self.in_finally {
            self.in_finally = true;
            frame::finally(&mut self.text, &self.look);
        }
        step::write(&mut self.text, &self.look, columns, view, all);
    }

    fn attempt(&mut self, happening: &Happening, attempt: &StepAttempt) {
        let Some(path) = &happening.path else { return };
        if let Some(board) = &self.board {
            board.retry(path, happening.attempt.unwrap_or(0), attempt.delay_ms);
        }
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let indent = if path.item.is_some() { 2 } else { 0 };
        let failed = (
            happening.attempt.unwrap_or(0),
            attempt.error.as_str(),
            attempt.delay_ms,
        );
        let id = path.to_string();
        step::retry(
            &mut self.text,
            &self.look,
            self.columns,
            &id,
            indent,
            failed,
        );
    }

    /// Takes what is asked off its line.
    fn hide_prompt(&self) {
        if self.prompting.is_some() {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }

    /// Shows what is asked, again after whatever else was told meanwhile.
    fn show_prompt(&mut self) {
        if let Some(question) = &self.prompting {
            self.pen.settle();
            let mut out = stderr().lock();
            // Whoever is not there does not answer.
            let _ = write!(out, "{question}");
            let _ = out.flush();
        }
    }

    fn asked(&mut self, happening: &Happening, ask: &ApprovalAsk) {
        let Some(path) = &happening.path else { return };
        if !self.waits_for.contains(path) {
            self.waits_for.push(path.clone());
        }
        question::write(&mut self.text, &self.look, path, ask);
    }

    fn answered(&mut self, happening: &Happening, answer: &ApprovalAnswer) {
        let Some(path) = &happening.path else { return };
        self.waits_for.retain(|other| other != path);
        if !answer.granted {
            return;
        }
        let mut text = Pieces::new();
        let how = match answer.how {
            AnswerBy::Yes => " (--yes)",
            _ => "",
        };
        let users = clean::line(&answer.users.join(", ")).into_owned();
        text.push(Ink::Dim, format!("{path} was agreed to by {users}{how}"));
        self.text.push_str("  ");
        text.write(&mut self.text, &self.look, 2, 2);
    }

    fn undone(&mut self, happening: &Happening, result: &UndoResult) {
        let Some(path) = &happening.path else { return };
        if self.verbosity == Verbosity::Quiet && result.status == Status::Succeeded {
            return;
        }
        let error = result.error.as_deref();
        step::undone(&mut self.text, &self.look, path, (result.status, error));
    }

    fn cancel(&mut self, by: &str) {
        // A deadline is nobody's second signal.
        let by_signal = by.starts_with("SIG") || by.starts_with("runbook cancel");
        let again = by_signal && self.signalled;
        self.signalled |= by_signal;
        self.cancelled_by = Some(by.to_owned());
        let mut text = Pieces::new();
        let told = if again { "again" } else { "to end" };
        text.push(Ink::Warn, format!("told {told} by {}", clean::line(by)));
        if again {
            text.push(
                Ink::Plain,
                ": running steps are killed, and `finally` does not run",
            );
        } else {
            text.push(
                Ink::Plain,
                ": running steps are ended politely, then `finally` runs",
            );
        }
        if by_signal && !again {
            text.push(Ink::Dim, " (a second signal kills at once)");
        }
        let _ = write!(self.text, "{} ", self.look.paint(Ink::Warn, "!"));
        text.write(&mut self.text, &self.look, 2, 2);
    }

    fn end(&mut self, end: &RunEnd) {
        if let Some(board) = &self.board {
            board.hide(true);
        }
        let Some((run, playbook)) = &self.run else {
            return;
        };
        let height = self.board.as_ref().and_then(|_| look::height(&stderr()));
        let height = height.unwrap_or(SCREENFUL);
        frame::end(
            &mut self.text,
            &self.look,
            &End {
                run,
                playbook,
                status: end.status,
                exit_code: Some(end.exit_code),
                duration_ms: Some(end.duration_ms),
                cancelled_by: self.cancelled_by.as_deref(),
                waits_for: &self.waits_for,
                tally: &self.tally,
                problems: &self.problems,
                more_problems: self.more_problems,
                repeat: self.unseen || self.lines > height,
                quiet: self.verbosity == Verbosity::Quiet,
            },
        );
        self.flush();
    }

    fn flush(&mut self) {
        if self.text.is_empty() {
            return;
        }
        if !self.problems.is_empty() {
            self.lines += memchr::memchr_iter(b'\n', self.text.as_bytes()).count();
        }
        self.hide_prompt();
        self.pen.write(&self.text);
        self.text.clear();
        self.show_prompt();
    }
}

impl Sink for Terminal {
    fn happening(&mut self, happening: &Happening) {
        if self.board.is_some() {
            // A window that was resized.
            self.look.width = look::width(&stderr()).or(self.look.width);
        }
        match &happening.event {
            Event::RunStart(start) => self.start(happening, start),
            // Told by `resume`, which has the state.
            Event::RunResume(_) | Event::StepVerify(_) | Event::StepResolve(_) => {}
            Event::ApprovalAsk(ask) => self.asked(happening, ask),
            Event::ApprovalAnswer(answer) => self.answered(happening, answer),
            Event::UndoStart(_) => {}
            Event::UndoResult(result) => self.undone(happening, result),
            Event::TargetIdentify(_) => {}
            Event::RunCancel(cancel) => self.cancel(&cancel.by),
            Event::RunEnd(end) => self.end(end),
            Event::ForeachExpand(expand) => {
                if let Some(path) = &happening.path
                    && let Some(known) = self.steps.get_mut(&path.step)
                {
                    known.expand(&expand.items);
                }
            }
            Event::StepStart(start) => {
                if let Some(path) = &happening.path
                    && let Some(known) = self.steps.get_mut(&path.step)
                {
                    known.start(path, start.name.as_deref());
                }
            }
            Event::StepAttempt(attempt) => self.attempt(happening, attempt),
            Event::StepResult(result) => self.result(happening, result),
        }
        if let Some(board) = &self.board {
            let path = happening.path.as_ref();
            let known = path.and_then(|path| self.steps.get(&path.step));
            board.follow(happening, known.and_then(|known| known.name.as_deref()));
        }
        self.flush();
    }

    fn prompt(&mut self, question: Option<&str>) {
        if let Some(board) = &self.board {
            board.hide(question.is_some());
        }
        self.hide_prompt();
        self.prompting = question.map(|question| format!("  {}", clean::line(question)));
        self.show_prompt();
    }

    fn transient(&mut self, transient: &Transient) {
        match transient {
            Transient::Output { path, stream, text } if self.verbosity == Verbosity::Verbose => {
                let mut out = String::new();
                self.output
                    .push(&mut out, &self.look, self.columns, (path, *stream), text);
                self.pen.write_passing(&out);
            }
            Transient::Output { .. } => {}
            Transient::Progress {
                path,
                done,
                total,
                unit,
            } => {
                if let Some(board) = &self.board {
                    board.progress(path, *done, *total, unit);
                }
            }
        }
    }
}

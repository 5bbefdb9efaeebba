//! Where events are made: redacted here, once, then journaled, then shown.

use std::cell::RefCell;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::base::{Clock, StepPath};
use crate::event::{Event, Happening, Journal, JournalError, Redactor, Sink, Transient};

/// Makes events.
pub(super) struct Recorder<'a> {
    journal: &'a dyn Journal,
    sinks: RefCell<Vec<&'a mut dyn Sink>>,
    redactor: std::sync::Arc<Redactor>,
    clock: Clock,
    // What passes by and waits to be shown.
    passing: RefCell<mpsc::Receiver<Transient>>,
    failed: RefCell<Option<JournalError>>,
    // Whether the result of an effect waits to be brought to disk.
    dirty: std::cell::Cell<bool>,
}

impl<'a> Recorder<'a> {
    pub fn new(
        journal: &'a dyn Journal,
        sinks: Vec<&'a mut dyn Sink>,
        redactor: std::sync::Arc<Redactor>,
        clock: Clock,
        passing: mpsc::Receiver<Transient>,
    ) -> Self {
        Self {
            journal,
            sinks: RefCell::new(sinks),
            redactor,
            clock,
            passing: RefCell::new(passing),
            failed: RefCell::new(None),
            dirty: std::cell::Cell::new(false),
        }
    }

    /// Records `event`: once this returns, it survives the engine's end.
    ///
    /// # Errors
    /// When the audit cannot be written; then nothing more may happen.
    pub fn record(
        &self,
        path: Option<&StepPath>,
        attempt: Option<u32>,
        mut event: Event,
    ) -> Result<(), JournalError> {
        // What a step's processes wrote comes before its result.
        self.show_waiting();
        self.redact(&mut event);
        let happening = Happening {
            at: self.clock.wall(),
            path: path.cloned(),
            attempt,
            event,
        };
        self.check(self.journal.append(&happening))?;
        for sink in self.sinks.borrow_mut().iter_mut() {
            sink.happening(&happening);
        }
        Ok(())
    }

    /// Waits until everything recorded so far is on disk.
    ///
    /// # Errors
    /// When the disk refused; then nothing more may happen.
    pub async fn sync(&self) -> Result<(), JournalError> {
        self.dirty.set(false);
        let result = self.journal.sync().await;
        self.check(result)
    }

    /// Says that something recorded should be on disk soon, whatever runs next.
    pub fn want_sync(&self) {
        self.dirty.set(true);
    }

    /// Whether something recorded should be on disk soon.
    pub fn is_dirty(&self) -> bool {
        self.dirty.get()
    }

    /// Shows what passes by, for ever.
    pub async fn show_passing(&self) {
        let next = || std::future::poll_fn(|cx| self.passing.borrow_mut().poll_recv(cx));
        while let Some(transient) = next().await {
            self.show(&transient);
        }
        std::future::pending().await
    }

    /// Shows what waits to be shown.
    pub fn show_waiting(&self) {
        loop {
            let next = self.passing.borrow_mut().try_recv();
            match next {
                Ok(transient) => self.show(&transient),
                Err(_) => return,
            }
        }
    }

    fn show(&self, transient: &Transient) {
        for sink in self.sinks.borrow_mut().iter_mut() {
            sink.transient(transient);
        }
    }

    /// Asks something at the terminal, or (with nothing) goes on after an answer.
    pub fn prompt(&self, question: Option<&str>) {
        for sink in self.sinks.borrow_mut().iter_mut() {
            sink.prompt(question);
        }
    }

    /// Why the audit could not be written, if that is so.
    pub fn failure(&self) -> Option<JournalError> {
        self.failed.borrow().clone()
    }

    /// Takes note that something of the record (a log) could not be written.
    pub fn fail(&self, what: &str, cause: &str) {
        let error = JournalError {
            what: what.to_owned(),
            cause: cause.to_owned(),
        };
        self.failed.borrow_mut().get_or_insert(error);
    }

    fn check(&self, result: Result<(), JournalError>) -> Result<(), JournalError> {
        if let Err(error) = &result {
            self.failed
                .borrow_mut()
                .get_or_insert_with(|| error.clone());
        }
        result
    }

    /// Takes the secrets out of everything that an author, a process or a server has put in.
    fn redact(&self, event: &mut Event) {
        if self.redactor.is_empty() {
            return;
        }
        let text = |text: &mut String| {
            if let std::borrow::Cow::Owned(masked) = self.redactor.text(text) {
                *text = masked;
            }
        };
        let maybe = |value: &mut Option<String>| {
            if let Some(value) = value {
                text(value);
            }
        };
        match event {
            Event::RunStart(start) => {
                let mut params = Value::Object(std::mem::take(&mut start.params));
                self.redactor.value(&mut params);
                if let Value::Object(params) = params {
                    start.params = params;
                }
                maybe(&mut start.playbook.description);
                { &mut start.playbook.labels }
                    .values_mut()
                    .for_each(|label| self.redactor.value(label));
            }
            Event::ForeachExpand(expand) => {
                expand
                    .items
                    .iter_mut()
                    .for_each(|item| self.redactor.value(item));
            }
            Event::StepStart(start) => {
                self.redactor.value(&mut start.config);
                maybe(&mut start.name);
                maybe(&mut start.lock);
            }
            Event::StepAttempt(attempt) => text(&mut attempt.error),
            Event::StepResult(result) => {
                self.redactor.outputs(&mut result.outputs);
                for finding in &mut result.findings {
                    text(&mut finding.subject);
                    text(&mut finding.message);
                    maybe(&mut finding.help);
                }
                maybe(&mut result.error);
                maybe(&mut result.help);
                maybe(&mut result.reason);
            }
            Event::ApprovalAsk(ask) => {
                text(&mut ask.message);
                self.redactor.value(&mut ask.preview);
            }
            Event::ApprovalAnswer(answer) => maybe(&mut answer.reason),
            Event::StepVerify(verify) => {
                self.redactor.value(&mut verify.config);
                self.redactor.outputs(&mut verify.outputs);
                maybe(&mut verify.error);
            }
            Event::UndoStart(undo) => self.redactor.value(&mut undo.config),
            Event::UndoResult(undo) => {
                self.redactor.outputs(&mut undo.outputs);
                maybe(&mut undo.error);
                maybe(&mut undo.help);
            }
            Event::StepResolve(resolve) => text(&mut resolve.reason),
            Event::RunResume(resume) => resume.fenced.iter_mut().for_each(text),
            Event::TargetIdentify(target) => self.redactor.value(&mut target.identity),
            Event::RunCancel(cancel) => text(&mut cancel.by),
            Event::RunEnd(_) => {}
        }
    }
}

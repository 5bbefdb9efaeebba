//! A journal in memory, whose engine may die at a record.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;

use super::case::Crash;
use super::stage::Stage;
use crate::event::{Event, Happening, Journal, JournalError};

/// What happened in a case, over all parts of its run.
pub(super) struct Memory<'a> {
    stage: &'a Stage<'a>,
    happenings: RefCell<Vec<Happening>>,
    dead: Cell<bool>,
}

impl<'a> Memory<'a> {
    pub fn new(stage: &'a Stage<'a>) -> Self {
        Self {
            stage,
            happenings: RefCell::default(),
            dead: Cell::new(false),
        }
    }

    /// Whether the engine is dead, by the journal's or the stage's doing.
    pub fn is_dead(&self) -> bool {
        self.dead.get() || self.stage.is_dead()
    }

    /// Another engine goes on.
    pub fn revive(&self) {
        self.dead.set(false);
        self.stage.revive();
    }

    /// What happened so far.
    pub fn so_far(&self) -> Vec<Happening> {
        self.happenings.borrow().clone()
    }

    fn error() -> JournalError {
        JournalError {
            what: "go on".to_owned(),
            cause: "the engine died here, as the test says".to_owned(),
        }
    }
}

impl Journal for Memory<'_> {
    fn append(&self, happening: &Happening) -> Result<(), JournalError> {
        if self.is_dead() {
            return Err(Self::error());
        }
        let (path, attempt) = (happening.path.as_ref(), happening.attempt.unwrap_or(1));
        if let (Event::StepStart(_), Some(path)) = (&happening.event, path)
            && self.stage.dies(path, attempt, Crash::Before)
        {
            self.dead.set(true);
            return Err(Self::error());
        }
        self.happenings.borrow_mut().push(happening.clone());
        if let (Event::StepResult(_) | Event::StepAttempt(_), Some(path)) = (&happening.event, path)
            && self.stage.dies(path, attempt, Crash::After)
        {
            self.dead.set(true);
        }
        Ok(())
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + '_>> {
        if self.is_dead() {
            // Whoever is dead waits for nothing.
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

//! Those who listen to a run.

use std::future::Future;
use std::pin::Pin;

use super::kinds::{Happening, Transient};

/// Why the audit could not be written. After one, the effect that it was for does not happen, and
/// the run ends with exit status 5.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit could not be written: {what}: {cause}")]
pub struct JournalError {
    /// What was attempted, on which file.
    pub what: String,
    /// What the system said.
    pub cause: String,
}

/// Where durable events go first.
pub trait Journal {
    /// Writes `happening` after all others. It survives the engine's end once this returns, and the
    /// machine's once [`Journal::sync`] has.
    ///
    /// # Errors
    /// When it could not be written. All later calls fail too.
    fn append(&self, happening: &Happening) -> Result<(), JournalError>;

    /// Waits until everything appended so far is on disk. Several waiters share one fsync.
    ///
    /// # Errors
    /// When the disk refused. All later calls fail too.
    fn sync(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + '_>>;
}

/// A journal that keeps nothing, for runs that do nothing (tests of the scheduler).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn append(&self, _: &Happening) -> Result<(), JournalError> {
        Ok(())
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Whoever shows or renders a run. A sink that cannot go on is quiet: it never stops a run.
pub trait Sink {
    /// Something durable happened, and the journal has it.
    fn happening(&mut self, happening: &Happening);

    /// Somebody is asked something at the terminal, or (with nothing) has answered.
    fn prompt(&mut self, question: Option<&str>) {
        let _ = question;
    }

    /// Something passed by.
    fn transient(&mut self, transient: &Transient) {
        let _ = transient;
    }
}

//! What can happen in a run: durable events and transient ones, the fold to a run's state, and the
//! traits of those who listen.
//!
//! The engine never prints and never formats: it emits these. The journal, the terminal and every
//! report read the same events, live or from an old journal.

mod fold;
mod kinds;
mod redact;
mod sink;
mod status;
mod step_state;

pub use fold::RunState;
pub use kinds::{
    AnswerBy, ApprovalAnswer, ApprovalAsk, ApprovalKind, ClaimedBy, Edited, Event, ForeachExpand,
    Happening, LogFile, PlannedStep, PlaybookInfo, ResumeKind, RunCancel, RunEnd, RunResume,
    RunStart, Section, SkipKind, StepAttempt, StepResolve, StepResult, StepStart, StepVerify,
    Stream, TargetIdentify, Transient, UndoResult, UndoStart,
};
pub use redact::{MASK, Redactor, RedactorError, SHORTEST, StreamRedactor};
pub use sink::{Journal, JournalError, NoJournal, Sink};
pub use status::{EffectClass, Finding, Level, RepeatClass, RunStatus, Status};
pub use step_state::{AttemptState, StepState, UndoState};

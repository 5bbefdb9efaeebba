//! The events themselves, as they stand in the journal.
//!
//! A durable event is a `kind` and its `data`; readers skip kinds that they do not know. Fields are
//! only ever added, with a default, never renamed.

mod approval;
mod run;
mod step;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::StepPath;

pub use approval::{AnswerBy, ApprovalAnswer, ApprovalAsk, ApprovalKind};
pub use run::{
    Edited, PlannedStep, PlaybookInfo, ResumeKind, RunCancel, RunEnd, RunResume, RunStart, Section,
    TargetIdentify,
};
pub use step::{
    ClaimedBy, ForeachExpand, LogFile, SkipKind, StepAttempt, StepResolve, StepResult, StepStart,
    StepVerify, UndoResult, UndoStart,
};

/// A durable event, where and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Wall time, for people; never for order.
    pub at: jiff::Timestamp,
    /// The step or item that it is about; none for the run as a whole.
    pub path: Option<StepPath>,
    /// The attempt, from 1, where it is about one.
    pub attempt: Option<u32>,
    /// What happened.
    pub event: Event,
}

macro_rules! events {
    ($($variant:ident $kind:literal,)*) => {
        /// What can happen in a run and is kept for good.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $(#[doc = $kind] $variant($variant),)*
        }

        impl Event {
            /// Every kind that is written.
            pub const KINDS: &[&str] = &[$($kind),*];

            /// The record's `kind`.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind),* }
            }

            /// The event of a record; `None` for a kind that this version does not know.
            ///
            /// # Errors
            /// When the kind is known and `data` is not its data.
            pub fn from_parts(kind: &str, data: Value) -> Result<Option<Self>, serde_json::Error> {
                Ok(match kind {
                    $($kind => Some(Self::$variant(serde_json::from_value(data)?)),)*
                    _ => None,
                })
            }
        }

        /// As the record's `data`.
        impl Serialize for Event {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(data) => data.serialize(serializer)),* }
            }
        }
    };
}

events! {
    RunStart "run.start",
    ForeachExpand "foreach.expand",
    StepStart "step.start",
    StepAttempt "step.attempt",
    StepResult "step.result",
    ApprovalAsk "approval.ask",
    ApprovalAnswer "approval.answer",
    StepVerify "step.verify",
    UndoStart "undo.start",
    UndoResult "undo.result",
    StepResolve "step.resolve",
    RunResume "run.resume",
    TargetIdentify "target.identify",
    RunCancel "run.cancel",
    RunEnd "run.end",
}

/// A process's output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    #[serde(rename = "out")]
    Stdout,
    /// Standard error.
    #[serde(rename = "err")]
    Stderr,
}

impl Stream {
    /// The log file's extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Stdout => "out",
            Self::Stderr => "err",
        }
    }
}

/// What happens in a run and is not kept: for whoever watches. Redacted like everything else.
#[derive(Clone, Debug, PartialEq)]
pub enum Transient {
    /// A process wrote something.
    Output {
        /// Whose.
        path: StepPath,
        /// Where to.
        stream: Stream,
        /// What; lossy where it is not UTF-8.
        text: String,
    },
    /// A long step came forward.
    Progress {
        /// Which.
        path: StepPath,
        /// How much is done, in `unit`.
        done: u64,
        /// Of how much, where it is known.
        total: Option<u64>,
        /// `bytes`, `rows`, `files`, `lines`, `tables`.
        unit: &'static str,
    },
}

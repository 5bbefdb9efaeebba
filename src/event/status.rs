//! Statuses, findings, and the classes of effect: the words of every report.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($type:ident { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word that records, expressions and reports use.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The value that `word` stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// How a step stands or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has not started.
    Pending,
    /// It has started and not ended.
    Running,
    /// It did what it says.
    Succeeded,
    /// It did not, or what it found is bad enough (`fail_on`).
    Failed,
    /// It was not started, for the recorded reason.
    Skipped,
    /// It was ended by a signal to the run.
    Cancelled,
    /// It was ended by its deadline or the run's.
    TimedOut,
    /// Nobody knows whether it happened.
    Unknown,
}

words!(Status {
    Pending => "pending",
    Running => "running",
    Succeeded => "succeeded",
    Failed => "failed",
    Skipped => "skipped",
    Cancelled => "cancelled",
    TimedOut => "timed_out",
    Unknown => "unknown",
});

impl Status {
    /// Whether it stands for good.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Whether steps that wait for this one must not start.
    pub fn is_bad(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Cancelled | Self::TimedOut | Self::Unknown
        )
    }

    /// Of a `foreach` step's items, the one that counts: the larger is the worse.
    pub fn weight(self) -> u8 {
        match self {
            Self::Skipped => 0,
            Self::Succeeded => 1,
            Self::Pending => 2,
            Self::Running => 3,
            Self::Failed => 4,
            Self::TimedOut => 5,
            Self::Cancelled => 6,
            Self::Unknown => 7,
        }
    }
}

/// How a run stands or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Its engine works on it.
    Running,
    /// Everything asked for is done and well; warnings and allowed failures included.
    Succeeded,
    /// A step failed.
    Failed,
    /// A signal ended it.
    Cancelled,
    /// Its deadline passed.
    TimedOut,
    /// The outcome of a step is not known.
    Unknown,
    /// Its engine is gone without having ended it.
    Interrupted,
    /// It waits for an approval, without an engine.
    Waiting,
}

words!(RunStatus {
    Running => "running",
    Succeeded => "succeeded",
    Failed => "failed",
    Cancelled => "cancelled",
    TimedOut => "timed_out",
    Unknown => "unknown",
    Interrupted => "interrupted",
    Waiting => "waiting",
});

/// How much a finding weighs, from light to heavy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Looked, and fine.
    Ok,
    /// Looked, and worth attention.
    Warning,
    /// Could not look: never the same as fine.
    Unknown,
    /// Looked, and bad.
    Critical,
}

words!(Level {
    Ok => "ok",
    Warning => "warning",
    Unknown => "unknown",
    Critical => "critical",
});

/// What a check found about one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it weighs.
    pub level: Level,
    /// What it is about: a mount point, a unit, a URL.
    pub subject: String,
    /// One sentence with the measured value and its limit.
    pub message: String,
    /// What to do, where the check knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    /// A finding of `level` about `subject`.
    pub fn new(level: Level, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.into(),
            message: message.into(),
            help: None,
        }
    }

    /// Looked, and fine.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, message)
    }

    /// Looked, and worth attention.
    pub fn warning(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Warning, subject, message)
    }

    /// Could not look.
    pub fn unknown(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Unknown, subject, message)
    }

    /// Looked, and bad.
    pub fn critical(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Critical, subject, message)
    }

    /// Says what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What a step does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Changes nothing.
    Read,
    /// Changes, reversibly or harmlessly.
    Change,
    /// Data or service is lost or interrupted.
    Destroy,
}

words!(EffectClass { Read => "read", Change => "change", Destroy => "destroy" });

/// What may be done after a crash in the middle of a step; from the most to the least careful that
/// the engine must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatClass {
    /// Run it again.
    Idempotent,
    /// Run it again: the target itself refuses the second one.
    Keyed,
    /// Its `verify:` decides whether it happened.
    Probe,
    /// Nobody knows: a person must look.
    Once,
}

words!(RepeatClass {
    Idempotent => "idempotent",
    Keyed => "keyed",
    Probe => "probe",
    Once => "once",
});

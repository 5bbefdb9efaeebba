//! What goes wrong when an expression is evaluated.

use crate::base::Span;
use crate::diag::{Code, Diagnostic, codes};

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalErrorKind {
    /// A name, field or item that is not there.
    Undefined,
    /// Null, where something is wanted.
    Null,
    /// A value of the wrong type.
    Type,
    /// A division by zero, or a number that is too large.
    Arithmetic,
    /// A value that cannot be used, such as `"x"|int`.
    Value,
    /// It would take too long or become too large.
    TooCostly,
}

/// An expression that has no value, and where in it that shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help_text(.help))]
pub struct EvalError {
    /// What kind of thing went wrong.
    pub kind: EvalErrorKind,
    /// One sentence, lower case, without a full stop: what is wrong.
    pub message: String,
    /// The part of the expression that it is about.
    pub span: Span,
    /// What to do, where that is known.
    pub help: Option<String>,
}

fn help_text(help: &Option<String>) -> String {
    help.as_ref()
        .map(|help| format!("; {help}"))
        .unwrap_or_default()
}

impl EvalError {
    /// As a finding, for what is evaluated before the run.
    pub fn to_diagnostic(&self) -> Diagnostic {
        let code: Code = match self.kind {
            EvalErrorKind::Undefined => codes::EXPR_UNKNOWN_FIELD,
            _ => codes::EXPR_TYPE,
        };
        Diagnostic::error(code, self.message.clone())
            .at(self.span)
            .maybe_help(self.help.clone())
    }
}

/// What went wrong, before it is known where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: EvalErrorKind,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Failure {
    pub(super) fn new(kind: EvalErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn at(self, span: Span) -> EvalError {
        EvalError {
            kind: self.kind,
            message: self.message,
            span,
            help: self.help,
        }
    }
}

/// What minijinja's filters, tests and iterators report.
impl From<minijinja::Error> for Failure {
    fn from(error: minijinja::Error) -> Self {
        use minijinja::ErrorKind;
        let detail = || error.detail().unwrap_or("it failed").to_owned();
        match error.kind() {
            ErrorKind::OutOfFuel => Self::too_costly(),
            ErrorKind::UndefinedError => Self::new(
                EvalErrorKind::Undefined,
                "a value in it is not defined".to_owned(),
            ),
            ErrorKind::MissingArgument => {
                Self::new(EvalErrorKind::Value, "an argument is missing".to_owned())
            }
            ErrorKind::TooManyArguments => Self::new(
                EvalErrorKind::Value,
                "there are too many arguments".to_owned(),
            ),
            ErrorKind::UnknownFilter => {
                Self::new(EvalErrorKind::Value, "there is no such filter".to_owned())
            }
            ErrorKind::UnknownTest => {
                Self::new(EvalErrorKind::Value, "there is no such test".to_owned())
            }
            _ => Self::new(EvalErrorKind::Value, detail()),
        }
    }
}

impl Failure {
    pub(super) fn too_costly() -> Self {
        Self::new(
            EvalErrorKind::TooCostly,
            "the expression takes too long, or its value becomes too large",
        )
        .help("do work of this size in a step")
    }
}

//! The views: of a run, of the diagnostics of playbooks, of the DAG.
//!
//! A view of a run is a fold over its events, so that a live run and an old one from its journal are
//! told alike. Views write text; where it goes is the caller's business.

pub mod amount;
mod brief;
pub(crate) mod clean;
pub mod diagnostics;
pub mod github;
pub mod graph;
pub mod json;
pub mod jsonl;
pub mod junit;
pub mod markdown;
mod pen;
#[cfg(test)]
mod script;
mod tally;
pub mod terminal;
pub mod trial;

use self::terminal::{Look, Verbosity};
pub use crate::base::{Format, FormatError, ReportFile};
use crate::event::RunState;

/// Why something is not told.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It is not told in this format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The XML could not be written.
    #[error("the JUnit report could not be written: {0}")]
    Junit(#[from] junit::SerializeError),
}

/// The formats that a folded state is told in. [`Format::Jsonl`] is made of events, which the state no
/// longer has: [`jsonl::render`] tells those of a journal.
pub const FOR_STATES: &[Format] = &[
    Format::Text,
    Format::Json,
    Format::Junit,
    Format::Github,
    Format::Markdown,
];

/// A run as the text of a file: `--report FORMAT=FILE`, `reports:`, `status --format`.
///
/// # Errors
/// When a run is not told in this format; see [`FOR_STATES`].
pub fn render(state: &RunState, format: Format) -> Result<String, RenderError> {
    Ok(match format.one_of(FOR_STATES)? {
        Format::Json => json::status(state),
        Format::Junit => junit::run(state)?,
        Format::Github => github::run(state),
        Format::Markdown => markdown::render(state),
        _ => terminal::render(state, &Look::PLAIN, Verbosity::Normal),
    })
}

#[cfg(test)]
mod tests {
    use super::{FOR_STATES, Format, render, script};

    #[test]
    fn a_state_is_told_in_every_format_but_those_of_events_and_playbooks() {
        let state = script::fold(&script::daily_check());
        for format in Format::ALL {
            let told = render(&state, *format);
            assert_eq!(told.is_ok(), FOR_STATES.contains(format), "{format}");
            if let Ok(text) = told {
                assert!(text.ends_with('\n'), "{format}");
                assert!(text.contains("daily-check"), "{format}");
                assert!(!text.contains('\x1b'), "{format}");
            }
        }
    }
}

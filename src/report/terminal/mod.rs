//! A run for people: lines that scroll, and on a terminal what moves below them.
//!
//! [`Terminal`] listens to a live run; [`render`] tells an old one. Both write steps, head and end
//! through the same functions, so that they look the same.

mod board;
mod frame;
mod group;
mod history;
mod live;
mod look;
mod old;
mod output;
mod question;
mod sink;
mod step;
#[cfg(test)]
mod tests;
mod view;
mod wrap;

pub use history::history;
pub(crate) use look::Ink;
pub use look::Look;
pub use old::render;
pub use sink::Terminal;
pub(crate) use wrap::{Pieces, blanks, cut, pad, width as text_width};

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Problems and the verdict.
    Quiet,
    /// Every step.
    #[default]
    Normal,
    /// Every item and every finding too, and the output of processes as it comes.
    Verbose,
}

/// Problems that the summary repeats at most.
const MAX_PROBLEMS: usize = 30;

/// The summary repeats the problems after so many lines, where the height of the screen is unknown.
const SCREENFUL: usize = 40;

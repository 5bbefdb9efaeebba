//! Tests of playbooks: the real engine runs the real program in a virtual time, and gets declared
//! answers where it would reach the world.
//!
//! `file` reads a test file, `play` runs one case of it, `judge` compares what happened with what was
//! expected, `coverage` says what no case came to. How it is told is the business of `report`.

mod answers;
mod case;
mod coverage;
mod difference;
mod expect;
mod file;
mod journal;
mod judge;
mod missing;
mod play;
mod stage;
#[cfg(test)]
mod tests;

pub use case::{
    Answer, Answers, Approval, Bounds, CallExpect, Cancel, Case, Crash, Decided, Expect, Said,
    StepExpect, Target,
};
pub use coverage::{Branch, Coverage};
pub use file::{Loaded, TestFile, load, says_test};
pub use play::{Played, play};

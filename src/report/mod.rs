//! The views: of a run, of the diagnostics of playbooks, of the DAG.
//!
//! A view of a run is a fold over its events, so that a live run and an old one from its journal are
//! told alike. Views write text; where it goes is the caller's business.

mod amount;
mod brief;
mod clean;
pub mod github;
pub mod json;
pub mod jsonl;
pub mod junit;
pub mod markdown;
mod pen;
#[cfg(test)]
mod script;
mod tally;
pub mod terminal;

//! runbook: a declarative runbook engine.
//!
//! The rooms, in the order in which they may know of each other (a test reads the `crate::` paths
//! and fails on an edge that goes back):
//!
//! `base → diag → doc → expr → event → host → step → {steps, model} → compile → plan → exec →
//! trial → {audit, report, schema} → cli`

pub mod audit;
pub mod base;
pub mod cli;
pub mod compile;
pub mod diag;
pub mod doc;
pub mod event;
pub mod exec;
pub mod expr;
pub mod host;
pub mod model;
pub mod plan;
pub mod report;
pub mod schema;
pub mod step;
pub mod steps;
pub mod trial;

//! `flow.*`: steps that touch nothing and steer the run.

pub(super) mod assert;
pub(super) mod set;
pub(super) mod wait;

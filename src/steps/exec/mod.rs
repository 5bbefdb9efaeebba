//! `exec.*`: programs, scripts and pipelines. Only their author knows what they do to the world.

pub(super) mod command;
pub(super) mod pipeline;
mod result;
pub(super) mod script;

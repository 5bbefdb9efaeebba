//! `host.*`: checks of the machine. They change nothing, and what could not be looked at is a
//! finding of level `unknown`.

pub(super) mod cpu;
pub(super) mod disk;
mod limits;
pub(super) mod load;
pub(super) mod memory;
pub(super) mod processes;
#[cfg(test)]
mod testing;

//! What the system says about itself: file systems, memory, load, processors, processes.
//!
//! Each file reads one thing and turns its text into numbers; nothing here judges them. A text that
//! cannot be read is an error, never a zero.

mod mounts;
mod space;

pub use mounts::{Mount, MountTable};
pub use space::{Space, SpaceAt};

//! What the system says about itself: file systems, memory, load, processors, processes.
//!
//! Each file reads one thing and turns its text into numbers; nothing here judges them. A text that
//! cannot be read is an error, never a zero.

mod cpu;
mod load;
mod memory;
mod mounts;
mod processes;
mod space;

use std::path::Path;

pub use cpu::{CpuShares, CpuTicks, CpuTimes};
pub use load::Load;
pub use memory::{Memory, MemoryUse};
pub use mounts::{Mount, MountTable};
pub use processes::{ProcessActivity, ProcessUse};
pub use space::{Space, SpaceAt};

use super::HostError;
use super::files::read_kernel;

/// What `parse` makes of the text of a file under `/proc` or `/sys`.
fn parse_kernel<T>(
    path: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, HostError> {
    let text = read_kernel(Path::new(path))?;
    parse(&text).map_err(|cause| HostError::permanent(format!("make sense of {path}"), cause))
}

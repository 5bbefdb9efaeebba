//! Words that everyone uses: places in files, durations, sizes, ids, formats, the clock.
//!
//! Nothing here knows of playbooks, hosts or the terminal.

pub mod cancel;
pub mod clock;
pub mod count;
pub mod duration;
pub mod field;
pub mod format;
pub mod id;
pub mod size;
pub mod span;
pub mod suggest;
pub mod timeline;

pub use cancel::{Cancel, EndReason, Ending};
pub use clock::{Clock, Deadline, Instant};
pub use duration::Duration;
pub use format::{Format, FormatError, ReportFile};
pub use id::{RunId, StepId, StepPath};
pub use size::ByteSize;
pub use span::{SourceId, Span, Spanned};
pub use timeline::{Halt, Timeline};

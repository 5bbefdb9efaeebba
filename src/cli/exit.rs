//! The exit codes: every one a named constant.

/// Everything asked for is done and well.
pub const DONE: u8 = 0;
/// It ran, and something failed; `validate`: a playbook has errors.
pub const FAILED: u8 = 1;
/// Nothing ran: bad usage, or the playbook or its parameters are invalid.
pub const USAGE: u8 = 2;
/// Nothing more ran: an approval is missing, a target is not the one expected, or the run lost its
/// lock.
pub const REFUSED: u8 = 3;
/// The outcome of a step is unknown: a person must look.
pub const UNKNOWN: u8 = 4;
/// The audit could not be written, or does not verify.
pub const AUDIT: u8 = 5;
/// Another process has what this one needs: the run itself, or a lock.
pub const BUSY: u8 = 75;
/// The run's deadline passed.
pub const DEADLINE: u8 = 124;
/// `plan --detailed-exitcode`: there is something to change.
pub const CHANGES: u8 = 10;

//! The one integration-test binary: every test runs the program, or a part of it, against real
//! components.
//!
//! One binary, not one a file, because the servers of `support/` are started once for all tests that
//! can share them: so this runs under plain `cargo test`, whose tests are threads of one process.
//! `bash tests/run.sh` installs what the components need.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests start servers, write files and may panic; the lints are about the program"
)]

mod approvals;
mod canary;
mod check;
mod checks;
mod clock;
mod crash;
mod daily;
mod database;
mod doors;
mod dry;
mod exposed;
mod faults;
mod fixtures;
mod full;
mod input;
mod killed;
mod locks;
mod plan;
mod pure;
mod registry;
mod resume;
mod rooms;
mod scheduler;
mod services;
mod stopped;
mod support;
mod syscalls;
mod tampered;
mod trial;
mod verbs;
mod witness;

//! `runbook completion SHELL`.

use clap::CommandFactory as _;

use super::args::{Cli, CompletionArgs};
use super::exit;
use super::output::Output;

pub(super) fn run(out: &mut Output, args: CompletionArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "runbook", &mut script);
    out.data(String::from_utf8_lossy(&script));
    exit::DONE
}

//! The command line: one file a verb, and the exit codes.

mod approve;
mod args;
mod audit;
mod cancel;
mod completion;
mod doctor;
mod engine;
pub mod exit;
mod explain;
mod graph;
mod history;
mod init;
mod list;
mod load;
mod logs;
mod output;
mod plan;
mod resolve;
mod resume;
mod run;
mod schema;
mod show;
mod status;
mod steps;
mod test;
mod validate;
mod witnesses;

use std::ffi::OsString;

use clap::Parser as _;

use args::{Cli, Verb};
use output::Output;

/// Runs the command line `args`, the program's name first, and says how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let mut out = Output::new(&cli.global);
    tell_logs(&out);
    let code = match cli.verb {
        Verb::Run(args) => run::run(&mut out, args),
        Verb::Resume(args) => resume::resume(&mut out, args),
        Verb::Retry(args) => resume::retry(&mut out, args),
        Verb::Approve(args) => approve::run(&mut out, args),
        Verb::Cancel(args) => cancel::run(&mut out, args),
        Verb::Resolve(args) => resolve::run(&mut out, args),
        Verb::Plan(args) => plan::run(&mut out, args),
        Verb::Validate(args) => validate::run(&mut out, args),
        Verb::Test(args) => test::run(&mut out, args),
        Verb::List(args) => list::run(&mut out, args),
        Verb::Show(args) => show::run(&mut out, args),
        Verb::Steps(args) => steps::run(&mut out, args),
        Verb::Schema(args) => schema::run(&mut out, args),
        Verb::Explain(args) => explain::run(&mut out, args),
        Verb::History(args) => history::run(&mut out, args),
        Verb::Status(args) => status::run(&mut out, args),
        Verb::Logs(args) => logs::run(&mut out, args),
        Verb::Audit(args) => audit::run(&mut out, args),
        Verb::Init(args) => init::run(&mut out, args),
        Verb::Doctor(args) => doctor::run(&mut out, args),
        Verb::Graph(args) => graph::run(&mut out, args),
        Verb::Completion(args) => completion::run(&mut out, args),
    };
    out.finish(code)
}

/// `RUNBOOK_LOG=debug` shows what the engine itself does, on standard error.
fn tell_logs(out: &Output) {
    let Ok(filter) = std::env::var("RUNBOOK_LOG") else {
        return;
    };
    if filter.is_empty() {
        return;
    }
    match tracing_subscriber::EnvFilter::try_new(&filter) {
        Ok(filter) => {
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .init();
        }
        Err(error) => out.warn(&format!("RUNBOOK_LOG={filter}: {error}")),
    }
}

//! `runbook audit export`: runs for whoever verifies them elsewhere.

use super::super::args::ExportArgs;
use super::super::output::Output;
use super::super::{exit, status};
use crate::audit::{Range, export};
use crate::base::Clock;
use crate::base::count::plural;
use crate::host::identity;

pub(super) fn run(out: &mut Output, args: &ExportArgs) -> u8 {
    let state = match super::state(out) {
        Ok(state) => state,
        Err(code) => return code,
    };
    let mut range = Range {
        since: args.since.map(|since| since.0),
        until: args.until.map(|until| until.0),
        runs: Vec::new(),
    };
    for text in &args.runs {
        match status::find(out, text) {
            Ok((_, run)) => range.runs.push(run),
            Err(code) => return code,
        }
    }
    let (now, user) = (Clock::system().wall(), identity::user_name());
    match export(&state, &range, &args.output, now, &user) {
        Ok(export) => {
            let runs = plural(export.runs.len(), "run");
            let folder = args.output.display();
            out.data(format!(
                "exported {runs} and {} lines of the ledger to {folder}\n",
                export.ledger_records
            ));
            out.note_line(&format!(
                "verify it with `runbook audit verify --export {folder}`, or with Python alone: `python3 {folder}/verify.py {folder}`"
            ));
            exit::DONE
        }
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            exit::USAGE
        }
    }
}

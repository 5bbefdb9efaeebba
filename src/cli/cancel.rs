//! `runbook cancel RUN`: a run is ended from elsewhere.

use super::args::CancelArgs;
use super::output::Output;
use super::{exit, status};
use crate::audit::load_run;
use crate::event::RunStatus;
use crate::exec::{CANCEL, Cancellation};
use crate::host::{inbox, run_folder};

pub(super) fn run(out: &mut Output, args: CancelArgs) -> u8 {
    let (state, run) = match status::find(out, &args.run) {
        Ok(found) => found,
        Err(code) => return code,
    };
    match run_folder::is_alive(&state, &run) {
        Ok(true) => {}
        Ok(false) => {
            let waits = load_run(&state, &run).is_ok_and(|run| run.status == RunStatus::Waiting);
            let (how, help) = if waits {
                let deny = format!("`runbook approve {run} STEP --deny` refuses what it waits for");
                let end = format!("`runbook resume {run}` then ends it, with `finally`");
                ("waits for an approval", format!("{deny}, and {end}"))
            } else {
                let status = format!("`runbook status {run}` shows how it stands");
                ("does not run", status)
            };
            out.error(&format!("run {run} {how}"), Some(&help));
            return exit::USAGE;
        }
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::AUDIT;
        }
    }
    let said = Cancellation {
        reason: args.reason,
    };
    if let Err(error) = inbox::say(&state.run(&run), CANCEL, &said) {
        out.error(&error.to_string(), error.help.as_deref());
        return exit::AUDIT;
    }
    out.note_line(&format!(
        "run {run} is told to end: its steps politely, then `finally` runs"
    ));
    exit::DONE
}

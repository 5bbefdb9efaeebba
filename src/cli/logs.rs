//! `runbook logs RUN [STEP]`: what a run's processes wrote.

use super::args::LogsArgs;
use super::output::Output;
use super::{exit, status};
use crate::base::{StepPath, suggest};
use crate::diag::did_you_mean;
use crate::event::{LogFile, RunState};
use crate::host::{StateDir, files};

pub(super) fn run(out: &mut Output, args: LogsArgs) -> u8 {
    let (folder, run) = match status::load(out, &args.run) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let wanted = match args.step.as_deref().map(|step| find(&run, step)) {
        Some(Err((message, help))) => {
            out.error(&message, help.as_deref());
            return exit::USAGE;
        }
        Some(Ok(path)) => Some(path),
        None => None,
    };
    let steps = run.steps.values().filter(|step| match &wanted {
        Some(path) if path.item.is_none() => step.path.step == path.step,
        Some(path) => step.path == *path,
        None => true,
    });
    let logs: Vec<(&StepPath, &LogFile)> = steps
        .flat_map(|step| step.logs.iter().map(move |log| (&step.path, log)))
        .collect();
    if logs.is_empty() {
        let of = args
            .step
            .map_or_else(|| "this run".to_owned(), |step| format!("`{step}`"));
        out.note_line(&format!("the processes of {of} wrote nothing"));
        return exit::DONE;
    }
    let titles = logs.len() > 1;
    let mut code = exit::DONE;
    for (path, log) in logs {
        if titles {
            out.line(format_args!("==> {path} ({}) <==", log.file));
        }
        if !print(out, &folder, &run, log) {
            code = exit::AUDIT;
        }
    }
    code
}

/// Prints one log, and says so if it is not what was recorded.
fn print(out: &mut Output, folder: &StateDir, run: &RunState, log: &LogFile) -> bool {
    use sha2::Digest as _;
    let path = folder.run(&run.run).join(&log.file);
    match files::read_limited(&path, u64::MAX - 1) {
        Ok(bytes) => {
            out.data(String::from_utf8_lossy(&bytes));
            if !bytes.ends_with(b"\n") && !bytes.is_empty() {
                out.data("\n");
            }
            let same = hex::encode(sha2::Sha256::digest(&bytes)) == log.sha256;
            if !same {
                out.error(&format!("{} is not what was recorded", log.file), None);
            }
            same
        }
        Err(error) => {
            out.error(&error.to_string(), None);
            false
        }
    }
}

fn find(run: &RunState, text: &str) -> Result<StepPath, (String, Option<String>)> {
    let path: StepPath = text.parse().map_err(|e| (format!("{e}"), None))?;
    if run.step(&path).is_some() {
        return Ok(path);
    }
    let ids: Vec<String> = run.steps.keys().map(ToString::to_string).collect();
    let near = suggest::nearest(text, ids.iter().map(String::as_str));
    Err((
        format!("run {} has no step `{text}`", run.run),
        did_you_mean(near),
    ))
}

//! `runbook logs RUN [STEP]`: what a run's processes wrote; byte for byte, but for a terminal, which
//! would obey what stands in it.

use std::io::IsTerminal as _;

use super::args::LogsArgs;
use super::output::Output;
use super::{exit, status};
use crate::base::{StepPath, suggest};
use crate::diag::did_you_mean;
use crate::event::{LogFile, RunState};
use crate::host::{StateDir, files};
use crate::report::clean;

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
    let titles = logs.len() > 1 && !args.raw;
    let raw = args.raw || !std::io::stdout().is_terminal();
    let mut code = exit::DONE;
    let mut broken_line = false;
    for (path, log) in logs {
        if titles {
            if std::mem::take(&mut broken_line) {
                out.data("\n");
            }
            out.line(format_args!("==> {path} ({}) <==", log.file));
        }
        let Some(bytes) = read(out, &folder, &run, log, &mut code) else {
            continue;
        };
        let ends_open = !bytes.is_empty() && !bytes.ends_with(b"\n");
        if raw {
            out.bytes(&bytes);
            broken_line = ends_open;
        } else {
            // Colours that a program chose are for its own terminal.
            let text = String::from_utf8_lossy(&bytes);
            let text = anstream::adapter::strip_str(&text).to_string();
            out.data(clean::block(&text));
            out.data(if ends_open { "\n" } else { "" });
        }
    }
    code
}

/// Reads one log, and says so if it is not what was recorded.
fn read(
    out: &Output,
    folder: &StateDir,
    run: &RunState,
    log: &LogFile,
    code: &mut u8,
) -> Option<Vec<u8>> {
    use sha2::Digest as _;
    let path = folder.run(&run.run).join(&log.file);
    match files::read_limited(&path, u64::MAX - 1) {
        Ok(bytes) => {
            if hex::encode(sha2::Sha256::digest(&bytes)) != log.sha256 {
                out.error(&format!("{} is not what was recorded", log.file), None);
                *code = exit::AUDIT;
            }
            Some(bytes)
        }
        Err(error) => {
            out.error(&error.to_string(), None);
            *code = exit::AUDIT;
            None
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

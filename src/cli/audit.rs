//! `runbook audit`: verifies, signs and shows the record.

mod export;
mod keys;
mod prune;
mod verify;

use serde_json::Value;

use super::args::{AuditArgs, AuditVerb};
use super::output::Output;
use super::{exit, status};
use crate::audit::JournalReader;
use crate::audit::Record;
use crate::audit::lookup;
use crate::base::Format;
use crate::host::StateDir;
use crate::report::clean;

pub(super) fn run(out: &mut Output, args: AuditArgs) -> u8 {
    match args.verb {
        AuditVerb::Verify(args) => verify::run(out, &args),
        AuditVerb::Keygen(args) => keys::keygen(out, &args),
        AuditVerb::Export(args) => export::run(out, &args),
        AuditVerb::Prune(args) => prune::run(out, &args),
        AuditVerb::Checkpoint => keys::checkpoint(out),
        AuditVerb::Show { run, format } => show(out, &run, format),
    }
}

/// The state folder, which is there; else the exit status, and it was told.
fn state(out: &Output) -> Result<StateDir, u8> {
    let state = StateDir::locate().map_err(|error| {
        out.error(&error.to_string(), error.help.as_deref());
        exit::USAGE
    })?;
    if state.path().is_dir() {
        return Ok(state);
    }
    let path = state.path().display();
    out.error(&format!("there is no state folder {path}"), None);
    Err(exit::USAGE)
}

fn show(out: &mut Output, run: &str, format: Format) -> u8 {
    let (state, id) = match status::find(out, run) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let seals = match lookup(&state, &id) {
        Ok(run) => run.map(|run| run.seals()).unwrap_or_default(),
        Err(error) => {
            out.error(&error.to_string(), None);
            return exit::AUDIT;
        }
    };
    let mut reader = match JournalReader::open(&state, &id, seals) {
        Ok(reader) => reader,
        Err(error) => {
            out.error(&error.to_string(), None);
            return exit::AUDIT;
        }
    };
    while let Some(record) = reader.next_record() {
        match record {
            Ok(record) => out.line(match format {
                Format::Json => String::from_utf8_lossy(&record.line).into_owned(),
                _ => line(&record),
            }),
            Err(fault) => {
                out.error(&format!("run {id}: {fault}"), None);
                return if fault.is_torn() {
                    exit::DONE
                } else {
                    exit::AUDIT
                };
            }
        }
    }
    exit::DONE
}

/// `    3  2026-11-24T03:02:47.123Z  step.start  disk#1  {…}`
fn line(record: &Record) -> String {
    let data: Value = record.data().unwrap_or_default();
    let path = record.path.as_deref().unwrap_or("-");
    let attempt = record
        .attempt
        .map(|attempt| format!("#{attempt}"))
        .unwrap_or_default();
    let path = format!("{path}{attempt}");
    let line = format!(
        "{:>5}  {}  {:14}  {path:20}  {data}",
        record.seq, record.at, record.kind
    );
    clean::line(&line).into_owned()
}

//! `runbook audit`: verifies and shows the record.

use serde_json::{Value, json};

use super::args::{AuditArgs, AuditVerb};
use super::output::Output;
use super::{exit, status};
use crate::audit::JournalReader;
use crate::audit::Record;
use crate::audit::lookup;
use crate::audit::{RunVerdict, Verification, verify};
use crate::base::Format;
use crate::base::count::plural;
use crate::host::StateDir;
use crate::report::clean;

pub(super) fn run(out: &mut Output, args: AuditArgs) -> u8 {
    match args.verb {
        AuditVerb::Verify { run, format } => check(out, run.as_deref(), format),
        AuditVerb::Show { run, format } => show(out, &run, format),
    }
}

fn check(out: &mut Output, run: Option<&str>, format: Format) -> u8 {
    let (state, id) = match run {
        Some(text) => match status::find(out, text) {
            Ok((state, id)) => (state, Some(id)),
            Err(code) => return code,
        },
        None => match StateDir::locate() {
            Ok(state) => (state, None),
            Err(error) => {
                out.error(&error.to_string(), error.help.as_deref());
                return exit::USAGE;
            }
        },
    };
    if !state.path().is_dir() {
        out.error(
            &format!("there is no state folder {}", state.path().display()),
            None,
        );
        return exit::USAGE;
    }
    let found = match verify(&state, id.as_ref()) {
        Ok(found) => found,
        Err(error) => {
            out.error(&error.to_string(), None);
            return exit::AUDIT;
        }
    };
    match format {
        Format::Json => out.json(&as_json(&found)),
        _ => print(out, &found),
    }
    if found.is_good() {
        exit::DONE
    } else {
        exit::AUDIT
    }
}

fn print(out: &mut Output, found: &Verification) {
    let good = |good: bool| if good { "ok" } else { "BAD" };
    let ledger = match &found.ledger.fault {
        None => plural(
            usize::try_from(found.ledger.records).unwrap_or(usize::MAX),
            "record",
        ),
        Some(fault) => format!("{} records verify, then: {fault}", found.ledger.records),
    };
    let ledger_good = found
        .ledger
        .fault
        .as_ref()
        .is_none_or(|fault| fault.is_torn());
    let mut text = format!("{:4} ledger            {ledger}\n", good(ledger_good));
    for run in &found.runs {
        let verdict = run.verdict.to_string();
        text.push_str(&format!(
            "{:4} {:16}  {}\n",
            good(run.verdict.is_good()),
            clean::line(&run.name),
            verdict.strip_prefix("ok, ").unwrap_or(&verdict)
        ));
    }
    let runs = found.runs.iter();
    let runs = runs.filter(|run| !matches!(run.verdict, RunVerdict::NoRun));
    let bad = runs.clone().filter(|run| !run.verdict.is_good()).count();
    let runs = plural(runs.count(), "run");
    text.push_str(&match (ledger_good, bad) {
        (true, 0) => format!("\nverified: the ledger and {runs}\n"),
        (true, bad) => format!("\nNOT VERIFIED: {bad} of {runs} bad\n"),
        (false, 0) => format!("\nNOT VERIFIED: the ledger is bad; {runs} verified\n"),
        (false, bad) => format!("\nNOT VERIFIED: the ledger and {bad} of {runs} bad\n"),
    });
    out.data(text);
}

fn as_json(found: &Verification) -> Value {
    let runs: Vec<Value> = found
        .runs
        .iter()
        .map(|run| {
            json!({
                "id": run.name,
                "ok": run.verdict.is_good(),
                "verdict": run.verdict.to_string(),
            })
        })
        .collect();
    json!({
        "schema_version": 1,
        "ok": found.is_good(),
        "ledger": {
            "ok": found.ledger.fault.as_ref().is_none_or(|fault| fault.is_torn()),
            "records": found.ledger.records,
            "fault": found.ledger.fault.as_ref().map(ToString::to_string),
        },
        "runs": runs,
    })
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

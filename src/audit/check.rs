//! One run: its journal, what the ledger says of it, and the files that it names.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Component, Path};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::chain::SetAside;
use super::fault::{Fault, Tampering};
use super::index::LedgerRun;
use super::ledger::END_KIND;
use super::read::{AuditError, JournalReader};
use super::record::Record;
use crate::base::{RunId, StepId, StepPath};
use crate::event::{Event, LogFile, PlannedStep, RunStatus, Section};
use crate::host::{HostError, StateDir, records};

/// What a journal told.
#[derive(Debug)]
pub(super) struct Checked {
    /// How many of its records verify.
    pub records: u64,
    /// Whether the last of them is the run's end.
    pub has_end: bool,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
    /// The torn bytes in it that were set aside.
    pub set_aside: Vec<SetAside>,
}

impl Checked {
    /// Reads the journal of `run`, of which the ledger says `known`.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub(super) fn of(
        state: &StateDir,
        run: &RunId,
        known: Option<&LedgerRun>,
    ) -> Result<Self, AuditError> {
        let seals = known.map(LedgerRun::seals).unwrap_or_default();
        let mut reader = JournalReader::open(state, run, seals)?;
        let mut checked = Self {
            records: 0,
            has_end: false,
            fault: None,
            set_aside: Vec::new(),
        };
        let mut story = Story::default();
        while let Some(record) = reader.next_record() {
            match record {
                Ok(record) => {
                    checked.records = record.seq;
                    checked.has_end = record.kind == END_KIND;
                    let said = check_files(&state.run(run), &record)
                        .and_then(|()| known.map_or(Ok(()), |known| check_ledger(known, &record)))
                        .and_then(|()| story.tell(&record));
                    // What is wrong with the chain weighs more than what is wrong beside it.
                    checked.fault = checked.fault.or(said.err());
                }
                Err(fault) if fault.is_torn() => checked.fault = checked.fault.or(Some(fault)),
                Err(fault) => checked.fault = Some(fault),
            }
        }
        checked.set_aside = reader.set_aside().to_vec();
        // The ledger has a run's start when the journal's first record is on disk, not before.
        let torn_or_fine = checked.fault.as_ref().is_none_or(Fault::is_torn);
        if known.is_some() && checked.records == 0 && torn_or_fine {
            let what = Tampering::CutOff { records: 1 };
            checked.fault = Some(Fault::tampered(1, what));
        }
        Ok(checked)
    }
}

/// What the records say of the main steps: an end that says otherwise was not written by an engine.
#[derive(Debug, Default)]
struct Story {
    /// The main steps that stand as failed and were not allowed to.
    failed: BTreeSet<StepId>,
    finally: BTreeSet<StepId>,
}

impl Story {
    fn tell(&mut self, record: &Record) -> Result<(), Fault> {
        if !matches!(
            record.kind.as_str(),
            "run.start" | "run.resume" | "run.end" | "step.result" | "step.resolve"
        ) {
            return Ok(());
        }
        // What cannot be read is told by whoever reads it.
        let event = { record.data().ok() }
            .and_then(|data| Event::from_parts(&record.kind, data).ok())
            .flatten();
        let path = record
            .path
            .as_ref()
            .and_then(|path| path.parse::<StepPath>().ok());
        match (event, path) {
            (Some(Event::RunStart(start)), _) => self.steps(&start.steps),
            (Some(Event::RunResume(resume)), _) => {
                if let Some(edited) = &resume.edited {
                    self.steps(&edited.steps);
                    let known: BTreeSet<&StepId> = edited.steps.iter().map(|s| &s.id).collect();
                    self.failed.retain(|id| known.contains(id));
                }
                self.failed.retain(|id| !resume.again.contains(id));
            }
            (Some(Event::StepResult(result)), Some(path)) if path.item.is_none() => {
                if result.status.is_bad() && !result.allowed && !self.finally.contains(&path.step) {
                    self.failed.insert(path.step);
                } else {
                    self.failed.remove(&path.step);
                }
            }
            (Some(Event::StepResolve(_)), Some(path)) => {
                self.failed.remove(&path.step);
            }
            (Some(Event::RunEnd(end)), _) if end.status == RunStatus::Succeeded => {
                if let Some(step) = self.failed.first() {
                    let step = step.to_string();
                    return Err(Fault::tampered(record.seq, Tampering::Contradicts { step }));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn steps(&mut self, steps: &[PlannedStep]) {
        let finally = steps.iter().filter(|step| step.section == Section::Finally);
        self.finally = finally.map(|step| step.id.clone()).collect();
    }
}

/// Whether the ledger says the same of the run's start and end.
fn check_ledger(known: &LedgerRun, record: &Record) -> Result<(), Fault> {
    let last = known.end.as_ref().filter(|end| end.records == record.seq);
    if record.seq != 1 && last.is_none() {
        return Ok(());
    }
    let event = record.data().ok().and_then(|data| {
        let event = Event::from_parts(&record.kind, data);
        event.ok().flatten()
    });
    let same: &[(&'static str, bool)] = match (&event, last) {
        (Some(Event::RunStart(start)), None) => &[
            ("playbook", start.playbook.name == known.start.playbook),
            ("user", start.user == known.start.user),
            ("host", start.host == known.start.host),
            ("time of the start", record.at == known.started_at),
        ],
        (Some(Event::RunEnd(end)), Some(last)) => &[
            ("status", end.status == last.status),
            ("exit code", end.exit_code == last.exit_code),
            ("duration", end.duration_ms == last.duration_ms),
            ("time of the end", record.at == last.ended_at),
            ("time of the start", known.started_at == last.started_at),
            ("playbook", known.start.playbook == last.playbook),
        ],
        (_, Some(_)) => &[("end", false)],
        (_, None) => return Ok(()),
    };
    match same.iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((field, _)) => Err(Fault::tampered(
            record.seq,
            Tampering::LedgerDiffers { field },
        )),
    }
}

/// Whether the files that a step's result names are those that it was about.
fn check_files(folder: &Path, record: &Record) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Logs {
        #[serde(default)]
        logs: Vec<LogFile>,
    }
    if record.kind != "step.result" {
        return Ok(());
    }
    let unreadable = |e: serde_json::Error| Fault::Unreadable {
        seq: record.seq,
        kind: record.kind.clone(),
        cause: e.to_string(),
    };
    for log in record.data::<Logs>().map_err(unreadable)?.logs {
        if let Err(cause) = check_file(folder, &log)? {
            let file = log.file;
            return Err(Fault::tampered(record.seq, Tampering::File { file, cause }));
        }
    }
    Ok(())
}

/// `Err` within: what is wrong with the file.
fn check_file(folder: &Path, log: &LogFile) -> Result<Result<(), String>, HostError> {
    let name = Path::new(&log.file);
    if !name
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return Ok(Err("lies outside of the run's folder".to_owned()));
    }
    let path = folder.join(name);
    let Some(mut file) = records::open(&path)? else {
        return Ok(Err("is gone".to_owned()));
    };
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|e| HostError::io(format!("read {}", path.display()), &e))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(if bytes != log.bytes {
        Err(format!("has {bytes} bytes instead of {}", log.bytes))
    } else if hex::encode(hash.finalize()) != log.sha256 {
        Err("has another content".to_owned())
    } else {
        Ok(())
    })
}

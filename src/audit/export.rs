//! Copying some runs out of a state folder, with what is needed to verify them elsewhere: the ledger
//! from its first line up to the checkpoint that vouches for the last of them, their folders, the
//! public key, and a script that verifies all of it with nothing but Python.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checkpoint::{CHECKPOINT_KIND, origin};
use super::index::LedgerReading;
use super::lines::Lines;
use super::record::Record;
use crate::base::RunId;
use crate::host::export::ExportFolder;
use crate::host::{HostError, StateDir, records};

/// The file that says what was exported.
pub const EXPORT_FILE: &str = "export.json";

/// The script of `docs/audit.md`.
const VERIFY: &str = include_str!("../../docs/verify.py");

/// What was exported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    /// The version of this file's format.
    pub schema_version: u32,
    /// Where from: the machine, and the state folder on it.
    pub origin: String,
    /// Which runs.
    pub runs: BTreeSet<RunId>,
    /// How many lines of the ledger.
    pub ledger_records: u64,
    /// When; wall time.
    pub exported_at: jiff::Timestamp,
    /// By whom.
    pub exported_by: String,
}

/// Which runs are exported: all that started from a time on, and before another; or those that are
/// named.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// From when on; wall time.
    pub since: Option<jiff::Timestamp>,
    /// Before when; wall time.
    pub until: Option<jiff::Timestamp>,
    /// Only these, where there are any.
    pub runs: Vec<RunId>,
}

/// Exports the runs of `state` in `range` to the new folder `into`.
///
/// # Errors
/// When there are none, or something cannot be read or written; what was written of the folder stays.
pub fn export(
    state: &StateDir,
    range: &Range,
    into: &Path,
    at: jiff::Timestamp,
    user: &str,
) -> Result<Export, HostError> {
    let reading = LedgerReading::read(state)?;
    let wanted = |run: &RunId, started: jiff::Timestamp| {
        range.since.is_none_or(|since| started >= since)
            && range.until.is_none_or(|until| started < until)
            && (range.runs.is_empty() || range.runs.contains(run))
    };
    let chosen = reading
        .runs
        .iter()
        .filter(|(run, known)| wanted(run, known.started_at));
    let runs: BTreeSet<RunId> = chosen
        .filter(|(_, known)| known.pruned.is_none())
        .map(|(run, _)| run.clone())
        .collect();
    if runs.is_empty() {
        return Err(HostError::permanent(
            "export runs",
            "there are none in this range",
        ));
    }
    let folder = ExportFolder::create(into)?;
    for run in &runs {
        folder.copy_run(state, run)?;
    }
    // After the runs: an end that came meanwhile is in it.
    let (ledger, ledger_records) = ledger_for(state, &runs)?;
    folder.write("ledger.jsonl", &ledger)?;
    let keys = reading.signatures.keys.iter();
    if let Some(last) = keys.take_while(|key| key.seq <= ledger_records).last() {
        let pem = last.key.to_pem();
        let pem = pem.map_err(|cause| HostError::permanent("write the public key", cause))?;
        folder.write("keys/checkpoint.pub", pem.as_bytes())?;
    }
    let export = Export {
        schema_version: 1,
        origin: origin(state),
        runs,
        ledger_records,
        exported_at: at,
        exported_by: user.to_owned(),
    };
    let json = serde_json::to_vec_pretty(&export)
        .map_err(|e| HostError::permanent("write what was exported", e.to_string()))?;
    folder.write("verify.py", VERIFY.as_bytes())?;
    folder.write(EXPORT_FILE, &json)?;
    Ok(export)
}

/// The ledger's lines up to the last one that says something of `runs`, and the checkpoint that
/// vouches for it; as they stand there.
fn ledger_for(state: &StateDir, runs: &BTreeSet<RunId>) -> Result<(Vec<u8>, u64), HostError> {
    #[derive(Deserialize)]
    struct About {
        run: RunId,
    }
    let path = state.ledger();
    let error = |e: &std::io::Error| HostError::io(format!("read {}", path.display()), e);
    let Some(file) = records::open(&path)? else {
        return Err(HostError::permanent("export runs", "there is no ledger"));
    };
    let mut lines = Lines::new(std::io::BufReader::new(file));
    let mut all = Vec::new();
    // How many bytes and records to keep; and whether a checkpoint is still to come.
    let (mut keep, mut open) = ((0, 0), false);
    while let Some(line) = lines.next().map_err(|e| error(&e))? {
        all.extend_from_slice(&line.bytes);
        if !line.ended {
            break;
        }
        all.push(b'\n');
        let Ok(record) = Record::read(line.bytes) else {
            continue;
        };
        let about = record.data::<About>();
        if about.is_ok_and(|about| runs.contains(&about.run)) {
            (keep, open) = ((all.len(), record.seq), true);
        } else if open && record.kind == CHECKPOINT_KIND {
            (keep, open) = ((all.len(), record.seq), false);
        }
    }
    all.truncate(keep.0);
    Ok((all, keep.1))
}

/// What the export in `folder` says that it holds.
///
/// # Errors
/// When it is none.
pub fn read_export(folder: &Path) -> Result<Export, HostError> {
    let path = folder.join(EXPORT_FILE);
    let bytes = crate::host::files::read_limited(&path, 64 << 20)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| HostError::permanent(format!("read {}", path.display()), e.to_string()))
}

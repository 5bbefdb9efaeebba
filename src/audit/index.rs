//! Reading the ledger: which runs there are, and how they ended.
//!
//! From its beginning, verifying everything ([`LedgerReading`]), or from its end, for those who want
//! the newest runs and should not wait for the whole ([`Newest`]).

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;

use indexmap::IndexMap;

use super::chain::{Records, Seals, SetAside};
use super::fault::Fault;
use super::ledger::{
    END_KIND, PRUNE_KIND, Pruned, RESUME_KIND, RunEnded, RunResumed, RunStarted, START_KIND,
};
use super::lines::LinesBack;
use super::record::{Digest, Head, Record, TORN_KIND};
use super::signatures::Signatures;
use crate::base::RunId;
use crate::host::{HostError, StateDir, records};

/// What the ledger says of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRun {
    /// The run, its playbook, user and host.
    pub start: RunStarted,
    /// When it started; wall time.
    pub started_at: jiff::Timestamp,
    /// How it ended; nothing while it runs, or where its engine was gone before it could say so.
    pub end: Option<RunEnded>,
    /// Where its journal stood whenever it was gone on with or had ended, before that end.
    pub before: Vec<Head>,
    /// Since when its records are taken away, and by whom.
    pub pruned: Option<(jiff::Timestamp, String)>,
}

impl LedgerRun {
    /// What is known of its journal.
    pub fn seals(&self) -> Seals {
        let end = self.end.as_ref().map(RunEnded::head);
        Seals::new(
            self.before.iter().copied().chain(end).collect(),
            end.is_some(),
        )
    }

    /// It is gone on with from `head`: what ended it before was not its end.
    fn resume(&mut self, head: Head) {
        let end = self.end.take().map(|end| end.head());
        self.before.extend(end.into_iter().chain([head]));
    }
}

/// The whole ledger, as far as it can be read.
#[derive(Debug, Default)]
pub struct LedgerReading {
    /// The runs, in the order of their starts. After a fault, what can still be read of them.
    pub runs: IndexMap<RunId, LedgerRun>,
    /// How many records verify.
    pub records: u64,
    /// Torn bytes that later runs set aside.
    pub set_aside: Vec<SetAside>,
    /// The first thing that is wrong with it.
    pub fault: Option<Fault>,
    /// What its signatures say.
    pub signatures: Signatures,
    /// The hash of each record that verifies, in their order.
    pub hashes: Vec<Digest>,
}

impl LedgerReading {
    /// Reads and verifies the ledger of `state`; where there is none, it has no runs.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn read(state: &StateDir) -> Result<Self, HostError> {
        let mut reading = Self::default();
        let Some(mut chain) = open(state)? else {
            return Ok(reading);
        };
        for record in &mut chain {
            match record {
                Ok(record) => {
                    reading.records = record.seq;
                    reading.hashes.push(record.hash);
                    let signed = reading.signatures.take(&record);
                    let taken = signed.and(reading.take(&record));
                    reading.fault = reading.fault.or(taken.err());
                }
                Err(fault) => reading.fault = reading.fault.or(Some(fault)),
            }
        }
        reading.set_aside = chain.set_aside().to_vec();
        if reading.fault.as_ref().is_none_or(Fault::is_torn) {
            let is_torn = reading.fault.is_some();
            let end = reading.signatures.at_end(is_torn);
            reading.fault = end.err().or(reading.fault);
        }
        if reading.fault.as_ref().is_some_and(|fault| !fault.is_torn()) {
            // What was taken already is told to start again, and stays as it is.
            for record in open(state)?.into_iter().flat_map(Records::unverified) {
                let _ = reading.take(&record);
            }
        }
        Ok(reading)
    }

    fn take(&mut self, record: &Record) -> Result<(), Fault> {
        let unreadable = |cause: String| Fault::Unreadable {
            seq: record.seq,
            kind: record.kind.clone(),
            cause,
        };
        match Line::of(record).map_err(|e| unreadable(e.to_string()))? {
            Line::Start(start) => {
                if self.runs.contains_key(&start.run) {
                    return Err(unreadable(format!("run {} starts again", start.run)));
                }
                let run = LedgerRun {
                    started_at: record.at,
                    end: None,
                    before: Vec::new(),
                    pruned: None,
                    start,
                };
                self.runs.insert(run.start.run.clone(), run);
            }
            Line::End(end) if end.ended_at != record.at => {
                return Err(unreadable(format!("`t` is not {}", end.ended_at)));
            }
            Line::End(end) => match self.runs.get_mut(&end.run) {
                Some(run) => run.end = Some(end),
                None => {
                    let cause = format!("run {} ends and has not started", end.run);
                    return Err(unreadable(cause));
                }
            },
            Line::Resume(resume) => match self.runs.get_mut(&resume.run) {
                Some(run) => run.resume(resume.head()),
                None => {
                    let cause = format!("run {} is gone on with and has not started", resume.run);
                    return Err(unreadable(cause));
                }
            },
            Line::Prune(pruned) => {
                for id in pruned.runs {
                    match self.runs.get_mut(&id) {
                        Some(run) => run.pruned = Some((record.at, pruned.user.clone())),
                        None => {
                            let cause = format!("run {id} is taken away and has not started");
                            return Err(unreadable(cause));
                        }
                    }
                }
            }
            Line::Other => {}
        }
        Ok(())
    }
}

fn open(state: &StateDir) -> Result<Option<Records<BufReader<File>>>, HostError> {
    let file = records::open(&state.ledger())?;
    Ok(file.map(|file| Records::new(BufReader::with_capacity(1 << 16, file), None)))
}

/// What a line of the ledger says.
enum Line {
    Start(RunStarted),
    End(RunEnded),
    Resume(RunResumed),
    Prune(Pruned),
    Other,
}

impl Line {
    fn of(record: &Record) -> Result<Self, serde_json::Error> {
        Ok(match record.kind.as_str() {
            START_KIND => Self::Start(record.data()?),
            END_KIND => Self::End(record.data()?),
            RESUME_KIND => Self::Resume(record.data()?),
            PRUNE_KIND => Self::Prune(record.data()?),
            _ => Self::Other,
        })
    }
}

/// What was met of a run whose start has not been met yet, the last line first.
#[derive(Debug, Default)]
struct Later {
    end: Option<RunEnded>,
    before: Vec<Head>,
    pruned: Option<(jiff::Timestamp, String)>,
}

/// The runs of the ledger, those that started last first. It verifies what it reads, and goes on
/// after what does not verify.
#[derive(Debug)]
pub struct Newest {
    lines: Option<LinesBack<File>>,
    newer: Option<Record>,
    later: HashMap<RunId, Later>,
    problems: Vec<String>,
}

impl Newest {
    /// The runs of `state`.
    ///
    /// # Errors
    /// When the ledger cannot be opened.
    pub fn of(state: &StateDir) -> Result<Self, HostError> {
        let path = state.ledger();
        let mut lines = None;
        if let Some(file) = records::open(&path)? {
            let length = file
                .metadata()
                .map_err(|e| HostError::io(format!("read {}", path.display()), &e))?
                .len();
            let mut back = LinesBack::new(file, length);
            // What follows the last newline is no line yet.
            back.next().map_err(|e| read_error(&e))?;
            lines = Some(back);
        }
        Ok(Self {
            lines,
            newer: None,
            later: HashMap::new(),
            problems: Vec::new(),
        })
    }

    /// The run that started before the one that was given last.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn next_run(&mut self) -> Result<Option<LedgerRun>, HostError> {
        let Some(lines) = &mut self.lines else {
            return Ok(None);
        };
        while let Some(line) = lines.next().map_err(|e| read_error(&e))? {
            let record = match Record::read(line) {
                Ok(record) => record,
                Err((_, error)) => {
                    // Torn bytes stand before the record that sets them aside.
                    if self.newer.as_ref().is_none_or(|r| r.kind != TORN_KIND) {
                        self.problems.push(format!("a line of the ledger: {error}"));
                    }
                    continue;
                }
            };
            if let Some(newer) = &self.newer
                && !newer.follows(&record.head())
            {
                let (this, next) = (record.seq, newer.seq);
                let problem = format!("record {next} of the ledger is not chained to {this}");
                self.problems.push(problem);
            }
            let line = Line::of(&record);
            let (seq, started_at) = (record.seq, record.at);
            self.newer = Some(record);
            match line {
                Ok(Line::Start(start)) => {
                    let mut later = self.later.remove(&start.run).unwrap_or_default();
                    later.before.reverse();
                    return Ok(Some(LedgerRun {
                        start,
                        started_at,
                        end: later.end,
                        before: later.before,
                        pruned: later.pruned,
                    }));
                }
                Ok(Line::End(end)) => {
                    let later = self.later.entry(end.run.clone()).or_default();
                    // The last line counts, which is the first that is met.
                    if later.end.is_none() && later.before.is_empty() {
                        later.end = Some(end);
                    } else {
                        later.before.push(end.head());
                    }
                }
                Ok(Line::Resume(resume)) => {
                    let later = self.later.entry(resume.run.clone()).or_default();
                    later.before.push(resume.head());
                }
                Ok(Line::Prune(pruned)) => {
                    let at = self
                        .newer
                        .as_ref()
                        .map_or(jiff::Timestamp::UNIX_EPOCH, |r| r.at);
                    for run in pruned.runs {
                        self.later.entry(run).or_default().pruned = Some((at, pruned.user.clone()));
                    }
                }
                Ok(Line::Other) => {}
                Err(error) => self
                    .problems
                    .push(format!("record {seq} of the ledger: {error}")),
            }
        }
        self.lines = None;
        Ok(None)
    }

    /// What was wrong with the lines that were read.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// What the ledger says of run `id`.
///
/// # Errors
/// When the ledger cannot be read.
pub fn lookup(state: &StateDir, id: &RunId) -> Result<Option<LedgerRun>, HostError> {
    let mut newest = Newest::of(state)?;
    while let Some(run) = newest.next_run()? {
        if run.start.run == *id {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

fn read_error(error: &std::io::Error) -> HostError {
    HostError::io("read the ledger", error)
}

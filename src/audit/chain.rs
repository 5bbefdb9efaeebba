//! The records of a file, each verified against the one before it; the last against the ledger.
//!
//! What the parts of a record mean is not looked at here, so that kinds which this version does not
//! know are verified like all others.

use std::io::BufRead;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::diagnose::diagnose;
use super::fault::{Fault, Tampering};
use super::lines::{Line, Lines};
use super::record::{Digest, Head, MAX_RECORD, NoRecord, Record, TORN_KIND, VERSION};
use crate::host::HostError;

/// How many lines torn bytes may span: each crash in the middle of setting some aside adds one.
pub(super) const MAX_TORN_LINES: usize = 64;

/// The data of a record of kind [`TORN_KIND`]: the bytes between the record before and this one,
/// without the newline at their end, are no record; a crash left them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torn {
    /// How many there are.
    pub bytes: u64,
    /// Their hash.
    pub sha256: Digest,
    /// Whether whole lines are among them that no crash leaves: somebody wrote them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

/// Torn bytes that were set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The record that says so, in front of which they stand.
    pub seq: u64,
    /// How many there are.
    pub bytes: u64,
}

/// What the ledger knows of a journal: where its chain stood at several moments, and whether it has
/// ended there. Of a file that nothing vouches for, such as the ledger itself, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seals {
    /// Where it stood, in this order.
    heads: Vec<Head>,
    /// Whether the last of them is its end.
    ended: bool,
}

impl Seals {
    /// It stood at `heads`, one after the other; `ended` says that it ended at the last.
    pub fn new(heads: Vec<Head>, ended: bool) -> Self {
        let ended = ended && !heads.is_empty();
        Self { heads, ended }
    }

    /// Where it ended, if it has.
    pub fn end(&self) -> Option<Head> {
        self.last().filter(|_| self.ended)
    }

    /// The last place that is known.
    fn last(&self) -> Option<Head> {
        self.heads.last().copied()
    }

    /// Whether a record with this head is one that the ledger knows otherwise.
    fn denies(&self, head: Head) -> bool {
        let mut known = self.heads.iter();
        known.any(|known| known.seq == head.seq && known.hash != head.hash)
    }
}

/// Of a file that ended there, or has not ended.
impl From<Option<Head>> for Seals {
    fn from(end: Option<Head>) -> Self {
        Self::new(end.into_iter().collect(), true)
    }
}

/// Reads records and verifies them. After the first error it is at its end.
#[derive(Debug)]
pub struct Records<R> {
    lines: Lines<R>,
    head: Head,
    seals: Seals,
    aside: Vec<SetAside>,
    over: bool,
}

impl<R: BufRead> Records<R> {
    /// The records of `source`. What the ledger has sealed may not be missing or another; after a
    /// run's end no record may be torn or added.
    pub fn new(source: R, seals: impl Into<Seals>) -> Self {
        Self {
            lines: Lines::new(source),
            head: Head::EMPTY,
            seals: seals.into(),
            aside: Vec::new(),
            over: false,
        }
    }

    /// Where the chain stands after the records that were read.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The torn bytes that were set aside in the part that was read.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.aside
    }

    /// Every line that is left and is a record, without verifying anything: what a broken chain can
    /// still tell.
    pub(super) fn unverified(mut self) -> impl Iterator<Item = Record> {
        std::iter::from_fn(move || {
            loop {
                let line = self.lines.next().ok()??;
                if let (true, Ok(record)) = (line.ended, Record::read(line.bytes)) {
                    return Some(record);
                }
            }
        })
    }

    fn step(&mut self) -> Result<Option<Record>, Fault> {
        let Some(line) = self.lines.next().map_err(|e| read_error(&e))? else {
            return self.at_end().map(|()| None);
        };
        if !line.ended {
            return Err(self.tail(&line));
        }
        let Line { at, len, bytes, .. } = line;
        let (bytes, read) = match Record::read(bytes) {
            Ok(record) if record.follows(&self.head) && record.kind != TORN_KIND => {
                return self.accept(record).map(Some);
            }
            Ok(record) => (record.line.clone(), Ok(record)),
            Err((bytes, error)) => (bytes, Err(error)),
        };
        let line = Line {
            at,
            len,
            bytes,
            ended: true,
        };
        self.misfit(&line, read).map(Some)
    }

    fn accept(&mut self, record: Record) -> Result<Record, Fault> {
        let seq = record.seq;
        if let Some(end) = self.seals.end().filter(|end| seq > end.seq) {
            let records = end.seq;
            return Err(Fault::tampered(seq, Tampering::Added { records }));
        }
        if self.seals.denies(record.head()) {
            return Err(Fault::tampered(seq, Tampering::Rechained));
        }
        self.head = record.head();
        Ok(record)
    }

    /// A line that is not the next record: torn bytes, if a record after them says so.
    fn misfit(&mut self, line: &Line, read: Result<Record, NoRecord>) -> Result<Record, Fault> {
        let mut region = Sha256::new();
        region.update(&line.bytes);
        let mut bytes = line.len;
        for distance in 0..MAX_TORN_LINES {
            let next = self.lines.peek(distance).map_err(|e| read_error(&e))?;
            let Some(next) = next.filter(|next| next.ended && bytes <= MAX_RECORD as u64) else {
                break;
            };
            let record = Record::read(next.bytes.clone())
                .ok()
                .filter(|record| record.kind == TORN_KIND && record.follows(&self.head));
            if let Some(record) = record {
                let said = record.data::<Torn>().ok();
                let sha256 = Digest::finish(region);
                // What was a whole line when it was set aside was not torn.
                let whole = false;
                if said
                    != Some(Torn {
                        bytes,
                        sha256,
                        whole,
                    })
                {
                    return Err(Fault::tampered(record.seq, Tampering::NotAside));
                }
                for _ in 0..=distance {
                    self.lines.next().map_err(|e| read_error(&e))?;
                }
                let seq = record.seq;
                self.aside.push(SetAside { seq, bytes });
                return self.accept(record);
            }
            region.update(b"\n");
            region.update(&next.bytes);
            bytes += 1 + next.len;
        }
        let next = self.head.seq + 1;
        match read {
            Ok(record) if record.follows(&self.head) => {
                Err(Fault::tampered(next, Tampering::NotAside))
            }
            read => {
                let fault = diagnose(self.head, self.seals.end(), read, &mut self.lines);
                Err(fault.map_err(|e| read_error(&e))?)
            }
        }
    }

    /// What follows the last newline.
    fn tail(&self, line: &Line) -> Fault {
        let next = self.head.seq + 1;
        match self.seals.last() {
            Some(Head { seq: records, .. }) if self.head.seq < records => {
                Fault::tampered(next, Tampering::CutOff { records })
            }
            Some(Head { seq: records, .. }) if self.seals.ended => {
                Fault::tampered(next, Tampering::Added { records })
            }
            _ => Fault::Torn {
                at: line.at,
                bytes: line.len,
            },
        }
    }

    fn at_end(&self) -> Result<(), Fault> {
        match self.seals.last() {
            Some(Head { seq: records, .. }) if self.head.seq < records => {
                let what = Tampering::CutOff { records };
                Err(Fault::tampered(self.head.seq + 1, what))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a crash can have left `line` after `head`: the beginning of the record that was to come, or
/// zeros where the file system had not written it yet.
pub(super) fn may_be_torn(head: Head, line: &[u8]) -> bool {
    let next = format!(
        "{{\"v\":{VERSION},\"seq\":{},\"prev\":\"{}\",\"t\":\"",
        head.seq + 1,
        head.hash
    );
    let written = line
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let length = written.min(next.len());
    line[..length] == next.as_bytes()[..length]
}

fn read_error(error: &std::io::Error) -> Fault {
    Fault::Host(HostError::io("read the records", error))
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step();
        self.over = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

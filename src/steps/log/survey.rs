//! Goes through the files of a log: what each of them holds, and what could not be read or judged.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;

use super::count::{Counted, Counter, Ended, Query};
use super::parts::{self, Part};
use super::{seek, source};
use crate::base::EndReason;
use crate::event::Finding;
use crate::host::error::io_cause;
use crate::host::{HostError, Observe, glob};
use crate::step::{StepError, StepErrorKind};

/// Lines of larger files are not numbered: it would take a seventh of the time.
const NUMBERED: u64 = 256 << 20;

/// How long before the time asked for an older part must have been written to last, so as not to be
/// read at all. The clock on the wall that its stamps tell may be another one than ours.
const OLD: Duration = Duration::from_secs(26 * 60 * 60);

/// How many bytes of files are read between two notes on how far it is.
const PROGRESS: u64 = 16 << 20;

/// What one file came to.
#[derive(Debug)]
pub struct ReadFile {
    /// Its path.
    pub path: PathBuf,
    /// What was counted in it.
    pub counted: Counted,
    /// Whether all of it was read, and its lines tell their time where that decides.
    pub judged: bool,
}

/// Goes through files.
pub struct Survey<'a> {
    host: &'a Observe,
    query: &'a Query,
    /// What the files came to together.
    pub counter: Counter<'a>,
    /// The files that were read, in the order of [`super::count::Hit::stream`].
    pub files: Vec<ReadFile>,
    /// What could not be read or judged.
    pub unknown: Vec<Finding>,
    seen: HashSet<(u64, u64)>,
    done: Rc<Cell<u64>>,
    reported: u64,
}

impl<'a> Survey<'a> {
    /// Nothing looked at yet.
    pub fn new(host: &'a Observe, query: &'a Query) -> Self {
        Self {
            host,
            query,
            counter: Counter::new(query),
            files: Vec::new(),
            unknown: Vec::new(),
            seen: HashSet::new(),
            done: Rc::default(),
            reported: 0,
        }
    }

    /// Reads the log at `path`, or all logs whose names match it; with `rotated`, the older parts of
    /// each too.
    ///
    /// # Errors
    /// When it was told to end. What cannot be read is a finding.
    pub fn read(&mut self, path: &Path, rotated: bool) -> Result<(), StepError> {
        if !glob::is_pattern(path) {
            return self.log(&self.host.scope().resolve(path), rotated, true);
        }
        let found = match self.host.glob(path) {
            Ok(found) => found,
            Err(error) => {
                self.unknown(path, error.to_string());
                return Ok(());
            }
        };
        for error in &found.unread {
            self.unknown(path, error.to_string());
        }
        let is_folder = |path: &PathBuf| self.host.metadata(path).is_ok_and(|m| m.is_dir());
        let logs: Vec<PathBuf> = found.paths.into_iter().filter(|p| !is_folder(p)).collect();
        if logs.is_empty() && found.unread.is_empty() {
            self.unknown(path, "no file matches it");
        }
        for log in &logs {
            self.log(log, rotated, logs.len() == 1)?;
        }
        Ok(())
    }

    fn unknown(&mut self, path: &Path, message: impl Into<String>) {
        let subject = path.display().to_string();
        self.unknown.push(Finding::unknown(subject, message));
    }

    /// Reads the log at `base`; `only` if it is all there is to read.
    fn log(&mut self, base: &Path, rotated: bool, only: bool) -> Result<(), StepError> {
        let (mut parts, failed) = if rotated {
            parts::open_all(self.host, base)
        } else {
            match parts::open(self.host, base) {
                Ok(part) => (vec![part], Vec::new()),
                Err(failed) => (Vec::new(), vec![failed]),
            }
        };
        for (path, error) in failed {
            self.unknown(&path, error.to_string());
        }
        parts.retain(|part| part.path == base || self.may_matter(&part.metadata));
        // Two names of one file, such as a link to today's log, are one file.
        parts.retain(|part| self.seen.insert(part.identity()));
        let total = only.then(|| parts.iter().map(|part| part.metadata.len()).sum());
        self.counter.break_off();
        for part in parts {
            self.part(part, total)?;
        }
        Ok(())
    }

    /// Whether an older part may hold lines that count: if it was written to late enough.
    fn may_matter(&self, metadata: &Metadata) -> bool {
        let written = metadata.modified().ok();
        let written = written.and_then(|time| Timestamp::try_from(time).ok());
        let (Some(since), Some(written)) = (self.query.since, written) else {
            return true;
        };
        since.checked_sub(OLD).is_ok_and(|old| written >= old)
    }

    fn part(&mut self, part: Part, total: Option<u64>) -> Result<(), StepError> {
        let Part {
            path,
            mut file,
            metadata,
        } = part;
        let before = self.done.get();
        let opened = self.skip(&mut file, metadata.len()).and_then(|skipped| {
            self.done.set(before + skipped);
            let source = source::open(file, &path, Rc::clone(&self.done))?;
            Ok((source, skipped))
        });
        let (source, skipped) = match opened {
            Ok(opened) => opened,
            Err(cause) => {
                let error = HostError::permanent(format!("read {}", path.display()), cause);
                self.unknown(&path, error.to_string());
                return Ok(());
            }
        };
        let (scope, done, reported) = (self.host.scope(), &self.done, &mut self.reported);
        let pulse = self.host.pulse();
        let go_on = || {
            pulse.goes_on();
            if done.get() - *reported >= PROGRESS {
                *reported = done.get();
                scope.progress(done.get(), total, "bytes");
            }
            scope.cancel.state().reason().is_none()
        };
        let numbered = skipped == 0 && metadata.len() <= NUMBERED;
        let unknown = self.unknown.len();
        let (counted, result) = self.counter.stream(source, numbered, go_on);
        match result {
            Err(Ended::Told) => return Err(self.told()),
            Err(Ended::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.cut_short(&path, "it ends in the middle");
            }
            Err(Ended::Io(error)) => self.cut_short(&path, io_cause(&error)),
            Ok(()) if self.done.get() - before < metadata.len() => {
                self.cut_short(&path, "it was cut off meanwhile, and lines went with it");
            }
            Ok(()) => {}
        }
        let counted = self.dated(&path, counted);
        self.files.push(ReadFile {
            path,
            counted,
            judged: self.unknown.len() == unknown,
        });
        Ok(())
    }

    fn cut_short(&mut self, path: &Path, cause: impl Into<String>) {
        let error = HostError::permanent(format!("read {} to its end", path.display()), cause);
        self.unknown(path, error.to_string());
    }

    /// Goes to where reading begins, and says how much that leaves out.
    fn skip(&self, file: &mut File, length: u64) -> Result<u64, String> {
        let Some(since) = self.query.since else {
            return Ok(0);
        };
        seek::start(file, length, &self.query.stamps, since)
            .and_then(|start| file.seek(SeekFrom::Start(start)))
            .map_err(|error| io_cause(&error))
    }

    /// What counts, knowing whether the file's lines have stamps at all.
    fn dated(&mut self, path: &Path, mut counted: Counted) -> Counted {
        if self.query.since.is_none() || counted.dated || counted.bytes == 0 {
            return counted;
        }
        let undated = std::mem::take(&mut counted.undated);
        counted.count -= undated;
        let message = format!(
            "no line has a time stamp that is recognised, so nobody knows which of them are recent; \
             {undated} match at whatever time"
        );
        let subject = path.display().to_string();
        let help = "say how its time stamps look: `timestamp: { format: \"%d.%m.%Y %H:%M:%S\" }`";
        self.unknown
            .push(Finding::unknown(subject, message).with_help(help));
        counted
    }

    fn told(&self) -> StepError {
        let kind = match self.host.scope().cancel.state().reason() {
            Some(EndReason::Timeout) => StepErrorKind::TimedOut,
            _ => StepErrorKind::Cancelled,
        };
        let read = crate::base::ByteSize(self.done.get());
        StepError::new(kind, format!("ended after {read} were read"))
    }
}

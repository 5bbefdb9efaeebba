//! When the lines of one stream were written, without reading every line's time stamp.
//!
//! A line without a stamp belongs to the line before: a stack trace, a long statement. So from a
//! line whose time is asked for, this goes back to the nearest stamp, and never over the same line
//! twice. A stamp that is too far away says nothing any more: a program may write one when it
//! starts and none after.

use jiff::Timestamp;
use memchr::{memchr, memrchr};

use super::stamp::Stamps;

/// The times of lines that are asked for in their order, chunk after chunk.
#[derive(Debug)]
pub struct Dates<'a> {
    stamps: &'a Stamps,
    /// How far a stamp carries, in bytes.
    reach: u64,
    /// The last stamp seen, and where it stands in the stream.
    last: Option<(Timestamp, u64)>,
    /// Where the chunk at hand begins in the stream.
    base: u64,
    /// Where in this chunk the lines begin that have not been looked at.
    unseen: usize,
    seen_any: bool,
}

impl<'a> Dates<'a> {
    /// The times of a stream's lines. `before` is the time of what was written before it.
    pub fn new(stamps: &'a Stamps, reach: u64, before: Option<Timestamp>) -> Self {
        Self {
            stamps,
            reach,
            last: before.map(|stamp| (stamp, 0)),
            base: 0,
            unseen: 0,
            seen_any: false,
        }
    }

    /// Whether a stamp has been seen in this stream.
    pub fn seen_any(&self) -> bool {
        self.seen_any
    }

    /// Whether the first chunk is at hand.
    pub fn at_the_beginning(&self) -> bool {
        self.base == 0
    }

    /// The last stamp seen.
    pub fn last(&self) -> Option<Timestamp> {
        self.last.map(|(stamp, _)| stamp)
    }

    /// Begins a chunk. Lines before the first stamp of all are taken to be as old as that one: they
    /// go on with a line that went away with the file before.
    pub fn enter(&mut self, lines: &[u8]) {
        self.unseen = 0;
        if self.last.is_some() {
            return;
        }
        let mut start = 0;
        while start < lines.len() {
            let end = memchr(b'\n', &lines[start..]).map_or(lines.len(), |at| start + at);
            if let Some(stamp) = self.stamps.read(&lines[start..end]) {
                self.seen_any = true;
                self.last = Some((stamp, self.base));
                return;
            }
            start = end + 1;
        }
        self.unseen = lines.len();
    }

    /// Begins a chunk without looking ahead: for whoever only shows times.
    pub fn enter_blind(&mut self) {
        self.unseen = 0;
    }

    /// When the line that begins at `start` was written; `None` where that is not known.
    pub fn of(&mut self, lines: &[u8], start: usize) -> Option<Timestamp> {
        let mut at = start;
        let after = memchr(b'\n', &lines[start..]).map_or(lines.len(), |end| start + end + 1);
        let mut end = after;
        let reach = usize::try_from(self.reach).unwrap_or(usize::MAX);
        while at >= self.unseen {
            if let Some(stamp) = self.stamps.read(&lines[at..end]) {
                self.seen_any = true;
                self.last = Some((stamp, self.base + at as u64));
                break;
            }
            if at == 0 || start - at > reach {
                break;
            }
            end = at - 1;
            at = memrchr(b'\n', &lines[..end]).map_or(0, |break_| break_ + 1);
        }
        self.unseen = self.unseen.max(after);
        let here = self.base + start as u64;
        self.last
            .filter(|(_, stamp_at)| here.saturating_sub(*stamp_at) <= self.reach)
            .map(|(stamp, _)| stamp)
    }

    /// Ends a chunk, having looked for the last stamp in it.
    pub fn leave(&mut self, lines: &[u8]) {
        let content = lines.strip_suffix(b"\n").unwrap_or(lines);
        let last_line = memrchr(b'\n', content).map_or(0, |at| at + 1);
        if last_line >= self.unseen && !lines.is_empty() {
            let _ = self.of(lines, last_line);
        }
        self.leave_blind(lines.len());
    }

    /// Ends a chunk of `length` bytes without looking at it; the same as [`Dates::leave`] where no
    /// line has a stamp.
    pub fn leave_blind(&mut self, length: usize) {
        self.base += length as u64;
    }
}

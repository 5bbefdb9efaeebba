//! Counts the lines of a stream that match, and keeps the last of them.

use std::collections::VecDeque;
use std::io::Read;

use jiff::Timestamp;
use memchr::{memchr, memchr_iter, memrchr};
use regex_automata::Span;

use super::dates::Dates;
use super::lines::{Chunk, Lines, Sizes};
use super::matcher::Matcher;
use super::stamp::Stamps;

/// The longest text of a line that is kept, in characters.
pub const LONGEST_TEXT: usize = 500;

/// How far from its stamp a line still belongs to it, in bytes, where its time decides whether it
/// counts. Thread dumps reach some hundred kilobytes.
const REACH: u64 = 1 << 20;

/// The same where the time is only shown.
const SHORT_REACH: u64 = 4 << 10;

/// What is looked for.
#[derive(Debug)]
pub struct Query {
    /// The pattern.
    pub matcher: Matcher,
    /// How time stamps are read.
    pub stamps: Stamps,
    /// Only lines that were written then or later count.
    pub since: Option<Timestamp>,
    /// How many of the last lines are kept.
    pub keep: usize,
    /// The buffers.
    pub sizes: Sizes,
}

/// A line that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which stream it is in, from 0.
    pub stream: usize,
    /// Its number, from 1, where lines are numbered.
    pub line: Option<u64>,
    /// When it was written, where that is known.
    pub time: Option<Timestamp>,
    /// The beginning of it.
    pub text: String,
}

/// What one stream came to, up to where it could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Lines that match and count.
    pub count: u64,
    /// Of these, lines whose time would have decided and is not known.
    pub undated: u64,
    /// Lines, where they were counted.
    pub lines: Option<u64>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether any line has a time stamp; known only where time decides.
    pub dated: bool,
}

/// Why counting ended early.
#[derive(Debug)]
pub enum Ended {
    /// The stream could not be read any further.
    Io(std::io::Error),
    /// It was told to.
    Told,
}

/// Counts in one stream after another.
#[derive(Debug)]
pub struct Counter<'a> {
    query: &'a Query,
    streams: usize,
    /// Of all streams, the last lines that match.
    pub last: VecDeque<Hit>,
    /// Of all streams, when the first line that matches was written.
    pub first_time: Option<Timestamp>,
    /// The same of the last.
    pub last_time: Option<Timestamp>,
    any: bool,
    /// The last stamp of the stream before, where this one goes on with it.
    before: Option<Timestamp>,
}

impl<'a> Counter<'a> {
    /// Nothing counted yet.
    pub fn new(query: &'a Query) -> Self {
        Self {
            query,
            streams: 0,
            last: VecDeque::new(),
            first_time: None,
            last_time: None,
            any: false,
            before: None,
        }
    }

    /// The next stream does not go on with the one before.
    pub fn break_off(&mut self) {
        self.before = None;
    }

    /// Counts in a stream. Its lines are numbered if `numbered`; `go_on` is asked after each chunk:
    /// whether to.
    pub fn stream(
        &mut self,
        source: impl Read,
        numbered: bool,
        mut go_on: impl FnMut() -> bool,
    ) -> (Counted, Result<(), Ended>) {
        let query = self.query;
        let reach = if query.since.is_some() {
            REACH
        } else {
            SHORT_REACH
        };
        let mut stream = Stream {
            dates: Dates::new(&query.stamps, reach, self.before),
            counted: Counted {
                lines: numbered.then_some(0),
                ..Counted::default()
            },
            long: None,
            counter: self,
        };
        let mut lines = Lines::new(source, query.sizes);
        let result = loop {
            match lines.next() {
                Ok(Some(Chunk::Lines(bytes))) => stream.lines(bytes),
                Ok(Some(Chunk::Piece { bytes, first, last })) => stream.piece(bytes, first, last),
                Ok(None) => break Ok(()),
                Err(error) => break Err(Ended::Io(error)),
            }
            stream.counted.bytes = lines.bytes_read();
            if !go_on() {
                break Err(Ended::Told);
            }
        };
        let Stream {
            mut counted, dates, ..
        } = stream;
        counted.dated = dates.seen_any();
        let before = dates.last();
        self.before = before;
        self.streams += 1;
        (counted, result)
    }

    fn keep(&mut self, hit: Hit) {
        self.last_time = hit.time;
        if self.query.keep == 0 {
            return;
        }
        if self.last.len() == self.query.keep {
            self.last.pop_front();
        }
        self.last.push_back(hit);
    }
}

/// A line that matches, in the chunk at hand.
struct Place {
    start: usize,
    end: usize,
    time: Option<Timestamp>,
}

/// A line that comes in pieces.
struct Long {
    text: String,
    time: Option<Timestamp>,
    matches: bool,
}

struct Stream<'c, 'q> {
    counter: &'c mut Counter<'q>,
    dates: Dates<'q>,
    counted: Counted,
    long: Option<Long>,
}

impl Stream<'_, '_> {
    fn lines(&mut self, bytes: &[u8]) {
        let query = self.counter.query;
        match query.since {
            Some(_) => self.dates.enter(bytes),
            None => self.dates.enter_blind(),
        }
        let mut kept: VecDeque<Place> = VecDeque::new();
        let mut at = 0;
        while at < bytes.len() {
            let Some(hit) = query.matcher.candidate(bytes, at) else {
                break;
            };
            let start = memrchr(b'\n', &bytes[at..hit]).map_or(at, |break_| at + break_ + 1);
            if start == bytes.len() {
                break;
            }
            let end = memchr(b'\n', &bytes[hit..]).map_or(bytes.len(), |break_| hit + break_);
            at = end + 1;
            if !query.matcher.confirms(without_return(&bytes[start..end])) {
                continue;
            }
            let time = if query.since.is_some() || !self.counter.any {
                self.dates.of(bytes, start)
            } else {
                None
            };
            if !self.judge(time) {
                continue;
            }
            if kept.len() == query.keep.max(1) {
                kept.pop_front();
            }
            kept.push_back(Place { start, end, time });
        }
        if query.since.is_none() {
            for place in &mut kept {
                place.time = self.dates.of(bytes, place.start);
            }
        }
        self.number_and_keep(bytes, kept);
        // A log whose first lines have no stamps is taken to have none, where times are only shown.
        if query.since.is_some() || self.dates.seen_any() || self.dates.at_the_beginning() {
            self.dates.leave(bytes);
        } else {
            self.dates.leave_blind(bytes.len());
        }
    }

    /// Counts a line that matches, if it does count.
    fn judge(&mut self, time: Option<Timestamp>) -> bool {
        if let Some(since) = self.counter.query.since {
            match time {
                Some(time) if time < since => return false,
                Some(_) => {}
                None => self.counted.undated += 1,
            }
        }
        if !self.counter.any {
            self.counter.any = true;
            self.counter.first_time = time;
        }
        self.counted.count += 1;
        true
    }

    fn number_and_keep(&mut self, bytes: &[u8], kept: VecDeque<Place>) {
        let mut counted_to = 0;
        for Place { start, end, time } in kept {
            let line = self.counted.lines.as_mut().map(|lines| {
                *lines += line_breaks(&bytes[counted_to..start]);
                *lines + 1
            });
            counted_to = start;
            let text = shown(without_return(&bytes[start..end]));
            let stream = self.counter.streams;
            self.counter.keep(Hit {
                stream,
                line,
                time,
                text,
            });
        }
        if let Some(lines) = &mut self.counted.lines {
            *lines += line_breaks(&bytes[counted_to..]) + u64::from(!bytes.ends_with(b"\n"));
        }
    }

    fn piece(&mut self, bytes: &[u8], first: bool, last: bool) {
        let query = self.counter.query;
        if first {
            match query.since {
                Some(_) => self.dates.enter(bytes),
                None => self.dates.enter_blind(),
            }
            self.long = Some(Long {
                text: shown(bytes),
                time: self.dates.of(bytes, 0),
                matches: false,
            });
        }
        let line = if last { without_return(bytes) } else { bytes };
        // A byte more than is searched, on each side where the line goes on: so that its ends are
        // not taken to be there.
        let span = Span {
            start: usize::from(!first),
            end: line.len() - usize::from(!last),
        };
        let Some(long) = &mut self.long else { return };
        long.matches =
            long.matches || (span.start <= span.end && query.matcher.matches_within(line, span));
        if !last {
            self.dates.leave_blind(bytes.len());
            return;
        }
        let Some(long) = self.long.take() else { return };
        let line = self.counted.lines.as_mut().map(|lines| {
            *lines += 1;
            *lines
        });
        if long.matches && self.judge(long.time) {
            let stream = self.counter.streams;
            self.counter.keep(Hit {
                stream,
                line,
                time: long.time,
                text: long.text,
            });
        }
        self.dates.leave_blind(bytes.len());
    }
}

fn line_breaks(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The beginning of a line, as text: what is not UTF-8 becomes U+FFFD.
fn shown(line: &[u8]) -> String {
    // No character takes more than 4 bytes.
    let head = &line[..line.len().min(4 * LONGEST_TEXT + 4)];
    let text = String::from_utf8_lossy(head);
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(LONGEST_TEXT).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;

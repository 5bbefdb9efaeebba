//! Secrets that a tool broke into lines: base64 and quoted-printable at a fixed width, hex dumps
//! with offsets and a column of text.
//!
//! The breaks may stand anywhere in a secret, so they are taken out, and what is left is searched.
//! Most lines are told by a few characters to be none of these, and are not looked at again.

use std::ops::Range;

use aho_corasick::AhoCorasick;

use super::dump;
use super::{automaton, open_in};

/// A line that ends in fewer characters of base64 was not broken by a tool: no width is smaller.
const NARROWEST: usize = 16;

/// So much of the next line, or all of it, is base64 then.
const BEGINNING: usize = 8;

/// What stands before the bytes that are looked at, and was passed on already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// How many characters of base64 stand right before, on the same line; no more than matter.
    run: usize,
    /// Whether a line begins here.
    line_start: bool,
}

impl Before {
    /// Nothing does.
    pub(super) const NOTHING: Self = Self {
        run: 0,
        line_start: true,
    };

    /// What does once `bytes` were passed on as well.
    pub(super) fn and(self, bytes: &[u8]) -> Self {
        let Some(last) = bytes.last() else {
            return self;
        };
        let run = run_at_end(bytes);
        let before = if run == bytes.len() { self.run } else { 0 };
        Self {
            run: (run + before).min(NARROWEST),
            line_start: *last == b'\n',
        }
    }
}

/// What was found in some bytes.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Where secrets are.
    pub(super) spans: Vec<Range<usize>>,
    /// Where one may have begun that goes on after the end.
    pub(super) open: Vec<usize>,
    /// Lines of dumps that belong together: without the first ones, nobody can tell what the last
    /// ones say.
    together: Vec<Range<usize>>,
}

impl Found {
    fn keep_together(&mut self) {
        self.together
            .sort_unstable_by_key(|lines| std::cmp::Reverse(lines.start));
        for lines in std::mem::take(&mut self.together) {
            if self.open.iter().any(|open| lines.contains(open)) {
                self.open.push(lines.start);
            }
        }
        self.open.sort_unstable();
    }
}

/// The forms that are broken into lines.
pub(super) struct Wrapped {
    automaton: AhoCorasick,
    /// Sorted.
    patterns: Vec<Vec<u8>>,
    longest: usize,
}

/// Lines put together: what is left of them, and where that was.
#[derive(Default)]
struct Joined {
    bytes: Vec<u8>,
    /// Where each piece begins here, and where it was.
    pieces: Vec<(usize, usize)>,
    /// Where its lines begin and end.
    lines: Vec<Range<usize>>,
    /// Whether its last line ends in a break of quoted-printable.
    soft: bool,
}

impl Joined {
    fn push(&mut self, bytes: &[u8], place: Range<usize>) {
        if !place.is_empty() {
            self.pieces.push((self.bytes.len(), place.start));
            self.bytes.extend_from_slice(&bytes[place]);
        }
    }

    /// Where the byte at `at` was.
    fn place(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|(begin, _)| *begin <= at);
        let piece = next.checked_sub(1).and_then(|piece| self.pieces.get(piece));
        piece.map_or(0, |(begin, place)| place + (at - begin))
    }
}

/// A line: where its text is, and where the next one begins.
struct Line {
    text: Range<usize>,
    next: usize,
    /// Whether its end was seen.
    whole: bool,
}

impl Wrapped {
    /// Looks for `patterns` across lines.
    pub(super) fn new(mut patterns: Vec<Vec<u8>>) -> Result<Self, aho_corasick::BuildError> {
        patterns.sort();
        patterns.dedup();
        Ok(Self {
            automaton: automaton(&patterns)?,
            longest: patterns.iter().map(Vec::len).max().unwrap_or(0),
            patterns,
        })
    }

    /// Looks through `bytes`.
    pub(super) fn look(&self, bytes: &[u8], before: Before) -> Found {
        let mut found = Found::default();
        let mut text: Option<Joined> = None;
        let mut dump = Joined::default();
        let mut at = 0;
        while at < bytes.len() {
            let line = line_at(bytes, at);
            let run = if at == 0 { before.run } else { 0 };
            // Most lines end here: in a sign, a space, or a short word.
            let ends = line.text.end.checked_sub(1).map(|last| bytes[last]);
            if text.is_some() || ends.is_some_and(is_code) {
                self.join(bytes, &line, run, &mut text, &mut found);
            }
            if at > 0 || before.line_start {
                self.join_dump(bytes, &line, &mut dump, &mut found);
            }
            at = line.next;
        }
        if let Some(joined) = text {
            found
                .open
                .extend(self.open(&joined).map(|at| joined.place(at)));
            self.search(&joined, &mut found);
        }
        if !dump.lines.is_empty() {
            self.open_dump(&dump, &mut found);
            self.search_dump(&dump, &mut found);
        }
        found.keep_together();
        found
    }

    /// Takes in a line of text, which may go on with those before it, and the next one with it.
    fn join(
        &self,
        bytes: &[u8],
        line: &Line,
        run_before: usize,
        joined: &mut Option<Joined>,
        found: &mut Found,
    ) {
        let text = &bytes[line.text.clone()];
        let indent = text.iter().take_while(|b| b" \t".contains(b)).count();
        let body = &text[indent..];
        // At the end of the bytes, a break of quoted-printable may yet come to its end.
        let soft = text.last() == Some(&b'=') && (line.whole || line.next == bytes.len());
        let run = run_at_end(text);
        let run = run + if run == text.len() { run_before } else { 0 };
        let breaks = soft || line.whole && run >= NARROWEST;
        let goes_on = |before: &Joined| {
            let unknown = !line.whole && body.is_empty();
            let head = body.iter().take(BEGINNING);
            before.soft || unknown || !body.is_empty() && head.copied().all(is_code)
        };
        let begin = match joined {
            Some(before) if goes_on(before) => {
                line.text.start + if before.soft { 0 } else { indent }
            }
            _ => {
                if let Some(before) = joined.take() {
                    self.search(&before, found);
                }
                if !breaks {
                    return;
                }
                // No more of it can belong to a secret that goes on.
                let most = line.text.end.saturating_sub(self.longest + 1);
                line.text.start.max(most)
            }
        };
        let all = joined.get_or_insert_default();
        all.push(bytes, begin..line.text.end - usize::from(soft));
        all.soft = soft;
        if !breaks && line.whole {
            self.search(all, found);
            *joined = None;
        }
    }

    /// Takes in a line that may be one of a dump.
    fn join_dump(&self, bytes: &[u8], line: &Line, dump: &mut Joined, found: &mut Found) {
        let text = &bytes[line.text.clone()];
        if !line.whole && dump::may_begin(text) {
            // What it is of it is not known yet: the offset may stand there alone.
            found.open.push(line.text.start);
            self.open_dump(dump, found);
        }
        match dump::digits(text, !dump.lines.is_empty()) {
            Some(digits) => {
                let begin = line.text.start;
                for token in digits {
                    dump.push(bytes, begin + token.start..begin + token.end);
                }
                dump.lines.push(line.text.clone());
            }
            None => self.search_dump(&std::mem::take(dump), found),
        }
    }

    fn search(&self, joined: &Joined, found: &mut Found) {
        let spans = self.automaton.find_iter(&joined.bytes);
        let places = spans.map(|span| joined.place(span.start())..joined.place(span.end() - 1) + 1);
        found.spans.extend(places);
    }

    /// Of a line of a dump, all goes from the first digit of a secret on: the text beside it says
    /// the same again.
    fn search_dump(&self, dump: &Joined, found: &mut Found) {
        let lower = dump.bytes.to_ascii_lowercase();
        for span in self.automaton.find_iter(&lower) {
            let (first, last) = (dump.place(span.start()), dump.place(span.end() - 1));
            let touched = |line: &&Range<usize>| line.end > first && line.start <= last;
            let begin = dump.lines.iter().find(touched).map(|line| line.start);
            found.together.push(begin.unwrap_or(first)..last + 1);
            for line in dump.lines.iter().filter(touched) {
                let mut pieces = dump.pieces.iter().map(|(_, place)| *place);
                let digit = pieces.find(|place| line.contains(place));
                found
                    .spans
                    .push(digit.unwrap_or(first).max(first)..line.end);
            }
        }
    }

    /// A dump is held back by whole lines: in the middle of one, it could not be told for one.
    fn open_dump(&self, dump: &Joined, found: &mut Found) {
        let whole_bytes = self.open(dump).filter(|at| at % 2 == 0);
        let begun = whole_bytes.map(|at| dump.place(at));
        let line = |place: usize| dump.lines.iter().rfind(|line| line.start <= place);
        let open = begun.filter_map(|place| line(place).map(|line| line.start));
        found.open.extend(open);
    }

    /// Where in `joined` a secret may have begun that goes on after its end.
    fn open<'a>(&'a self, joined: &'a Joined) -> impl Iterator<Item = usize> + 'a {
        open_in(&self.patterns, self.longest, &joined.bytes, 0)
    }
}

/// Whether a text may be several lines, or one of a dump: most are neither.
pub(super) fn may_be(text: &[u8]) -> bool {
    dump::may_begin(text) || memchr::memchr(b'\n', text).is_some()
}

/// The line that begins at `at`. A carriage return at the end of the bytes may be half of its end.
fn line_at(bytes: &[u8], at: usize) -> Line {
    let rest = &bytes[at..];
    let (text, next, whole) = match memchr::memchr(b'\n', rest) {
        Some(end) => (&rest[..end], at + end + 1, true),
        None => (rest, bytes.len(), rest.last() == Some(&b'\r')),
    };
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Line {
        text: at..at + text.len(),
        next,
        whole,
    }
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)
}

/// How many characters of base64 stand at the end; no more than matter are counted.
fn run_at_end(text: &[u8]) -> usize {
    let last = text.iter().rev().take(NARROWEST);
    last.take_while(|byte| is_code(**byte)).count()
}

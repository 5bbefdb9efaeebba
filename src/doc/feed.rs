//! Feeds the text to the YAML scanner, and stops it when it looks too far ahead.
//!
//! The scanner keeps every token of a flow collection that could still turn out to be a mapping
//! key, at some 400 bytes for two bytes of text. The gate bounds that: past [`MAX_AHEAD`] bytes
//! beyond what the tree has taken, the text ends, and the tree's builder says why.

use std::cell::Cell;

use saphyr_parser::Input;
use saphyr_parser::input::SkipTabs;

/// How many bytes the scanner may read beyond the last event that was taken. More than the longest
/// scalar, so that one inside braces still fits.
pub(super) const MAX_AHEAD: usize = 2 * 1024 * 1024;

/// What the builder and the scanner's input both see.
#[derive(Default)]
pub(super) struct Gate {
    /// The byte up to which the builder has taken what was read.
    pub(super) taken: Cell<usize>,
    /// Whether the scanner was stopped.
    pub(super) closed: Cell<bool>,
}

/// The text, byte by byte where it is ASCII.
pub(super) struct Feed<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    gate: &'a Gate,
}

/// What the scanner may ask to see at once; the length that it reserves in a scalar's buffer.
const WINDOW: usize = 16;

impl<'a> Feed<'a> {
    /// All of `text`, as long as `gate` is open.
    pub(super) fn new(text: &'a str, gate: &'a Gate) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            gate,
        }
    }

    /// The byte `ahead` of the next one; 0 past the end, as the scanner expects.
    #[inline]
    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The character at byte `at`.
    #[inline]
    fn char_at(&self, at: usize) -> char {
        match self.bytes.get(at) {
            None => '\0',
            Some(byte) if byte.is_ascii() => char::from(*byte),
            Some(_) => self
                .text
                .get(at..)
                .and_then(|rest| rest.chars().next())
                .unwrap_or('\0'),
        }
    }
}

/// Bytes of the character that starts with `first`.
#[inline]
fn width(first: u8) -> usize {
    match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    }
}

impl Input for Feed<'_> {
    #[inline]
    fn lookahead(&mut self, _count: usize) {
        if self.at.saturating_sub(self.gate.taken.get()) > MAX_AHEAD && self.at < self.bytes.len() {
            self.gate.closed.set(true);
            self.bytes = &self.bytes[..self.at];
        }
    }

    #[inline]
    fn buflen(&self) -> usize {
        WINDOW
    }

    #[inline]
    fn bufmaxlen(&self) -> usize {
        WINDOW
    }

    #[inline]
    fn raw_read_ch(&mut self) -> char {
        let next = self.peek();
        self.skip();
        next
    }

    #[inline]
    fn raw_read_non_breakz_ch(&mut self) -> Option<char> {
        let next = self.peek();
        if matches!(next, '\0' | '\n' | '\r' | '\u{feff}') {
            return None;
        }
        self.skip();
        Some(next)
    }

    #[inline]
    fn skip(&mut self) {
        if let Some(first) = self.bytes.get(self.at) {
            self.at += width(*first);
        }
    }

    #[inline]
    fn skip_n(&mut self, count: usize) {
        for _ in 0..count {
            self.skip();
        }
    }

    #[inline]
    fn peek(&self) -> char {
        self.char_at(self.at)
    }

    #[inline]
    fn peek_nth(&self, n: usize) -> char {
        let mut at = self.at;
        for _ in 0..n {
            match self.bytes.get(at) {
                Some(first) => at += width(*first),
                None => return '\0',
            }
        }
        self.char_at(at)
    }

    #[inline]
    fn peek_opt(&self) -> Option<char> {
        (self.at < self.bytes.len()).then(|| self.peek())
    }

    #[inline]
    fn skip_ws_to_eol(&mut self, skip_tabs: SkipTabs) -> (usize, Result<SkipTabs, &'static str>) {
        let start = self.at;
        let (mut tabs, mut spaces) = (false, false);
        loop {
            match self.byte(0) {
                b' ' => spaces = true,
                b'\t' if skip_tabs == SkipTabs::Yes => tabs = true,
                _ => break,
            }
            self.at += 1;
        }
        let mut skipped = self.at - start;
        if self.byte(0) == b'#' {
            if !tabs && !spaces {
                return (skipped, Err("a comment needs a space before its `#`"));
            }
            skipped += self.skip_while_non_breakz();
        }
        (skipped, Ok(SkipTabs::Result(tabs, spaces)))
    }

    #[inline]
    fn next_can_be_plain_scalar(&self, in_flow: bool) -> bool {
        let is_flow = |byte| matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
        match self.byte(0) {
            b':' => {
                let next = self.byte(1);
                let ends = matches!(next, b' ' | b'\t' | b'\n' | b'\r' | 0);
                !(ends || in_flow && is_flow(next))
            }
            0xef => self.peek() != '\u{feff}',
            byte => !(in_flow && is_flow(byte)),
        }
    }

    #[inline]
    fn next_is_blank_or_break(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r')
    }

    #[inline]
    fn next_is_blank_or_breakz(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r' | 0)
    }

    #[inline]
    fn next_is_blank(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t')
    }

    #[inline]
    fn next_is_break(&self) -> bool {
        matches!(self.byte(0), b'\n' | b'\r')
    }

    #[inline]
    fn next_is_breakz(&self) -> bool {
        matches!(self.byte(0), b'\n' | b'\r' | 0)
    }

    #[inline]
    fn next_is_z(&self) -> bool {
        self.byte(0) == 0
    }
}

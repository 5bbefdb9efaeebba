//! A place in the text and the line around it, as the rules for syntax errors look at it.

use std::ops::Range;
use std::slice::SliceIndex;

use super::places;
use crate::base::{SourceId, Span};

/// A place where the scanner gave up.
pub(super) struct Excerpt<'a> {
    source: SourceId,
    /// The whole text.
    pub(super) text: &'a str,
    /// The place, in bytes.
    pub(super) at: usize,
    /// Where the innermost open bracket or brace is, as far as it is known.
    pub(super) open: Option<usize>,
}

impl<'a> Excerpt<'a> {
    /// The place at byte `at` of `text`, inside the bracket at `open`.
    pub(super) fn new(source: SourceId, text: &'a str, at: usize, open: Option<usize>) -> Self {
        Self {
            source,
            text,
            at: at.min(text.len()),
            open,
        }
    }

    /// A range of bytes as a span.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, start, end.min(self.text.len()))
    }

    /// A part of the text; nothing where it is none, because a guess at a cause must not panic.
    pub(super) fn slice(&self, part: impl SliceIndex<str, Output = str>) -> &'a str {
        self.text.get(part).unwrap_or_default()
    }

    /// The text from the place on.
    pub(super) fn rest(&self) -> &'a str {
        self.slice(self.at..)
    }

    /// The word at the place: up to the next blank, one character at least.
    pub(super) fn word(&self) -> Span {
        let length = match self.rest().find(char::is_whitespace) {
            Some(0) => self.rest().chars().next().map_or(0, char::len_utf8),
            Some(length) => length,
            None => self.rest().len(),
        };
        // A line break makes no label.
        let length = if self.rest().starts_with(['\n', '\r']) {
            0
        } else {
            length
        };
        self.span(self.at, self.at + length)
    }

    /// The character at the place.
    pub(super) fn character(&self) -> Span {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        self.span(self.at, self.at + length)
    }

    /// The line that byte `at` is in, without its break.
    pub(super) fn line(&self, at: usize) -> Range<usize> {
        let bytes = self.text.as_bytes();
        places::line_start(bytes, at)..places::line_end(bytes, at)
    }

    /// The part of the line at `at` without indentation and comment.
    pub(super) fn content(&self, at: usize) -> Range<usize> {
        let line = self.line(at);
        let start = line.end - self.slice(line.clone()).trim_start().len();
        start..self.value_end(start).max(start)
    }

    /// The last line with content before the line at `at`.
    pub(super) fn content_before(&self, at: usize) -> Option<Range<usize>> {
        let mut end = self.line(at).start;
        while end > 0 {
            let content = self.content(end - 1);
            if !content.is_empty() {
                return Some(content);
            }
            end = self.line(end - 1).start;
        }
        None
    }

    /// The end of a value that starts at `start` and goes on to the end of its line: before the
    /// comment and the blanks.
    pub(super) fn value_end(&self, start: usize) -> usize {
        let end = self.line(start).end;
        let value = self.slice(start..end);
        let comment = value
            .match_indices('#')
            .map(|(at, _)| at)
            .find(|at| value[..*at].ends_with([' ', '\t']) || *at == 0);
        start + value[..comment.unwrap_or(value.len())].trim_end().len()
    }

    /// How far the line at `at` is indented, in bytes.
    pub(super) fn indentation(&self, at: usize) -> usize {
        self.content(at).start - self.line(at).start
    }

    /// Whether the place is the first thing of its line.
    pub(super) fn starts_line(&self) -> bool {
        self.content(self.at).start >= self.at
    }
}

/// `value` in quotes: double ones where nothing in it would need an escape.
pub(super) fn quoted(value: &str) -> String {
    if value.contains(['"', '\\']) {
        format!("'{}'", value.replace('\'', "''"))
    } else {
        format!("\"{value}\"")
    }
}

//! Where the bytes of an expression are in its file.
//!
//! Most expressions stand in the file as they are read. In a quoted YAML scalar an escape takes
//! more bytes than what it stands for, and folded lines lose their indentation: there, each token
//! is asked for.

use std::ops::Range;

use super::syntax::end_of_quote;
use crate::base::{SourceId, Span};

/// Longer expressions that do not stand byte for byte in the file are pointed at as a whole.
const MAX_MAPPED: usize = 4096;

/// From bytes of an expression to bytes of the file.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Byte for byte.
    Exact(Span),
    /// Somewhere in there.
    Whole(Span),
    /// Where each byte starts and ends.
    Mapped(Span, SourceId, Box<[(u32, u32)]>),
}

impl Place {
    /// `source`, which was written at `span`.
    pub(super) fn of(source: &str, span: Span) -> Self {
        if (span.end - span.start) as usize == source.len() {
            Self::Exact(span)
        } else {
            Self::Whole(span)
        }
    }

    /// `source`, which is `range` of a text whose places `locate` knows.
    pub(super) fn within(
        source: &str,
        range: Range<usize>,
        locate: &dyn Fn(Range<usize>) -> Span,
    ) -> Self {
        let span = locate(range.clone());
        match Self::of(source, span) {
            Self::Whole(span) if source.len() <= MAX_MAPPED => {
                let bytes = map(source, span, &|token| {
                    locate(range.start + token.start..range.start + token.end)
                });
                Self::Mapped(span, span.source, bytes.into())
            }
            place => place,
        }
    }

    /// All of it.
    pub(super) fn whole(&self) -> Span {
        match self {
            Self::Exact(span) | Self::Whole(span) => *span,
            Self::Mapped(_, _, bytes) => self.span(0..bytes.len()),
        }
    }

    /// The bytes `range` of the expression; what has no bytes is one byte wide, if it can be.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let Range { start, end } = range;
        match self {
            Self::Exact(span) => span.slice(start, end.max(start + 1)),
            Self::Whole(span) => *span,
            Self::Mapped(span, source, bytes) => {
                let last = end.max(start + 1) - 1;
                match (
                    bytes.get(start).or(bytes.last()),
                    bytes.get(last).or(bytes.last()),
                ) {
                    (Some(first), Some(last)) => {
                        Span::new(*source, first.0 as usize, last.1 as usize)
                    }
                    _ => *span,
                }
            }
        }
    }
}

/// Where each byte of `source` is, somewhere in `span`, by asking for each token.
///
/// What `locate` does not find as it is spelled lies between its neighbours.
fn map(source: &str, span: Span, locate: &dyn Fn(Range<usize>) -> Span) -> Vec<(u32, u32)> {
    let tokens = tokens(source);
    let mut found: Vec<Option<u32>> = Vec::with_capacity(tokens.len());
    let mut least = span.start;
    for token in &tokens {
        let place = locate(token.clone());
        let spelled = (place.end - place.start) as usize == token.len();
        let start = (spelled && place.start >= least).then_some(place.start);
        if start.is_some() {
            least = place.end;
        }
        found.push(start);
    }
    let mut bytes = Vec::with_capacity(source.len());
    let mut before = span.start;
    for (at, token) in tokens.iter().enumerate() {
        let length = token.len() as u32;
        match found[at] {
            Some(start) => {
                bytes.extend((0..length).map(|byte| (start + byte, start + byte + 1)));
                before = start + length;
            }
            None => {
                let after = found[at..].iter().flatten().next().copied();
                let between = (before, after.unwrap_or(span.end).max(before));
                bytes.extend((0..length).map(|_| between));
            }
        }
    }
    bytes
}

/// Quoted texts, words, runs of blanks, and single characters.
fn tokens(source: &str) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(char) = source[at..].chars().next() {
        let rest = &source[at..];
        let run = |alike: fn(char) -> bool| rest.find(|char| !alike(char)).unwrap_or(rest.len());
        let end = match char {
            '\'' | '"' => end_of_quote(source.as_bytes(), at).unwrap_or(source.len()),
            _ if is_word(char) => at + run(is_word),
            _ if char.is_whitespace() => at + run(char::is_whitespace),
            other => at + other.len_utf8(),
        };
        tokens.push(at..end);
        at = end;
    }
    tokens
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::{Place, tokens};
    use crate::base::{SourceId, Span};

    #[test]
    fn follows_escapes() {
        // `"a \"b\" c"` in the file: the text `a "b" c` starts at byte 1.
        let starts = [1, 2, 3, 5, 6, 8, 9, 10];
        let exact = |range: std::ops::Range<usize>| {
            Span::new(SourceId(0), starts[range.start], starts[range.end])
        };
        // One that gives up where there are escapes.
        let vague = |range: std::ops::Range<usize>| {
            let place = exact(range.clone());
            let spelled = (place.end - place.start) as usize == range.len();
            if spelled {
                place
            } else {
                Span::new(SourceId(0), 0, 11)
            }
        };
        let place = Place::within("\"b\" c", 2..7, &exact);
        assert_eq!(place.span(0..3), Span::new(SourceId(0), 3, 8));
        assert_eq!(place.span(4..5), Span::new(SourceId(0), 9, 10));
        assert_eq!(place.whole(), Span::new(SourceId(0), 3, 10));
        let place = Place::within("a \"b\" c", 0..7, &vague);
        assert_eq!(place.span(2..5), Span::new(SourceId(0), 3, 8));
        assert_eq!(place.span(6..7), Span::new(SourceId(0), 9, 10));
        assert_eq!(place.whole(), Span::new(SourceId(0), 1, 10));
    }

    #[test]
    fn tokens_are_all_of_it() {
        for source in ["a.b  > 'x y' ~\"z\\\"\"", "é|ü", "'open", ""] {
            let tokens = tokens(source);
            let texts: Vec<&str> = tokens.into_iter().map(|token| &source[token]).collect();
            assert_eq!(texts.concat(), source);
            assert!(texts.iter().all(|text| !text.is_empty()));
        }
    }
}

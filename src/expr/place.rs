//! Where the bytes of an expression are in its file.
//!
//! Most expressions stand in the file as they are read. In a quoted YAML scalar an escape takes
//! more bytes than what it stands for, and folded lines lose their indentation: there, each
//! character is asked for.

use std::ops::Range;

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
    /// Start and end of each byte's character.
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
                let mut bytes = Vec::with_capacity(source.len());
                for (at, char) in source.char_indices() {
                    let from = range.start + at;
                    let one = locate(from..from + char.len_utf8());
                    bytes.extend(std::iter::repeat_n((one.start, one.end), char.len_utf8()));
                }
                Self::Mapped(span, span.source, bytes.into())
            }
            place => place,
        }
    }

    /// All of it.
    pub(super) fn whole(&self) -> Span {
        match self {
            Self::Exact(span) | Self::Whole(span) | Self::Mapped(span, ..) => *span,
        }
    }

    /// The bytes `from..to` of the expression; what has no bytes is one byte wide, if it can be.
    pub(super) fn span(&self, range: Range<usize>) -> Span {
        let Range { start, end } = range;
        match self {
            Self::Exact(span) => span.slice(start, end.max(start + 1)),
            Self::Whole(span) => *span,
            Self::Mapped(span, source, bytes) => {
                let last = end.max(start + 1) - 1;
                match (bytes.get(start), bytes.get(last).or(bytes.last())) {
                    (Some(first), Some(last)) => {
                        Span::new(*source, first.0 as usize, last.1 as usize)
                    }
                    _ => *span,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;
    use crate::base::{SourceId, Span};

    #[test]
    fn follows_escapes() {
        // `"a \"b\" c"` in the file: the text `a "b" c` starts at byte 1.
        let starts = [1, 2, 3, 5, 6, 8, 9, 10];
        let locate = |range: std::ops::Range<usize>| {
            Span::new(SourceId(0), starts[range.start], starts[range.end])
        };
        let place = Place::within("\"b\" c", 2..7, &locate);
        assert_eq!(place.span(0..3), Span::new(SourceId(0), 3, 8));
        assert_eq!(place.span(4..5), Span::new(SourceId(0), 9, 10));
        assert_eq!(place.whole(), Span::new(SourceId(0), 3, 10));
    }
}

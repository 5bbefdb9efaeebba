//! From a part of a scalar's text back to its place in the file: the column of a name in an
//! expression, the line of an error in a script.

use std::ops::Range;

use super::node::{Scalar, ScalarStyle};
use super::places;
use crate::base::Span;

/// A piece of a scalar that its source spells the same way: at `text`, `source` and `length` bytes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    text: usize,
    source: usize,
    length: usize,
}

impl Scalar {
    /// The place of the bytes `range` of [`Scalar::text`], for the scalar at `node_span` of
    /// `source_text`, which is the whole text of the source.
    ///
    /// Exact where the source spells it the same way, line by line; where there are escapes, the
    /// place at which the part stands as it is, else the whole node.
    pub fn locate(&self, node_span: Span, source_text: &str, range: Range<usize>) -> Span {
        let Some(written) = source_text.get(node_span.start as usize..node_span.end as usize)
        else {
            return node_span;
        };
        let start = range.start.min(self.text.len());
        let end = range.end.clamp(start, self.text.len());
        self.exact(written, start, end)
            .or_else(|| self.search(written, start, end))
            .map_or(node_span, |found| node_span.slice(found.start, found.end))
    }

    fn exact(&self, written: &str, start: usize, end: usize) -> Option<Range<usize>> {
        let pieces = self.pieces(written)?;
        // A start belongs to the piece that begins there, an end to the one that ends there.
        let first = pieces
            .iter()
            .rev()
            .find(|piece| piece.text <= start)
            .filter(|piece| start <= piece.text + piece.length)
            .or_else(|| pieces.iter().find(|piece| piece.text >= start))
            .or(pieces.last())?;
        let from = first.source + start.saturating_sub(first.text).min(first.length);
        let last = pieces.iter().rev().find(|piece| piece.text < end);
        let to = last.map_or(from, |last| {
            last.source + (end - last.text).min(last.length)
        });
        Some(from..to.max(from))
    }

    /// The pieces of the source that make up the text, in order; `None` where there are escapes.
    fn pieces(&self, written: &str) -> Option<Vec<Piece>> {
        let (body, indent) = match self.style {
            ScalarStyle::Plain => (0..written.len(), None),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                (1..written.len().checked_sub(1)?, None)
            }
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let (body, lead) = block_body(written)?;
                // With an explicit indentation, some of what the first line has is text.
                let line = self.text.trim_start_matches('\n');
                let spaces = line.len() - line.trim_start_matches(' ').len();
                (body, Some(lead.saturating_sub(spaces)))
            }
        };
        if written.get(body.clone())? == &*self.text {
            return Some(vec![Piece {
                text: 0,
                source: body.start,
                length: body.len(),
            }]);
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let mut text = 0;
        let mut previous = None;
        for line in lines(written, body.clone()) {
            let content = match indent {
                Some(indent) => without_indent(written, line, indent),
                None => without_blanks(written, line, &body),
            };
            let spelled = &written[content.clone()];
            if let Some(previous) = previous {
                text = self.after_break(text, previous, spelled);
            }
            if !self.text.get(text..)?.starts_with(spelled) {
                return None;
            }
            pieces.push(Piece {
                text,
                source: content.start,
                length: content.len(),
            });
            text += content.len();
            previous = Some(spelled);
        }
        Some(pieces)
    }

    /// Where in the text the line `next` starts, when the line `previous` ends at `at`: past the
    /// space or the line breaks that joined them.
    fn after_break(&self, at: usize, previous: &str, next: &str) -> usize {
        let rest = &self.text[at..];
        if self.style == ScalarStyle::Literal {
            return at + usize::from(rest.starts_with('\n'));
        }
        // Blank lines between two others become the line breaks that the last of them is past.
        if next.is_empty() {
            return at;
        }
        let breaks = rest.len() - rest.trim_start_matches('\n').len();
        if breaks == 0 && !previous.is_empty() && rest.starts_with(' ') {
            return at + 1;
        }
        at + breaks
    }

    /// The place of the part in the source as it is spelled, when it stands there as often as in
    /// the text.
    fn search(&self, written: &str, start: usize, end: usize) -> Option<Range<usize>> {
        let part = self.text.get(start..end).filter(|part| !part.is_empty())?;
        let before = self.text[..start].matches(part).count();
        if self.text.matches(part).count() != written.matches(part).count() {
            return None;
        }
        let (found, _) = written.match_indices(part).nth(before)?;
        Some(found..found + part.len())
    }
}

/// Where the lines of a block scalar are, after its header, and how many spaces the first of them
/// that is not blank starts with.
fn block_body(written: &str) -> Option<(Range<usize>, usize)> {
    let bytes = written.as_bytes();
    let header = places::line_end(bytes, 0);
    let start = header + break_length(bytes, header);
    let body = start..written.len();
    let lead = lines(written, body.clone())
        .map(|line| &written[line])
        .find(|line| !line.trim_start_matches(' ').is_empty())
        .map(|line| line.len() - line.trim_start_matches(' ').len())?;
    Some((body, lead))
}

/// Bytes of the line break at `at`.
fn break_length(bytes: &[u8], at: usize) -> usize {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => 2,
        (Some(b'\r' | b'\n'), _) => 1,
        _ => 0,
    }
}

/// The lines in `body`, without their breaks.
fn lines(written: &str, body: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let bytes = &written.as_bytes()[..body.end];
    let mut next = Some(body.start);
    std::iter::from_fn(move || {
        let start = next?;
        let end = places::line_end(bytes, start);
        let length = break_length(bytes, end);
        next = (length > 0).then_some(end + length);
        Some(start..end)
    })
}

fn without_indent(written: &str, line: Range<usize>, indent: usize) -> Range<usize> {
    let spaces = written[line.clone()]
        .bytes()
        .take_while(|b| *b == b' ')
        .count();
    line.start + spaces.min(indent)..line.end
}

/// Blanks around a line break are not text; those at the ends of a quoted text are.
fn without_blanks(written: &str, line: Range<usize>, body: &Range<usize>) -> Range<usize> {
    let blanks = [' ', '\t'];
    let mut text = &written[line.clone()];
    if line.start > body.start {
        text = text.trim_start_matches(blanks);
    }
    let start = line.end - text.len();
    if line.end < body.end {
        text = text.trim_end_matches(blanks);
    }
    start..start + text.len()
}

#[cfg(test)]
mod tests {
    use crate::base::{SourceId, Span};
    use crate::diag::Diagnostics;
    use crate::doc::parse;

    /// The place of `part` in the value of the key `a` of `text`, as the text there.
    fn found<'t>(text: &'t str, part: &str) -> &'t str {
        let mut out = Diagnostics::new();
        let document = parse(SourceId(0), text, &mut out).unwrap();
        assert!(out.is_empty(), "{out:?}");
        let node = &document.root.as_map().unwrap().get("a").unwrap().value;
        let scalar = node.as_scalar().unwrap();
        let at = scalar.text.find(part).unwrap();
        let Span { start, end, .. } = scalar.locate(node.span, text, at..at + part.len());
        &text[start as usize..end as usize]
    }

    #[test]
    fn one_line_is_exact() {
        assert_eq!(found("a: x y x", "y"), "y");
        assert_eq!(found("a: 'x y x'", "y x"), "y x");
        assert_eq!(found("a: \"x y x\"", "x y x"), "x y x");
        assert_eq!(found("a: \" x \"", " x "), " x ");
    }

    #[test]
    fn lines_are_exact() {
        let literal = "a: |\n  one two\n\n    three\n  four\nb: 1";
        assert_eq!(found(literal, "two"), "two");
        assert_eq!(found(literal, "  three"), "  three");
        assert_eq!(found(literal, "four"), "four");
        assert_eq!(found(literal, "two\n\n  three"), "two\n\n    three");
        let folded = "a: >-\n\n  one\n  two\n\n    three\n\n  four\nb: 1";
        for part in ["one", "two", "three", "four"] {
            assert_eq!(found(folded, part), part);
        }
        assert_eq!(found(folded, "one two"), "one\n  two");
        let explicit = "a: |2\n    one\n  two\nb: 1";
        assert_eq!(found(explicit, "  one"), "  one");
        assert_eq!(found(explicit, "two"), "two");
        let windows = "a: |\r\n  one\r\n  two\r\nb: 1";
        assert_eq!(found(windows, "two"), "two");
        let plain = "a: one  two\n  three\n\n  four";
        for part in ["one  two", "three", "four"] {
            assert_eq!(found(plain, part), part);
        }
        let quoted = "a: ' one \n  two '";
        assert_eq!(found(quoted, " one"), " one");
        assert_eq!(found(quoted, "two "), "two ");
    }

    #[test]
    fn escapes_leave_a_search() {
        assert_eq!(found(r#"a: "\tx ${{ y }}""#, "${{ y }}"), "${{ y }}");
        assert_eq!(found("a: 'it''s me'", "me"), "me");
        assert_eq!(found("a: \"x\\x78\"", "xx"), "\"x\\x78\"");
        // `x` stands once more in the source than in the text: which one is it?
        assert_eq!(found(r#"a: "\x41x""#, "x"), r#""\x41x""#);
    }
}

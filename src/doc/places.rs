//! Where nodes stand in the text, for what the scanner does not say exactly.
//!
//! The scanner's places include anchors and tags before a node, blanks after a quote or bracket,
//! and leave out the indicator of a block scalar. These functions read the few bytes around it
//! again. All of them take byte offsets into the text and return ones on character boundaries.

use std::ops::Range;

/// The first byte at or after `at` that is no blank, line break or comment.
pub(super) fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'#' if starts_comment(bytes, at) => at = line_end(bytes, at),
            _ => break,
        }
    }
    at
}

/// Where a document starts that has no `---`: past byte order marks and `...`, which may be there.
pub(super) fn document_start(bytes: &[u8]) -> usize {
    let mut at = skip_blank(bytes, 0);
    while bytes[at..].starts_with(b"...") || bytes[at..].starts_with(BOM) {
        at = skip_blank(bytes, at + 3);
    }
    at
}

/// Whether the `#` at `at` starts a comment: it does after a blank and at the start of a line.
fn starts_comment(bytes: &[u8], at: usize) -> bool {
    let before = &bytes[..at];
    matches!(before.last(), None | Some(b' ' | b'\t' | b'\n' | b'\r')) || before.ends_with(BOM)
}

const BOM: &[u8] = "\u{feff}".as_bytes();

/// The end of the line that `at` is in, its line break not included.
pub(super) fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'\n', b'\r', rest))
        .map_or(bytes.len(), |length| at + length)
}

/// The start of the line that `at` is in.
pub(super) fn line_start(bytes: &[u8], at: usize) -> usize {
    let at = at.min(bytes.len());
    memchr::memrchr2(b'\n', b'\r', &bytes[..at]).map_or(0, |found| found + 1)
}

/// The end of the last of `count` anchors and tags that start at `at`, and where the node after
/// them starts.
pub(super) fn skip_properties(bytes: &[u8], at: usize, count: usize) -> (usize, usize) {
    let mut end = at;
    let mut next = at;
    for _ in 0..count {
        if !matches!(bytes.get(next), Some(b'&' | b'!')) {
            break;
        }
        let rest = &bytes[next..];
        let length = if rest.starts_with(b"!<") {
            memchr::memchr(b'>', rest).map(|found| found + 1)
        } else {
            rest.iter().position(|byte| b" \t\n\r,[]{}".contains(byte))
        };
        end = next + length.unwrap_or(rest.len());
        next = skip_blank(bytes, end);
    }
    (end, next)
}

/// One past the closing quote of the quoted scalar that starts at `start`.
pub(super) fn quoted_end(bytes: &[u8], start: usize) -> usize {
    let single = bytes.get(start) == Some(&b'\'');
    let mut at = start + 1;
    loop {
        let Some(rest) = bytes.get(at..) else {
            return bytes.len();
        };
        let found = if single {
            memchr::memchr(b'\'', rest)
        } else {
            memchr::memchr2(b'"', b'\\', rest)
        };
        let Some(found) = found else {
            return bytes.len();
        };
        at += found;
        let escape = bytes[at] == b'\\' || (single && bytes.get(at + 1) == Some(&b'\''));
        if !escape {
            return at + 1;
        }
        at += 2;
    }
}

/// Where a block scalar stands whose indicator is the first `|` or `>` after `from`, with nothing
/// but collection indicators in between, and whose last line is over before `end`.
pub(super) fn block_scalar(bytes: &[u8], from: usize, end: usize) -> Option<Range<usize>> {
    let mut start = skip_blank(bytes, from);
    while matches!(bytes.get(start), Some(b'-' | b'?' | b':')) {
        start = skip_blank(bytes, start + 1);
    }
    if !matches!(bytes.get(start), Some(b'|' | b'>')) {
        return None;
    }
    let body = line_end(bytes, start).min(end);
    // A line of tabs is text.
    let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r');
    match bytes.get(body..end)?.iter().rposition(|byte| !blank(byte)) {
        // The blanks at the end of the last line belong to it.
        Some(last) => Some(start..line_end(bytes, body + last).min(end)),
        None => Some(start..header_end(bytes, start)),
    }
}

/// The end of a block scalar's indicators: `|`, `>2-`.
pub(super) fn header_end(bytes: &[u8], start: usize) -> usize {
    let length = bytes[start..]
        .iter()
        .skip(1)
        .take_while(|byte| matches!(byte, b'+' | b'-' | b'0'..=b'9'))
        .count();
    start + 1 + length
}

#[cfg(test)]
mod tests {
    use super::{block_scalar, quoted_end, skip_blank, skip_properties};

    #[test]
    fn blanks_and_comments_are_skipped() {
        assert_eq!(skip_blank(b"  # a\n\t# b\r\nc", 0), 12);
        assert_eq!(skip_blank(b"a#b", 1), 1);
        assert_eq!(skip_blank(b"# only", 0), 6);
    }

    #[test]
    fn anchors_and_tags_are_skipped() {
        assert_eq!(skip_properties(b"&a !!str x", 0, 2), (8, 9));
        assert_eq!(skip_properties(b"&a\n&b x", 0, 1), (2, 3));
        assert_eq!(skip_properties(b"!<tag:a,b> x", 0, 1), (10, 11));
        assert_eq!(skip_properties(b"!<a>[b]", 0, 1), (4, 4));
        assert_eq!(skip_properties(b"&a, b", 0, 1), (2, 2));
    }

    #[test]
    fn quotes_end_where_they_are_closed() {
        assert_eq!(quoted_end(b"'it''s' x", 0), 7);
        assert_eq!(quoted_end(br#""a\"b\\" x"#, 0), 8);
        assert_eq!(quoted_end(b"''''", 0), 4);
        assert_eq!(quoted_end(b"'open", 0), 5);
        assert_eq!(quoted_end(b"\"open\\", 0), 6);
    }

    #[test]
    fn block_scalars_end_with_their_last_line() {
        let text = b"a: |  # why\n  x \n\n  y\n\nb: 1";
        assert_eq!(block_scalar(text, 1, 23), Some(3..21));
        assert_eq!(block_scalar(b"- |+\n\n\n", 0, 7), Some(2..4));
        assert_eq!(block_scalar(b"a: b", 1, 4), None);
    }
}

//! Expressions whose braces YAML reads as its own: `[${{ x }}]`, `key: {{ x }}`.

use super::excerpt::{Excerpt, quoted};
use crate::base::Span;
use crate::diag::{Diagnostic, codes};

const OPEN: &str = "${{";

/// RB409, when the place is in a `${{ … }}` that stands in brackets or braces without quotes.
pub(super) fn unquoted_expression(place: &Excerpt<'_>) -> Option<Diagnostic> {
    let line = place.line(place.at);
    // The scanner gives up at the brace behind the `$`, or somewhere in the expression.
    let until = (place.at + 2).min(line.end);
    let head = place.text.get(line.start..until)?;
    let start = line.start + head.rfind(OPEN)?;
    let (end, closed) = match expression_end(place.text, start + OPEN.len(), line.end) {
        Some(end) => (end, true),
        None => (line.end, false),
    };
    if place.at < start || place.at > end {
        return None;
    }
    let from = plain_start(place.text, line.start, start);
    if place.slice(from..).starts_with(['"', '\'']) {
        return None;
    }
    let to = plain_end(place.text, end, line.end);
    let found = Diagnostic::error(
        codes::EXPR_FLOW_STYLE,
        "an expression inside brackets or braces needs quotes",
    )
    .label(
        place.span(start, end),
        "YAML takes these braces for a mapping",
    );
    if !closed {
        return Some(found.help("close the expression with `}}`, and quote the value"));
    }
    Some(found.fix(
        "quote the value",
        place.span(from, to),
        quoted(place.slice(from..to)),
    ))
}

/// RB409, when the mapping at `inner`, which is used as a key, is the inner half of `{{ … }}`.
pub(super) fn double_braces(inner: Span, text: &str) -> Option<Diagnostic> {
    let start = (inner.start as usize).checked_sub(1)?;
    let end = inner.end as usize + 1;
    let whole = text.get(start..end)?;
    if !(whole.starts_with("{{") && whole.ends_with("}}")) || whole.contains('\n') {
        return None;
    }
    let line_end = text[end..]
        .find(['\n', '\r'])
        .map_or(text.len(), |at| end + at);
    let to = plain_end(text, end, line_end);
    let value = format!("${}", &text[start..to]);
    Some(
        Diagnostic::error(
            codes::EXPR_FLOW_STYLE,
            "`{{ … }}` is a mapping in YAML, not an expression",
        )
        .label(
            Span::new(inner.source, start, end),
            "an expression is `${{ … }}`, in quotes",
        )
        .fix(
            "write an expression",
            Span::new(inner.source, start, to),
            quoted(&value),
        ),
    )
}

/// One past the `}}` that ends the expression whose first byte is `at`; quotes are skipped.
fn expression_end(text: &str, at: usize, limit: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = at;
    while at < limit {
        match (bytes[at], quote) {
            (b'\\', Some(_)) => at += 1,
            (byte, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => quote = Some(bytes[at]),
            (b'}', None) if bytes.get(at + 1) == Some(&b'}') && at + 1 < limit => {
                return Some(at + 2);
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the plain value around `at` starts: behind a bracket, a comma, or a key's colon.
fn plain_start(text: &str, line_start: usize, at: usize) -> usize {
    let before = &text[line_start..at];
    let separator = before.rfind(['[', '{', ',']).map_or(0, |found| found + 1);
    let colon = before.rfind(": ").map_or(0, |found| found + 2);
    let from = separator.max(colon);
    at - before[from..].trim_start().len()
}

/// Where the plain value ends that goes on at `at`; further expressions in it are skipped.
fn plain_end(text: &str, at: usize, limit: usize) -> usize {
    let mut end = at;
    while end < limit {
        let rest = &text[end..limit];
        if rest.starts_with(OPEN) {
            match expression_end(text, end + OPEN.len(), limit) {
                Some(next) => end = next,
                None => break,
            }
            continue;
        }
        if rest.starts_with([',', ']', '}']) || rest.starts_with(" #") {
            break;
        }
        end += rest.chars().next().map_or(1, char::len_utf8);
    }
    at + text[at..end].trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::{expression_end, plain_end, plain_start};

    #[test]
    fn expressions_end_outside_of_quotes() {
        assert_eq!(expression_end("${{ a }}", 3, 8), Some(8));
        assert_eq!(expression_end("${{ '}}' }}", 3, 11), Some(11));
        assert_eq!(expression_end("${{ a }", 3, 7), None);
        assert_eq!(expression_end("${{ \"\\\"}}\" }}", 3, 13), Some(13));
    }

    #[test]
    fn values_reach_to_their_separators() {
        let text = "{ a: x-${{ b, c }}-${{ [d] }} y, e: f }";
        let at = text.find("${{").unwrap();
        let end = expression_end(text, at + 3, text.len()).unwrap();
        assert_eq!(&text[plain_start(text, 0, at)..at], "x-");
        assert_eq!(
            &text[end..plain_end(text, end, text.len())],
            "-${{ [d] }} y"
        );
    }
}

//! Where the expressions of a text are: `${{ … }}`, with respect for quotes and braces inside.

use std::ops::Range;

use super::syntax::end_of_quote;
use crate::base::Span;
use crate::diag::{Diagnostic, codes};

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Whether `text` has an expression in it, closed or not.
pub fn contains_expression(text: &str) -> bool {
    text.contains(OPEN)
}

/// A piece of a text, by its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it is.
    Text(Range<usize>),
    /// What stands between `${{` and `}}`, without the blanks around it.
    Expression(Range<usize>),
}

/// The pieces of `text`, in order; those of text are never empty.
pub(super) fn pieces(
    text: &str,
    locate: &dyn Fn(Range<usize>) -> Span,
) -> Result<Vec<Piece>, Diagnostic> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find(OPEN) {
        let open = at + found;
        if open > at {
            pieces.push(Piece::Text(at..open));
        }
        let start = open + OPEN.len();
        let end = closing(text, start).map_err(|cause| unterminated(text, open, cause, locate))?;
        pieces.push(Piece::Expression(trimmed(text, start..end)));
        at = end + CLOSE.len();
    }
    if at < text.len() {
        pieces.push(Piece::Text(at..text.len()));
    }
    Ok(pieces)
}

/// `range` without the blanks at its ends; what is blank throughout stays as it is.
pub(super) fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let inner = &text[range.clone()];
    let rest = inner.trim_start();
    if rest.is_empty() {
        return range;
    }
    let start = range.end - rest.len();
    start..start + rest.trim_end().len()
}

/// Why an expression has no end.
enum Cause {
    /// There is no `}}` after it.
    Missing,
    /// This quote is never closed.
    Quote(usize),
    /// This brace is never closed.
    Brace(usize),
}

/// Where the `}}` is that closes the expression whose inside starts at `start`.
fn closing(text: &str, start: usize) -> Result<usize, Cause> {
    let bytes = text.as_bytes();
    let mut braces = Vec::new();
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => at = end_of_quote(bytes, at).ok_or(Cause::Quote(at))?,
            b'{' => {
                braces.push(at);
                at += 1;
            }
            b'}' if braces.pop().is_some() => at += 1,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Ok(at),
            _ => at += 1,
        }
    }
    Err(braces.last().map_or(Cause::Missing, |at| Cause::Brace(*at)))
}

fn unterminated(
    text: &str,
    open: usize,
    cause: Cause,
    locate: &dyn Fn(Range<usize>) -> Span,
) -> Diagnostic {
    let line = text[open..].find('\n').map_or(text.len(), |end| open + end);
    let diagnostic = Diagnostic::error(
        codes::EXPR_UNTERMINATED,
        "an expression that is never closed",
    );
    match cause {
        Cause::Missing => diagnostic
            .label(locate(open..line), "no `}}` after this")
            .help("to write the characters themselves: `${{ '${{' }}`"),
        Cause::Quote(at) => diagnostic
            .label(locate(open..open + OPEN.len()), "opened here")
            .also(locate(at..at + 1), "this quote is never closed"),
        Cause::Brace(at) => diagnostic
            .label(locate(open..open + OPEN.len()), "opened here")
            .also(locate(at..at + 1), "this brace is never closed"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, pieces};
    use crate::base::{SourceId, Span};

    fn split(text: &str) -> Result<String, String> {
        let locate = |range: std::ops::Range<usize>| Span::new(SourceId(0), range.start, range.end);
        let pieces = pieces(text, &locate).map_err(|diagnostic| {
            let also = diagnostic.secondary.first().map(|label| label.text.clone());
            also.unwrap_or(diagnostic.primary.unwrap().text)
        })?;
        Ok(pieces
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(range) => format!("{}|", &text[range]),
                Piece::Expression(range) => format!("<{}>|", &text[range]),
            })
            .collect())
    }

    #[test]
    fn finds_expressions() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain|"),
            ("${{ a }}", "<a>|"),
            ("a ${{b}} c ${{ d }}", "a |<b>| c |<d>|"),
            ("${{ '}}' ~ \"}}\" }}", "<'}}' ~ \"}}\">|"),
            (r"${{ 'it\'s }}' }}", r"<'it\'s }}'>|"),
            (r#"${{ {"a": {"b": 1}} }}!"#, r#"<{"a": {"b": 1}}>|!|"#),
            ("${{ {'a': 1}}}", "<{'a': 1}>|"),
            ("$ { {{ }} ${ x }", "$ { {{ }} ${ x }|"),
            ("it's ${{ x }} isn't it", "it's |<x>| isn't it|"),
            ("${{ '${{' }}", "<'${{'>|"),
            ("${{}}", "<>|"),
            ("ä${{ 'ö' }}ü", "ä|<'ö'>|ü|"),
        ] {
            assert_eq!(split(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn says_why_an_end_is_missing() {
        for (text, expected) in [
            ("a ${{ b", "no `}}` after this"),
            ("a ${{ b }", "no `}}` after this"),
            ("${{ x|default('n/a }}", "this quote is never closed"),
            ("${{ x ~ '", "this quote is never closed"),
            (r"${{ '\", "this quote is never closed"),
            ("${{ {'a': 1 b", "this brace is never closed"),
        ] {
            let expected = expected.to_owned();
            assert_eq!(split(text), Err(expected), "{text}");
        }
    }
}

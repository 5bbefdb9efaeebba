//! Reading the text of an expression: limits first, then minijinja's parser, whose errors become
//! diagnostics with the help that people need here.

use std::ops::Range;

use minijinja::ErrorKind;
use minijinja::machinery::{ast, parse_expr};

use super::place::Place;
use crate::diag::{Diagnostic, codes};

/// The longest expression, in bytes.
const MAX_SOURCE: usize = 64 * 1024;

/// The most operators, brackets and keywords in one expression. minijinja's parser recurses for
/// some of them without counting, and its trees are dropped recursively: what is deeper than the
/// stack would end the process.
const MAX_JOINTS: usize = 1000;

/// Hands the tree of `source` to `read`.
pub(super) fn parse<T>(
    source: &str,
    place: &Place,
    read: impl FnOnce(&ast::Expr<'_>) -> Result<T, Box<Diagnostic>>,
) -> Result<T, Diagnostic> {
    if source.trim().is_empty() {
        return Err(error("the expression is empty").at(place.whole()));
    }
    if source.len() > MAX_SOURCE {
        let message = format!("the expression is longer than {} KiB", MAX_SOURCE / 1024);
        return Err(error(message)
            .at(place.whole())
            .help("compute it in a step"));
    }
    if joints(source) > MAX_JOINTS {
        let message = format!("the expression has more than {MAX_JOINTS} operators");
        return Err(error(message)
            .at(place.whole())
            .help("compute it in a step"));
    }
    match parse_expr(source) {
        Ok(tree) => read(&tree).map_err(|diagnostic| *diagnostic),
        Err(failure) => Err(explain(source, place, &failure)),
    }
}

/// An error of the syntax.
pub(super) fn error(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(codes::EXPR_SYNTAX, message)
}

/// How many things outside of quotes can make the tree deeper.
fn joints(source: &str) -> usize {
    let bytes = source.as_bytes();
    let mut count = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => at = end_of_quote(bytes, at).unwrap_or(bytes.len()),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let word = word_at(source, at);
                let keywords = ["and", "or", "not", "in", "is", "if", "else"];
                count += usize::from(keywords.contains(&word));
                at += word.len();
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'~' | b'.' | b'|' | b'(' | b'[' | b'{' | b'<'
            | b'>' | b'=' | b'!' => {
                count += 1;
                at += 1;
            }
            _ => at += 1,
        }
    }
    count
}

/// One past the quote that closes the one at `start`, if any does.
pub(super) fn end_of_quote(bytes: &[u8], start: usize) -> Option<usize> {
    let quote = bytes.get(start)?;
    let mut at = start + 1;
    loop {
        at += match bytes.get(at)? {
            b'\\' => 2,
            byte if byte == quote => return Some(at + 1),
            _ => 1,
        };
    }
}

fn word_at(source: &str, at: usize) -> &str {
    let rest = &source[at..];
    let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    &rest[..end.unwrap_or(rest.len())]
}

fn explain(source: &str, place: &Place, failure: &minijinja::Error) -> Diagnostic {
    let range = failure.range().unwrap_or(0..source.len());
    let range = range.start.min(source.len())..range.end.min(source.len());
    let detail = failure.detail().unwrap_or("it cannot be read");
    if detail == "unexpected end of string" {
        return unclosed_quote(source, place);
    }
    if failure.kind() == ErrorKind::BadEscape {
        return error("a text with an escape that does not exist")
            .at(place.span(range))
            .help(r#"write `\\` for a backslash"#);
    }
    let (message, range) = match detail {
        "unexpected character" => (
            format!(
                "`{}` is not part of the language",
                char_at(source, range.start)
            ),
            range,
        ),
        _ if detail.contains("end of input") => {
            // The place is that of the last token; what is missing, is missing after it.
            let end = source.trim_end().len();
            (
                detail.replace("end of input", "end of the expression"),
                end..end,
            )
        }
        "template exceeds maximum recursion limits" => {
            ("the expression is nested too deeply".to_owned(), range)
        }
        _ => (detail.to_owned(), range),
    };
    let help = advice(source, range.start);
    let diagnostic = error(message).at(place.span(range));
    help.iter()
        .fold(diagnostic, |diagnostic, help| diagnostic.help(*help))
}

fn char_at(source: &str, at: usize) -> char {
    let rest = source.get(at..).unwrap_or_default();
    rest.chars().next().unwrap_or(' ')
}

fn unclosed_quote(source: &str, place: &Place) -> Diagnostic {
    let bytes = source.as_bytes();
    let mut at = 0;
    let mut open = 0..source.len();
    while at < bytes.len() {
        if matches!(bytes[at], b'\'' | b'"') {
            open = at..at + 1;
            at = end_of_quote(bytes, at).unwrap_or(bytes.len());
        } else {
            at += 1;
        }
    }
    error("a text whose quote is never closed").label(place.span(open), "opened here")
}

/// What to say where other languages are written.
fn advice(source: &str, at: usize) -> Vec<&'static str> {
    let around = |range: Range<usize>| {
        let end = range.end.min(source.len());
        source.as_bytes().get(range.start..end).unwrap_or_default()
    };
    let near = around(at.saturating_sub(2)..at + 2);
    let has = |text: &[u8]| near.windows(text.len()).any(|window| window == text);
    let mut advice = Vec::new();
    if has(b"&&") || has(b"||") || char_at(source, at) == '!' || char_at(source, at) == '&' {
        advice.push("write `and`, `or`, `not`");
    } else if has(b"=") {
        advice.push("`==` asks whether two values are equal");
    } else if char_at(source, at) == '?' {
        advice.push("write `a if condition else b`");
    } else if char_at(source, at) == '$' {
        advice.push("values are named as they are: `params.name`, `steps.id.outputs.name`");
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::joints;

    #[test]
    fn counts_what_can_nest() {
        assert_eq!(joints("a.b > 3 and not c"), 4);
        assert_eq!(joints("'a.b.c (and) \\' x' ~ android"), 1);
        assert_eq!(joints("[1, 2, 3, 4]"), 1);
        assert_eq!(joints(&"-".repeat(50)), 50);
        assert_eq!(joints("\"never closed ((("), 0);
    }
}

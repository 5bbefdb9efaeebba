//! Frequent causes of syntax errors, recognised by the text around the place.

use super::excerpt::{Excerpt, quoted};
use super::places;
use crate::diag::{Diagnostic, codes};

fn error(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(codes::YAML_SYNTAX, message)
}

/// A tab in the indentation of the line at the place. `told` says that the scanner spoke of a tab:
/// then it may be on a later line, because the scanner points at where a value starts.
pub(super) fn tab(place: &Excerpt<'_>, told: bool) -> Option<Diagnostic> {
    if place.open.is_some() && !told {
        return None;
    }
    let mut line = place.line(place.at);
    loop {
        let text = place.slice(line.clone());
        let blanks = &text[..text.len() - text.trim_start().len()];
        if let Some(at) = blanks.find('\t') {
            return Some(
                error("a tab is used to indent")
                    .label(
                        place.span(line.start + at, line.start + blanks.len()),
                        "YAML allows spaces alone here",
                    )
                    .help("replace it by spaces, as many as the lines around it have"),
            );
        }
        let next = (line.end + 1..place.text.len()).find(|at| place.text.is_char_boundary(*at))?;
        if !told {
            return None;
        }
        line = place.line(next);
    }
}

pub(super) fn tab_after_indicator(place: &Excerpt<'_>) -> Diagnostic {
    let before = place.slice(..place.at);
    let blanks = before.len() - before.trim_end_matches(['\t', ' ']).len();
    let start = place.at - blanks;
    error("a tab where YAML needs a space")
        .at(place.span(start, place.at))
        .fix("write a space", place.span(start, place.at), " ")
}

/// `key: value: more`, `key:value` on the line above, or a key below a value.
pub(super) fn colon(place: &Excerpt<'_>) -> Diagnostic {
    let line = place.content(place.at);
    let head = place.slice(line.start..place.at.max(line.start));
    if head.contains(": ") {
        let found = error("a value with a colon and a space in it needs quotes").label(
            place.character(),
            "YAML takes what is before this colon for a key",
        );
        return quote_value(place, found);
    }
    let Some(above) = place.content_before(place.at) else {
        return error("a key cannot stand here").at(place.character());
    };
    if let Some(found) = missing_space(place, above.start, above.end) {
        return found;
    }
    error("a key cannot follow here: the line above has its value already")
        .label(place.span(line.start, place.at), "this key")
        .also(place.span(above.start, above.end), "this is complete")
        .help("indent it like the key that it belongs beside, or remove the value above")
}

/// Offers to quote the value of the line's first key, or what is at the place if there is none.
pub(super) fn quote_value(place: &Excerpt<'_>, found: Diagnostic) -> Diagnostic {
    let line = place.content(place.at);
    let head = place.slice(line.start..place.at.max(line.start));
    let start = match head.find(": ") {
        Some(key) if place.open.is_none() => {
            let value = &head[key + 1..];
            line.start + head.len() - value.trim_start().len()
        }
        _ => place.at,
    };
    let end = match place.open {
        Some(_) => {
            let line = place.slice(start..place.line(start).end);
            let length = line.find([',', ']', '}']).unwrap_or(line.len());
            start + line[..length].trim_end().len()
        }
        None => place.value_end(start).max(start),
    };
    let value = place.slice(start..end);
    if value.starts_with(['"', '\'']) {
        return found;
    }
    found.fix("quote the value", place.span(start, end), quoted(value))
}

/// `name:value`, with nothing else wrong: the space is missing.
fn missing_space(place: &Excerpt<'_>, start: usize, end: usize) -> Option<Diagnostic> {
    let line = place.slice(start..end);
    let entry = line.trim_start_matches("- ").trim_start();
    let name = entry.find(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)))?;
    let after = entry[name..].strip_prefix(':')?;
    if name == 0 || after.is_empty() || after.starts_with([' ', '/', '\t']) {
        return None;
    }
    let at = end - after.len();
    Some(
        error("a space is missing after the colon")
            .label(place.span(at - 1, at), "here")
            .fix("add a space", place.span(at, at), " "),
    )
}

pub(super) fn colon_without_space(place: &Excerpt<'_>) -> Diagnostic {
    error("a space is missing after the colon")
        .label(place.character(), "here")
        .fix("add a space", place.span(place.at + 1, place.at + 1), " ")
}

/// A line in a mapping that has no colon; the scanner notices it on the line after.
pub(super) fn line_without_colon(place: &Excerpt<'_>) -> Diagnostic {
    let own = place.content(place.at);
    let line = if own.start < place.at {
        own
    } else {
        place.content_before(place.at).unwrap_or(own)
    };
    if let Some(found) = missing_space(place, line.start, line.end) {
        return found;
    }
    if let Some(open) = place.open {
        return open_at(place, open);
    }
    error("this line is neither `key: value` nor a list item")
        .at(place.span(line.start, line.end))
        .help("a key ends with a colon and a space; a list item starts with `- `")
}

/// A line whose indentation fits none above, or something behind the end of a value.
pub(super) fn indentation(place: &Excerpt<'_>) -> Diagnostic {
    if let Some(open) = place.open {
        return open_at(place, open);
    }
    if !place.starts_line() {
        return after_value(place);
    }
    let line = place.content(place.at);
    error("the indentation of this line fits none of the lines above")
        .at(place.span(line.start, line.end))
        .help("indent it exactly like the lines that it belongs beside")
}

pub(super) fn not_an_item(place: &Excerpt<'_>) -> Diagnostic {
    if !place.starts_line() {
        return after_value(place);
    }
    let line = place.content(place.at);
    error("a list goes on here, but this line is not one of its items")
        .at(place.span(line.start, line.end))
        .help("an item starts with `- `; the keys of one item are indented exactly alike")
}

fn after_value(place: &Excerpt<'_>) -> Diagnostic {
    let found = error("there is more text behind the end of the value")
        .at(place.word())
        .help("quote the whole value, or remove what follows it");
    let line = place.content(place.at);
    if place.open.is_some() || !place.slice(line.start..place.at).contains(": ") {
        return found;
    }
    quote_value(place, found)
}

pub(super) fn after_document(place: &Excerpt<'_>) -> Diagnostic {
    if !place.starts_line() {
        return after_value(place);
    }
    let first = places::skip_blank(place.text.as_bytes(), 0);
    let line = place.content(place.at);
    let found = error("the document ends before this line").at(place.span(line.start, line.end));
    if place.indentation(place.at) < place.indentation(first) {
        return found
            .also(place.span(first, place.content(first).end), "indented more")
            .help("the keys of the top level are indented exactly alike");
    }
    found.help("what comes before it is a complete value; is a key or `- ` missing?")
}

pub(super) fn open_quote(place: &Excerpt<'_>) -> Diagnostic {
    error("a quote is not closed")
        .label(place.character(), "it opens here")
        .help("close it on the same line, or indent the lines that it goes on over")
}

/// Text behind a closing quote: an inner quote, or one that was closed by the next one's opening.
pub(super) fn after_quote(place: &Excerpt<'_>) -> Diagnostic {
    let closing = place.slice(..place.at).trim_end().len().saturating_sub(1);
    let single = place.slice(closing..).starts_with('\'');
    let found = error("there is more text behind the closing quote").at(place.word());
    let quote = if single { '\'' } else { '"' };
    let opening = place.slice(..closing).rfind(quote);
    let line = place.line(place.at);
    if let Some(opening) = opening.filter(|opening| *opening < line.start) {
        return found
            .also(place.span(opening, opening + 1), "the quote opens here")
            .also(place.span(closing, closing + 1), "and is closed here")
            .help("is the first one never closed?");
    }
    if single {
        return found.help("inside single quotes, a quote is written twice: `''`");
    }
    let found = found.help("inside double quotes, a quote is written `\\\"`");
    // `"a" == b` is an expression that starts with a quoted text; `"a "b" c"` is not.
    let end = place.content(place.at).end;
    let whole = opening
        .filter(|opening| place.open.is_none() && place.slice(..*opening).ends_with(' '))
        .and_then(|opening| Some((opening, place.text.get(opening..end)?)))
        .filter(|(_, whole)| !whole.ends_with('"'));
    match whole {
        Some((opening, whole)) => {
            let span = place.span(opening, end);
            found.fix("quote the whole value", span, quoted(whole))
        }
        None => found,
    }
}

/// An escape that does not exist, in the double-quoted text that starts at the place.
pub(super) fn escape(place: &Excerpt<'_>) -> Diagnostic {
    let bytes = place.text.as_bytes();
    let mut at = place.at + 1;
    let known = |at: usize| match bytes.get(at + 1) {
        Some(b'x') => is_hex(bytes, at + 2, 2),
        Some(b'u') => is_hex(bytes, at + 2, 4),
        Some(b'U') => is_hex(bytes, at + 2, 8),
        Some(byte) => b"0abt\tnvfre \"/\\N_LP\n\r".contains(byte),
        None => false,
    };
    while at < bytes.len() && (bytes[at] != b'\\' || known(at)) {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    let end = place
        .text
        .get(at + 1..)
        .and_then(|rest| rest.chars().next());
    let end = at + 1 + end.map_or(0, char::len_utf8);
    error("an escape that does not exist")
        .at(place.span(at, end))
        .help("in single quotes a backslash is just a backslash")
        .fix("double the backslash", place.span(at, at + 1), "\\\\")
}

fn is_hex(bytes: &[u8], at: usize, length: usize) -> bool {
    let digits = bytes
        .get(at..at + length)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    digits.is_some_and(|digits| {
        u32::from_str_radix(digits, 16).is_ok_and(|code| char::from_u32(code).is_some())
    })
}

/// `@`, `%`, the backtick, or `*` and `&` without a name.
pub(super) fn reserved_character(place: &Excerpt<'_>) -> Diagnostic {
    let character = place.rest().chars().next().unwrap_or('@');
    let found = error(format!("a plain value cannot start with `{character}`"));
    quote_value(place, found.at(place.character()))
}

/// Something that is no value, where one must be.
pub(super) fn no_value(place: &Excerpt<'_>) -> Diagnostic {
    let found = error("a value is missing before this").at(place.word());
    match place.rest().chars().next() {
        Some('*') => found.help("an alias cannot have an anchor or a tag of its own"),
        Some(',') => found.help("remove the comma, or write a value before it"),
        _ => found,
    }
}

pub(super) fn directive(place: &Excerpt<'_>) -> Diagnostic {
    error("a line that starts with `%` is a YAML directive, and none can stand here")
        .at(place.word())
        .help("indent the line, or quote the value")
}

pub(super) fn byte_order_mark(place: &Excerpt<'_>) -> Diagnostic {
    error("a byte order mark (U+FEFF) inside the text")
        .at(place.character())
        .fix("remove it", place.character(), "")
}

pub(super) fn dash_after_key(place: &Excerpt<'_>) -> Diagnostic {
    error("a list cannot start on the line of its key")
        .label(place.character(), "this dash")
        .help("put every item on a line of its own below the key, or write `[a, b]`")
}

pub(super) fn dash_in_brackets(place: &Excerpt<'_>) -> Diagnostic {
    error("inside brackets, items are separated by commas, without dashes").at(place.character())
}

pub(super) fn open_bracket(place: &Excerpt<'_>) -> Diagnostic {
    match place.open {
        Some(open) => open_at(place, open),
        None => error("a comma or a closing bracket is missing").at(place.word()),
    }
}

fn open_at(place: &Excerpt<'_>, open: usize) -> Diagnostic {
    let (opener, closer) = match place.slice(open..).starts_with('[') {
        true => ('[', ']'),
        false => ('{', '}'),
    };
    let opened = place.span(open, open + 1);
    if place.rest().trim().is_empty() {
        return error(format!("`{opener}` is never closed"))
            .label(opened, "it opens here")
            .help(format!("close it with `{closer}`"));
    }
    error(format!("a `,` or `{closer}` is missing before this"))
        .at(place.word())
        .also(opened, format!("`{opener}` opens here"))
}

pub(super) fn stray_bracket(place: &Excerpt<'_>) -> Diagnostic {
    error("a closing bracket without an opening one")
        .at(place.character())
        .help("a plain value that starts with it needs quotes")
}

pub(super) fn block_header(place: &Excerpt<'_>) -> Diagnostic {
    error("behind `|` or `>`, nothing but a comment may follow on the line")
        .at(place.word())
        .help("start the text on the next line, indented; quote a plain value that starts so")
}

pub(super) fn comment_in_value(place: &Excerpt<'_>) -> Diagnostic {
    let line = place.line(place.at);
    error("a comment in the middle of a value")
        .label(place.span(place.at, line.end), "the value goes on below")
        .help("quote the value, or move the comment to a line above it")
}

pub(super) fn comment_without_space(place: &Excerpt<'_>) -> Diagnostic {
    error("a comment needs a space before its `#`")
        .at(place.character())
        .fix("add a space", place.span(place.at, place.at), " ")
}

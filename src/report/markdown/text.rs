//! Text from outside, as Markdown that shows it and does nothing else.
//!
//! GitHub's dialect, which tickets and wikis read; the rules are those of its specification (GFM 0.29):
//! backslash before punctuation, entities for HTML, longer fences around backticks.

use std::borrow::Cow;

use crate::report::clean;

/// `text` on one line; fit for a paragraph and for a cell of a table.
pub(super) fn inline(text: &str) -> String {
    escape(&clean::line(text))
}

/// `text` in a cell of a table: its lines stay lines.
pub(super) fn cell(text: &str) -> String {
    let text = clean::block(text.trim_end());
    text.lines().map(escape).collect::<Vec<_>>().join("<br>")
}

/// All characters literal, but for what stands between backticks: messages quote code that way.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        literal(&mut out, before);
        match after.split_once('`') {
            Some((quoted, after)) if !quoted.trim().is_empty() => {
                out.push_str(&code(quoted));
                rest = after;
            }
            _ => {
                out.push_str("\\`");
                rest = after;
            }
        }
    }
    literal(&mut out, rest);
    out
}

/// Appends `text`, all its characters literal.
fn literal(out: &mut String, text: &str) {
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // An underscore inside a word is one; at its border it could begin emphasis.
            '_' if before.is_alphanumeric()
                && chars.peek().is_some_and(|c| c.is_alphanumeric()) =>
            {
                out.push('_');
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // At the start of a paragraph these begin a heading or a list.
            '#' | '-' | '+' if out.is_empty() => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
        before = c;
    }
}

/// `text` as code on one line, fit for a cell of a table too.
pub(super) fn code(text: &str) -> String {
    let text = clean::line(text);
    if text.trim().is_empty() {
        return String::new();
    }
    if text.contains('|') {
        // In a table a bar ends the cell even inside code, and no escape is read there.
        let mut out = String::from("<code>");
        literal(&mut out, &text);
        return out.replace("\\|", "&#124;") + "</code>";
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    // The reader takes one blank at each end away; it keeps a backtick apart from the fence.
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{text}{space}{fence}")
}

/// `text` as a block of code.
pub(super) fn fenced(text: &str) -> String {
    let text = clean::block(text.trim_end_matches('\n'));
    let fence = "`".repeat(longest_run(&text).max(2) + 1);
    format!("{fence}text\n{text}\n{fence}\n")
}

fn longest_run(text: &str) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// The first lines of `text`, no more than a record has room for, and how many are missing.
pub(super) fn head(text: &str, lines: usize, bytes: usize) -> (Cow<'_, str>, usize) {
    let mut end = 0;
    let mut kept = 0;
    for line in text.split_inclusive('\n') {
        if kept == lines || end + line.len() > bytes {
            break;
        }
        end += line.len();
        kept += 1;
    }
    let missing = text[end..].lines().count();
    if kept == 0 && missing > 0 {
        // One line that alone is too long.
        let cut: String = text.chars().take(bytes / 4).collect();
        return (Cow::Owned(cut), missing);
    }
    (Cow::Borrowed(&text[..end]), missing)
}

#[cfg(test)]
mod tests {
    use super::{cell, code, fenced, head, inline};

    #[test]
    fn nothing_is_markup() {
        assert_eq!(
            inline("a|b <b>*x*</b> [d](e) \\ $x$"),
            "a\\|b &lt;b&gt;\\*x\\*&lt;/b&gt; \\[d\\](e) \\\\ \\$x\\$"
        );
        assert_eq!(inline("created_at _x_"), "created_at \\_x\\_");
        assert_eq!(inline("# 1\n2"), "\\# 1 2");
        assert_eq!(inline("a\x1b[2J"), "a␛\\[2J");
        assert_eq!(cell("a\nb|c\n"), "a<br>b\\|c");
    }

    #[test]
    fn quoted_code_is_code() {
        assert_eq!(inline("run `df -h` now"), "run `df -h` now");
        assert_eq!(inline("`a` <b> `c"), "`a` &lt;b&gt; \\`c");
        assert_eq!(inline("`a|b`"), "<code>a&#124;b</code>");
        assert_eq!(inline("``"), "\\`\\`");
    }

    #[test]
    fn code_keeps_its_backticks() {
        assert_eq!(code("ls -l"), "`ls -l`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`b`"), "`` `b` ``");
        assert_eq!(code("a\\|`b"), "<code>a\\\\&#124;\\`b</code>");
        assert_eq!(fenced("a\n```\nb\n"), "````text\na\n```\nb\n````\n");
    }

    #[test]
    fn heads_are_short() {
        assert_eq!(head("a\nb\nc", 2, 100), ("a\nb\n".into(), 1));
        assert_eq!(head("a\nb\nc", 5, 100), ("a\nb\nc".into(), 0));
        assert_eq!(head("abcdefgh", 5, 4), ("a".into(), 1));
    }
}

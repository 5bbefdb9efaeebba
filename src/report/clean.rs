//! Text from outside, made safe to show.
//!
//! Log lines, file names and the output of commands reach the reports. Control characters in them
//! could move the cursor, recolour the screen or hide what is written; bidirectional marks could make
//! a line read as another one. They are shown as what they are.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line: line breaks and tabs become a space, control characters visible.
pub fn line(text: &str) -> Cow<'_, str> {
    clean(text, |out, c| match c {
        '\n' | '\r' | '\t' => out.push(' '),
        c => shown(out, c),
    })
}

/// `text` with its lines kept; tabs become spaces, control characters visible.
pub fn block(text: &str) -> Cow<'_, str> {
    clean(text, |out, c| match c {
        '\n' => out.push('\n'),
        // A line that ends in `\r\n` ends once.
        '\r' => {}
        '\t' => out.push_str("    "),
        c => shown(out, c),
    })
}

fn clean(text: &str, replace: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let Some(first) = text.find(is_unsafe) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_unsafe(c) {
            replace(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_unsafe(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // Line and paragraph separators, bidirectional marks and overrides, the byte order mark.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => true,
        '\u{feff}' | '\u{61c}' => true,
        c => c.is_control(),
    }
}

fn shown(out: &mut String, c: char) {
    match c {
        // The control characters have pictures of their own.
        '\0'..='\u{1f}' => out.extend(char::from_u32(0x2400 + u32::from(c))),
        '\u{7f}' => out.push('\u{2421}'),
        c => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{block, line};

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(line("a\x1b[2Jb\r\nc\td"), "a␛[2Jb  c d");
        assert_eq!(block("a\x07\r\nb\tc"), "a␇\nb    c");
        assert_eq!(line("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
    }

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(line("磁盘 83 % – ok"), Cow::Borrowed(_)));
    }
}

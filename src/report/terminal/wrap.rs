//! Text in a column: pieces in their inks, wrapped at words, aligned by what a terminal draws.
//!
//! Chinese and Japanese may break between any two characters, but no line starts with a closing mark.
//! A word that is longer than the column (a URL, a path) stays whole, so that it can be copied.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::look::{Ink, Look};

/// How many columns `text` takes.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.width()
    }
}

/// `text`, and blanks until it takes `columns`.
pub(crate) fn pad(out: &mut String, text: &str, columns: usize) {
    out.push_str(text);
    blanks(out, columns.saturating_sub(width(text)));
}

/// `number` blanks.
pub(crate) fn blanks(out: &mut String, number: usize) {
    out.extend(std::iter::repeat_n(' ', number));
}

/// `text` cut to `columns`, with an ellipsis where something is gone.
pub(crate) fn cut<'a>(look: &Look, text: &'a str, columns: usize) -> Cow<'a, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let dots = look.symbol("…", "~");
    let mut left = columns.saturating_sub(1);
    let mut out = String::new();
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        out.push(c);
    }
    out.push_str(dots);
    Cow::Owned(out)
}

/// Pieces of text in their inks, written one after another.
#[derive(Debug, Default)]
pub(crate) struct Pieces<'a>(Vec<(Ink, Cow<'a, str>)>);

impl<'a> Pieces<'a> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn push(&mut self, ink: Ink, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        if !text.is_empty() {
            self.0.push((ink, text));
        }
    }

    /// Ends the last piece with a colon, which never starts a line.
    pub(crate) fn colon(&mut self, ink: Ink) {
        match self.0.last_mut() {
            Some((last, text)) if *last == ink => text.to_mut().push(':'),
            _ => self.push(ink, ":"),
        }
        self.push(Ink::Plain, " ");
    }

    /// The same, and one piece more.
    pub(crate) fn and(mut self, ink: Ink, text: impl Into<Cow<'a, str>>) -> Self {
        self.push(ink, text);
        self
    }

    /// Writes them and ends the line. The first line starts where `out` stands, at column `at`; what
    /// does not fit goes on below, at column `indent`.
    pub(crate) fn write(&self, out: &mut String, look: &Look, at: usize, indent: usize) {
        if look.width.is_none() {
            for (ink, text) in &self.0 {
                let _ = write!(out, "{}", look.paint(*ink, text));
            }
        } else {
            self.wrapped(out, look, at, indent);
        }
        trim_end(out);
        out.push('\n');
    }

    fn wrapped(&self, out: &mut String, look: &Look, at: usize, indent: usize) {
        let columns = look.columns();
        let mut column = at;
        let mut blank = 0;
        let mut last = None;
        for (ink, text) in &self.0 {
            // The run of words that is painted in one go.
            let mut run = String::new();
            for atom in Atoms(text) {
                if atom.starts_with(' ') {
                    blank += atom.len();
                    continue;
                }
                let wide = width(atom);
                let may_break = blank > 0 || may_follow(last, atom);
                if may_break && column + blank + wide > columns && column > indent {
                    flush(out, look, *ink, &mut run);
                    trim_end(out);
                    out.push('\n');
                    blanks(out, indent);
                    column = indent;
                } else {
                    let target = if run.is_empty() { &mut *out } else { &mut run };
                    blanks(target, blank);
                    column += blank;
                }
                blank = 0;
                run.push_str(atom);
                column += wide;
                last = atom.chars().next_back();
            }
            flush(out, look, *ink, &mut run);
        }
    }
}

/// Takes the blanks at the end of a line away.
fn trim_end(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
}

fn flush(out: &mut String, look: &Look, ink: Ink, run: &mut String) {
    if !run.is_empty() {
        let _ = write!(out, "{}", look.paint(ink, run.as_str()));
        run.clear();
    }
}

/// Runs of blanks, words, and wide characters with the closing marks that follow them.
struct Atoms<'a>(&'a str);

impl<'a> Iterator for Atoms<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut chars = self.0.char_indices();
        let (_, first) = chars.next()?;
        let end = if first == ' ' {
            self.0.find(|c| c != ' ').unwrap_or(self.0.len())
        } else {
            let mut last = first;
            let end = chars.find(|(_, c)| {
                let ends = *c == ' ' || (breaks(last, *c) && !closes(*c));
                last = *c;
                ends
            });
            end.map_or(self.0.len(), |(at, _)| at)
        };
        let (atom, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(atom)
    }
}

/// Whether `atom` may start a line after `last`, without a blank between them.
fn may_follow(last: Option<char>, atom: &str) -> bool {
    match (last, atom.chars().next()) {
        (Some(last), Some(first)) => breaks(last, first) && !closes(first),
        _ => true,
    }
}

fn breaks(before: char, after: char) -> bool {
    (is_wide(before) && !opens(before)) || is_wide(after)
}

fn is_wide(c: char) -> bool {
    c.width() == Some(2)
}

fn opens(c: char) -> bool {
    "（「『《【〈〔".contains(c)
}

fn closes(c: char) -> bool {
    "，。、；：？！）」』》】〉〕％…,.;:?!)]}%".contains(c)
}

#[cfg(test)]
mod tests {
    use super::{Ink, Look, Pieces, cut};

    fn wrapped(text: &str, columns: usize, at: usize, indent: usize) -> String {
        let look = Look {
            width: Some(columns),
            ..Look::PLAIN
        };
        let mut out = " ".repeat(at);
        Pieces::new()
            .and(Ink::Plain, text)
            .write(&mut out, &look, at, indent);
        out
    }

    #[test]
    fn words_stay_whole() {
        assert_eq!(
            wrapped("one two three four", 12, 2, 4),
            "  one two\n    three\n    four\n"
        );
        let url = "https://example.org/a/very/long/path";
        assert_eq!(
            wrapped(&format!("see {url} now"), 20, 2, 2),
            format!("  see\n  {url}\n  now\n")
        );
    }

    #[test]
    fn chinese_breaks_anywhere_but_before_a_closing_mark() {
        assert_eq!(
            wrapped("磁盘空间不足，请清理。", 10, 0, 2),
            "磁盘空间不\n  足，请清\n  理。\n"
        );
    }

    #[test]
    fn pieces_flow_into_each_other() {
        let look = Look {
            width: Some(10),
            color: true,
            ..Look::PLAIN
        };
        let mut out = String::new();
        Pieces::new()
            .and(Ink::Dim, "aa bb")
            .and(Ink::Plain, " cc dd")
            .write(&mut out, &look, 0, 1);
        assert_eq!(out, "\x1b[2maa bb\x1b[0m cc\n dd\n");
    }

    #[test]
    fn cuts_by_columns() {
        assert_eq!(cut(&Look::PLAIN, "磁盘空间", 5), "磁盘…");
        assert_eq!(cut(&Look::PLAIN, "disk", 4), "disk");
    }
}

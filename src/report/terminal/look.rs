//! How a report looks on a terminal: colours, symbols, width.
//!
//! Nothing is told by colour alone: every symbol and every word is there without it.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};

use crate::event::{Level, Status};

/// What a terminal, a pipe or a file can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether to colour.
    pub color: bool,
    /// Whether to draw with more than ASCII. Texts are shown as they are in any case.
    pub unicode: bool,
    /// How many columns there are; none where lines are as long as they are (files, pipes).
    pub width: Option<usize>,
    /// Whether moments are told in the machine's time zone; else in UTC.
    pub local_time: bool,
}

impl Look {
    /// For files that anybody may read: no colours, no width, UTC.
    pub const PLAIN: Self = Self {
        color: false,
        unicode: true,
        width: None,
        local_time: false,
    };

    /// What `stream` can show. `color` is what the person asked for; `Auto` respects `NO_COLOR`,
    /// `CLICOLOR`, `CLICOLOR_FORCE` and `TERM`.
    pub fn detect<S>(stream: &S, color: anstream::ColorChoice) -> Self
    where
        S: AsFd + IsTerminal + anstream::stream::RawStream,
    {
        let color = match color {
            anstream::ColorChoice::Auto => anstream::AutoStream::choice(stream),
            asked => asked,
        };
        let terminal = IsTerminal::is_terminal(stream);
        Self {
            color: color != anstream::ColorChoice::Never,
            unicode: speaks_unicode(terminal, |name| std::env::var(name).ok()),
            width: terminal.then(|| width(stream)).flatten(),
            local_time: true,
        }
    }

    /// The width of what is not limited, as a number.
    pub(super) fn columns(&self) -> usize {
        self.width.unwrap_or(usize::MAX)
    }

    /// `text` in `ink`.
    pub(crate) fn paint<T: fmt::Display>(&self, ink: Ink, text: T) -> Painted<T> {
        let style = if self.color {
            ink.style()
        } else {
            Style::new()
        };
        Painted { style, text }
    }

    /// One symbol of the two that stand for the same.
    pub(crate) fn symbol(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
}

/// The columns of the terminal behind `stream`, where there is one that says so.
pub(crate) fn width(stream: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    // Narrower than this and no line can be laid out; some terminals say 0.
    (size.ws_col >= 20).then_some(usize::from(size.ws_col))
}

/// The lines of the terminal behind `stream`, where there is one that says so.
pub(crate) fn height(stream: &impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_row > 0).then_some(usize::from(size.ws_row))
}

/// Whether the locale is one of UTF-8. Where it does not say, a terminal is believed to be modern;
/// cron's mail is not: it is sent as ASCII then.
fn speaks_unicode(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if terminal && set("TERM").is_some_and(|term| term == "linux" || term == "dumb") {
        return false;
    }
    match set("LC_ALL")
        .or_else(|| set("LC_CTYPE"))
        .or_else(|| set("LANG"))
    {
        Some(locale) => {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        }
        None => terminal,
    }
}

/// What a piece of text means, and so how it is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Good,
    Warn,
    Bad,
    Unknown,
    Dim,
    Strong,
    Help,
}

impl Ink {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Unknown => AnsiColor::Magenta.on_default().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Help => AnsiColor::Cyan.on_default(),
        }
    }
}

/// A text with its style around it.
pub(crate) struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.style == Style::new() {
            return self.text.fmt(f);
        }
        write!(f, "{}", self.style.render())?;
        self.text.fmt(f)?;
        write!(f, "{}", self.style.render_reset())
    }
}

/// How a status or a level is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// One column wide.
    pub symbol: &'static str,
    pub ink: Ink,
    /// The word that people read.
    pub word: &'static str,
}

impl Mark {
    /// Of a finding.
    pub(crate) fn level(look: &Look, level: Level) -> Self {
        let (symbol, ink) = match level {
            Level::Ok => (look.symbol("✓", "+"), Ink::Good),
            Level::Warning => ("!", Ink::Warn),
            Level::Unknown => ("?", Ink::Unknown),
            Level::Critical => (look.symbol("✗", "x"), Ink::Bad),
        };
        Self {
            symbol,
            ink,
            word: level.as_str(),
        }
    }

    /// Of a step that ended as `status`, or stands so; `allowed` where its failure lets the run go
    /// on; `worst` is the worst that it found.
    pub(crate) fn step(look: &Look, status: Status, allowed: bool, worst: Option<Level>) -> Self {
        let cross = look.symbol("✗", "x");
        let (symbol, ink, word) = match status {
            Status::Pending => (look.symbol("·", "."), Ink::Dim, "pending"),
            Status::Running => (look.symbol("▸", ">"), Ink::Help, "running"),
            Status::Succeeded => match worst {
                None | Some(Level::Ok) => (look.symbol("✓", "+"), Ink::Good, "succeeded"),
                // Its author lets such findings pass; they are still not green.
                Some(Level::Unknown) => ("?", Ink::Unknown, "succeeded"),
                Some(_) => ("!", Ink::Warn, "succeeded"),
            },
            Status::Failed if allowed => (cross, Ink::Warn, "failed (allowed)"),
            Status::Failed => (cross, Ink::Bad, "failed"),
            Status::Skipped => (look.symbol("–", "-"), Ink::Dim, "skipped"),
            Status::Cancelled => (look.symbol("⊘", "x"), Ink::Warn, "cancelled"),
            Status::TimedOut if allowed => (cross, Ink::Warn, "timed out (allowed)"),
            Status::TimedOut => (cross, Ink::Bad, "timed out"),
            Status::Unknown => ("?", Ink::Unknown, "outcome unknown"),
        };
        Self { symbol, ink, word }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ink, Look, speaks_unicode};

    #[test]
    fn the_locale_decides_what_is_drawn() {
        let with = |terminal, set: &[(&str, &str)]| {
            speaks_unicode(terminal, |name| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(false, &[("LANG", "C.UTF-8")]));
        assert!(with(true, &[]));
        assert!(!with(false, &[]), "cron has no locale and mails ASCII");
        assert!(!with(true, &[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!with(true, &[("TERM", "linux"), ("LANG", "C.UTF-8")]));
        assert!(with(true, &[("LC_ALL", ""), ("LANG", "zh_CN.utf8")]));
    }

    #[test]
    fn colours_are_closed() {
        let colored = Look {
            color: true,
            ..Look::PLAIN
        };
        assert_eq!(colored.paint(Ink::Dim, "x").to_string(), "\x1b[2mx\x1b[0m");
        assert_eq!(colored.paint(Ink::Plain, "x").to_string(), "x");
        assert_eq!(Look::PLAIN.paint(Ink::Bad, "x").to_string(), "x");
    }
}

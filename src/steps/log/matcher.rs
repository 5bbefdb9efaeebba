//! A pattern that is looked for line by line, without looking at every line.
//!
//! Searching a buffer of many lines at once is many times faster than line by line, and must come
//! to the same. So the expression is rewritten before it is compiled:
//! - no part of it matches a line break, so that no match spans two lines;
//! - `^`, `$`, `\A` and `\z` mean the ends of a line, and `$` fits before `\r\n` too;
//! - what matches U+FFFD, as `.` and `[^"]` do, also matches a byte that is not UTF-8, as if the
//!   line had been decoded with replacement characters: an error message must not get lost because
//!   of a name in Latin-1 before it.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Input, Span};
use regex_syntax::hir::{
    Capture, Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind,
    Look, Repetition,
};

use super::literal::Literal;

/// The most memory that a compiled expression may take, in bytes.
const SIZE_LIMIT: usize = 10 << 20;

/// A compiled pattern.
#[derive(Debug)]
pub struct Matcher(Kind);

#[derive(Debug)]
enum Kind {
    Literal(Box<Literal>),
    Expression {
        regex: Regex,
        /// Decides where `regex` may have taken a lone `\r` for the end of a line.
        exact: Option<Regex>,
    },
}

impl Matcher {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("`pattern` is empty: it would match every line".to_owned());
        }
        let config = syntax::Config::new()
            .utf8(false)
            .multi_line(true)
            .case_insensitive(ignore_case);
        let hir = syntax::parse_with(pattern, &config).map_err(|e| e.to_string())?;
        let hir = per_line(hir, Look::EndCRLF)?;
        if let HirKind::Literal(literal) = hir.kind() {
            let literal = Literal::new(&literal.0);
            return Ok(Self(Kind::Literal(Box::new(literal))));
        }
        let ends = hir.properties().look_set().contains(Look::EndCRLF);
        let exact = if ends {
            let hir = syntax::parse_with(pattern, &config).map_err(|e| e.to_string())?;
            Some(compile(&per_line(hir, Look::EndLF)?)?)
        } else {
            None
        };
        let regex = compile(&hir)?;
        Ok(Self(Kind::Expression { regex, exact }))
    }

    /// A place in the first line at or after `from` in which it may match, [`Matcher::confirms`]
    /// willing. `from` is the beginning of a line.
    pub fn candidate(&self, lines: &[u8], from: usize) -> Option<usize> {
        match &self.0 {
            Kind::Literal(literal) => literal.find(&lines[from..]).map(|at| from + at),
            Kind::Expression { regex, .. } => {
                let input = Input::new(lines).range(from..);
                regex.search_half(&input).map(|half| half.offset())
            }
        }
    }

    /// Whether it matches in `line`, which has a candidate in it and no line break at its end.
    pub fn confirms(&self, line: &[u8]) -> bool {
        match &self.0 {
            Kind::Expression {
                exact: Some(exact), ..
            } => exact.is_match(line),
            _ => true,
        }
    }

    /// Whether it matches in the piece `span` of a line, the rest of which may lie around it.
    pub fn matches_within(&self, line: &[u8], span: Span) -> bool {
        match &self.0 {
            Kind::Literal(literal) => literal.is_in(&line[span.range()]),
            Kind::Expression { regex, exact } => {
                let regex = exact.as_ref().unwrap_or(regex);
                regex.is_match(Input::new(line).span(span))
            }
        }
    }
}

fn compile(hir: &Hir) -> Result<Regex, String> {
    let config = Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(SIZE_LIMIT));
    let regex = Regex::builder().configure(config).build_from_hir(hir);
    regex.map_err(|error| match error.size_limit() {
        Some(limit) => format!("`pattern` takes more than {limit} bytes once compiled"),
        None => error.to_string(),
    })
}

/// `hir` so that it matches within lines alone, with `end` for the end of a line.
fn per_line(hir: Hir, end: Look) -> Result<Hir, String> {
    let all = |subs: Vec<Hir>| -> Result<Vec<Hir>, String> {
        subs.into_iter().map(|sub| per_line(sub, end)).collect()
    };
    let boxed = |sub: Box<Hir>| per_line(*sub, end).map(Box::new);
    Ok(match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => {
            return Err("`pattern` holds a line break: it is looked for line by line".to_owned());
        }
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => within_line(class),
        HirKind::Look(look) => Hir::look(match look {
            Look::Start | Look::StartLF | Look::StartCRLF => Look::StartLF,
            Look::End | Look::EndLF | Look::EndCRLF => end,
            word => word,
        }),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: boxed(repetition.sub)?,
            ..repetition
        }),
        HirKind::Capture(capture) => Hir::capture(Capture {
            sub: boxed(capture.sub)?,
            ..capture
        }),
        HirKind::Concat(subs) => Hir::concat(all(subs)?),
        HirKind::Alternation(subs) => Hir::alternation(all(subs)?),
    })
}

/// `class` without the line break, and with stray bytes where it takes U+FFFD.
fn within_line(class: Class) -> Hir {
    match class {
        Class::Bytes(mut class) => {
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        Class::Unicode(mut class) => {
            class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
            let replacement = char::REPLACEMENT_CHARACTER;
            let ranges = class.ranges().iter();
            let takes_stray =
                { ranges }.any(|range| (range.start()..=range.end()).contains(&replacement));
            let class = Hir::class(Class::Unicode(class));
            if !takes_stray {
                return class;
            }
            let stray = ClassBytes::new([ClassBytesRange::new(0x80, 0xFF)]);
            Hir::alternation(vec![class, Hir::class(Class::Bytes(stray))])
        }
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::Span;

    use super::{Kind, Matcher};

    /// The lines that match, as `grep -n` numbers them.
    fn grep(pattern: &str, text: &[u8]) -> Vec<usize> {
        let matcher = Matcher::new(pattern, false).unwrap();
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(hit) = matcher.candidate(text, at).filter(|hit| *hit < text.len()) {
            let start = text[..hit]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |i| i + 1);
            let end = hit + text[hit..].iter().position(|b| *b == b'\n').unwrap();
            let line = &text[start..end];
            if matcher.confirms(line.strip_suffix(b"\r").unwrap_or(line)) {
                found.push(text[..start].iter().filter(|b| **b == b'\n').count() + 1);
            }
            at = end + 1;
        }
        found
    }

    #[test]
    fn matches_within_lines() {
        let text = b"one\ntwo\r\n\n  four\nlone\rcr\n";
        assert_eq!(grep("one", text), [1, 5]);
        assert_eq!(grep("e$", text), [1]);
        assert_eq!(grep("o$", text), [2]);
        assert_eq!(grep("^$", text), [3]);
        assert_eq!(grep(r"\Atwo\z", text), [2]);
        assert_eq!(grep(r"(?-m)^two$", text), [2]);
        assert!(grep(r"e\s*t", text).is_empty());
        assert!(grep(r"o[^x]*f", text).is_empty());
        assert!(grep(r"(?s)one.*four", text).is_empty());
        assert_eq!(grep("lone.cr", text), [5]);
        assert_eq!(grep("x*", text), [1, 2, 3, 4, 5]);
        assert_eq!(grep(r"\btwo\b|four\b", text), [2, 4]);
    }

    #[test]
    fn matches_bytes_that_are_not_utf8() {
        let text = b"user=M\xfcller failed\nuser=M\xc3\xbcller failed\n\xff\0\xfe\n";
        for pattern in [
            "user=.*failed",
            "=[^ ]+ failed",
            r"=\S+\sf",
            r"\W\x00",
            "M.ller",
        ] {
            assert_eq!(
                grep(pattern, text).len(),
                if pattern.contains("x00") { 1 } else { 2 }
            );
        }
        assert_eq!(grep(r"(?-u)M\xfc", text), [1]);
        assert_eq!(grep("Müller", text), [2]);
        assert_eq!(grep(r"user=\w+ ", text), [2]);
    }

    #[test]
    fn a_text_is_searched_as_one() {
        let is_literal = |pattern: &str, ignore_case| {
            matches!(
                Matcher::new(pattern, ignore_case).unwrap().0,
                Kind::Literal(_)
            )
        };
        assert!(is_literal("ERROR", false));
        assert!(is_literal(r"\[error\]", false));
        assert!(is_literal("错误", false));
        assert!(!is_literal("ERROR", true));
        assert!(!is_literal("ERR.R", false));
    }

    #[test]
    fn case_is_ignored_when_asked() {
        let matcher = Matcher::new("fehler: ä", true).unwrap();
        assert!(matcher.candidate("FEHLER: Ä\n".as_bytes(), 0).is_some());
    }

    #[test]
    fn refuses_what_cannot_match() {
        for (pattern, told) in [
            ("", "is empty"),
            (r"a\nb", "line break"),
            ("(", "unclosed group"),
            (r"\w{1000}{1000}", "bytes"),
        ] {
            let error = Matcher::new(pattern, false).unwrap_err();
            assert!(error.contains(told), "{pattern}: {error}");
        }
    }

    #[test]
    fn the_ends_of_a_piece_are_not_those_of_its_line() {
        let line = b"aXb";
        let within = |pattern: &str, start, end| {
            let matcher = Matcher::new(pattern, false).unwrap();
            matcher.matches_within(line, Span { start, end })
        };
        assert!(within("X", 1, 2) && !within("^X", 1, 2) && !within("X$", 1, 2));
        assert!(within("^a", 0, 2) && within("b$", 1, 3));
    }
}

//! Small readers that every part of the decoder uses, and whoever else reads a file of the language:
//! each takes a node, and says what is wrong with it.

use std::ops::Range;

use crate::base::{ByteSize, Duration, Span, Spanned};
use crate::diag::{Code, Diagnostic, Diagnostics, codes};
use crate::doc::{Entry, Map, MapReader, Node, Resolved, Scalar};
use crate::expr::{Expr, Template, contains_expression};
use crate::step::Registry;

/// What decoding needs at hand.
#[derive(Debug)]
pub struct Decoder<'a> {
    /// The step types.
    pub registry: &'a Registry,
    /// The text that the tree was read from.
    pub text: &'a str,
    /// What was found so far.
    pub diagnostics: &'a mut Diagnostics,
}

/// Whether `text` can be a name: `[a-z][a-z0-9_]{0,39}`.
pub fn is_name(text: &str) -> bool {
    crate::base::StepId::new(text).is_some()
}

/// Where a range of the bytes of `scalar` stands in the file.
pub(super) fn locator<'t>(
    text: &'t str,
    node: &Node,
    scalar: &'t Scalar,
) -> impl Fn(Range<usize>) -> Span + use<'t> {
    let span = node.span;
    move |range| scalar.locate(span, text, range)
}

impl Decoder<'_> {
    /// Tells an error at a place.
    pub fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.diagnostics
            .push(Diagnostic::error(code, message).at(span));
    }

    /// "`timeout` takes a duration, and this is a list".
    pub fn wrong_type(&mut self, what: &str, wanted: &str, node: &Node) {
        let message = format!("`{what}` takes {wanted}, and this is {}", node.describe());
        self.error(codes::WRONG_TYPE, node.span, message);
    }

    /// The mapping at `node`, to be read key by key.
    pub fn map<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<MapReader<'n>> {
        match node.as_map() {
            Some(map) => Some(MapReader::new(map, node.span, what)),
            None => {
                let message = format!("{what} is a mapping, and this is {}", node.describe());
                self.error(codes::WRONG_TYPE, node.span, message);
                None
            }
        }
    }

    /// Entries of a mapping from names to anything; null is an empty one.
    pub fn named<'n>(&mut self, entry: &'n Entry, what: &str) -> Vec<&'n Entry> {
        if entry.value.is_null() {
            return Vec::new();
        }
        let Some(Map { entries, .. }) = entry.value.as_map() else {
            self.wrong_type(what, "a mapping of names", &entry.value);
            return Vec::new();
        };
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            if self.name(&entry.key.value, entry.key.span) {
                named.push(entry);
            }
        }
        named
    }

    /// Whether `text` is a name; says so if not.
    pub fn name(&mut self, text: &str, span: Span) -> bool {
        let fits = is_name(text);
        if !fits {
            let message = format!("`{text}` cannot be a name");
            let better = text.to_lowercase().replace(['-', ' ', '.'], "_");
            let mut diagnostic = Diagnostic::error(codes::BAD_NAME, message).label(
                span,
                "a name starts with a letter a-z, then a-z, 0-9 and `_`, at most 40",
            );
            if is_name(&better) {
                diagnostic = diagnostic.fix(format!("call it `{better}`"), span, better);
            }
            self.diagnostics.push(diagnostic);
        }
        fits
    }

    /// A plain text without expressions.
    pub fn text(&mut self, entry: &Entry) -> Option<Spanned<String>> {
        let text = self.any_text(entry)?;
        if contains_expression(&text.value) {
            self.error(
                codes::EXPR_NOT_HERE,
                text.span,
                format!("`{}` is read before anything is evaluated", entry.key.value),
            );
            return None;
        }
        Some(text)
    }

    /// A text that may hold expressions, as it is written.
    pub fn any_text(&mut self, entry: &Entry) -> Option<Spanned<String>> {
        match entry.value.as_str() {
            Some(text) => Some(Spanned::new(text.to_owned(), entry.value.span)),
            None => {
                self.wrong_type(&entry.key.value, "a text", &entry.value);
                None
            }
        }
    }

    /// A text with expressions in it.
    pub fn template(&mut self, entry: &Entry) -> Option<Template> {
        let text = self.any_text(entry)?;
        let scalar = entry.value.as_scalar()?;
        let locate = locator(self.text, &entry.value, scalar);
        let parsed = Template::parse(&text.value, &locate);
        parsed
            .map_err(|diagnostic| self.diagnostics.push(diagnostic))
            .ok()
    }

    /// A field that is an expression by nature.
    pub fn expression(&mut self, key: &str, node: &Node) -> Option<Expr> {
        let Some(scalar) = node.as_scalar().filter(|_| !node.is_null()) else {
            self.wrong_type(key, "an expression", node);
            return None;
        };
        let locate = locator(self.text, node, scalar);
        let parsed = Template::parse_bare(&scalar.text, &locate);
        parsed
            .map_err(|diagnostic| self.diagnostics.push(diagnostic))
            .ok()
    }

    /// A length of time.
    pub fn duration(&mut self, entry: &Entry) -> Option<Duration> {
        let text = self.text(entry)?;
        match text.value.parse() {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.error(codes::BAD_VALUE, text.span, format!("{error}"));
                None
            }
        }
    }

    /// A whole number from `min` to `max`.
    pub fn int(&mut self, entry: &Entry, min: i64, max: i64) -> Option<i64> {
        match entry.value.resolve() {
            Resolved::Int(value) if (min..=max).contains(&value) => Some(value),
            Resolved::Int(value) => {
                let message = format!(
                    "`{}` is from {min} to {max}, and this is {value}",
                    entry.key.value
                );
                self.error(codes::BAD_VALUE, entry.value.span, message);
                None
            }
            _ => {
                self.wrong_type(&entry.key.value, "a whole number", &entry.value);
                None
            }
        }
    }

    /// A finite number, at least `min`.
    pub fn number(&mut self, entry: &Entry, min: f64) -> Option<f64> {
        let value = match entry.value.resolve() {
            Resolved::Int(value) => value as f64,
            Resolved::Float(value) if value.is_finite() => value,
            _ => {
                self.wrong_type(&entry.key.value, "a number", &entry.value);
                return None;
            }
        };
        if value < min {
            let message = format!(
                "`{}` is at least {min}, and this is {value}",
                entry.key.value
            );
            self.error(codes::BAD_VALUE, entry.value.span, message);
            return None;
        }
        Some(value)
    }

    /// `true` or `false`.
    pub fn bool(&mut self, entry: &Entry) -> Option<bool> {
        match entry.value.resolve() {
            Resolved::Bool(value) => Some(value),
            _ => {
                let wanted = "`true` or `false`";
                self.wrong_type(&entry.key.value, wanted, &entry.value);
                None
            }
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, entry: &Entry, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(entry)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let quoted: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let near = crate::base::suggest::nearest(&text.value, words.iter().map(|(word, _)| *word));
        let message = format!("`{}` is one of {}", entry.key.value, quoted.join(", "));
        self.diagnostics.push(
            Diagnostic::error(codes::BAD_VALUE, message)
                .at(text.span)
                .maybe_help(crate::diag::did_you_mean(near)),
        );
        None
    }

    /// A list of texts without expressions.
    pub fn texts(&mut self, entry: &Entry) -> Option<Vec<Spanned<String>>> {
        let Some(items) = entry.value.as_seq() else {
            self.wrong_type(&entry.key.value, "a list of texts", &entry.value);
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item.as_str() {
                Some(text) if !contains_expression(text) => {
                    texts.push(Spanned::new(text.to_owned(), item.span));
                }
                Some(_) => self.error(
                    codes::EXPR_NOT_HERE,
                    item.span,
                    format!("`{}` is read before anything is evaluated", entry.key.value),
                ),
                None => self.wrong_type(&entry.key.value, "a list of texts", item),
            }
        }
        Some(texts)
    }

    /// A size, as a number of bytes.
    pub fn size(&mut self, what: &str, node: &Node) -> Option<ByteSize> {
        let text = node.as_str().unwrap_or_default();
        match text.parse() {
            Ok(size) => Some(size),
            Err(error) => {
                self.error(codes::BAD_VALUE, node.span, format!("`{what}`: {error}"));
                None
            }
        }
    }
}

//! A text with or without expressions in it.

use std::ops::Range;

use super::expression::Expr;
use super::reference::Reference;
use super::scan::{Piece, pieces, trimmed};
use super::syntax;
use crate::base::Span;
use crate::diag::Diagnostic;

/// A text with or without expressions in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// None.
    Literal(Box<str>),
    /// One single `${{ … }}`: its value keeps its type.
    Whole(Expr),
    /// Text and expressions: the value is a text.
    Mixed(Vec<Part>),
}

/// A part of a [`Template::Mixed`].
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text as it is.
    Text(Box<str>),
    /// A value that is written in its place.
    Expr(Expr),
}

impl Template {
    /// Reads `text`; `locate` says where a range of its bytes stands in the file.
    ///
    /// Line ends after one single expression are not counted as text: a YAML block scalar ends with
    /// one.
    ///
    /// # Errors
    /// RB408 where an expression is never closed, and those of [`Expr::parse`].
    pub fn parse(text: &str, locate: &dyn Fn(Range<usize>) -> Span) -> Result<Self, Diagnostic> {
        let pieces = match text.contains('$') {
            true => pieces(text, locate)?,
            false => Vec::new(),
        };
        let read = |range: Range<usize>| Expr::within(&text[range.clone()], range, locate);
        match pieces.as_slice() {
            [] | [Piece::Text(_)] => Ok(Self::Literal(text.into())),
            [Piece::Expression(range)] => read(range.clone()).map(Self::Whole),
            [Piece::Expression(range), Piece::Text(rest)]
                if text[rest.clone()].chars().all(|char| char == '\n') =>
            {
                read(range.clone()).map(Self::Whole)
            }
            _ => {
                let parts = pieces.into_iter().map(|piece| match piece {
                    Piece::Text(range) => Ok(Part::Text(text[range].into())),
                    Piece::Expression(range) => read(range).map(Part::Expr),
                });
                parts.collect::<Result<_, _>>().map(Self::Mixed)
            }
        }
    }

    /// Reads the text of a field that is an expression by nature: `a > 3`, or `${{ a > 3 }}`.
    ///
    /// # Errors
    /// Those of [`Template::parse`], and RB401 where there is text beside a `${{ }}`.
    pub fn parse_bare(
        text: &str,
        locate: &dyn Fn(Range<usize>) -> Span,
    ) -> Result<Expr, Diagnostic> {
        let range = trimmed(text, 0..text.len());
        if !text[range.clone()].starts_with("${{") {
            let source = &text[range.clone()];
            return Expr::within(source, range, locate);
        }
        match pieces(&text[..range.end], locate)?.as_slice() {
            [Piece::Expression(inner)] | [Piece::Text(_), Piece::Expression(inner)] => {
                Expr::within(&text[inner.clone()], inner.clone(), locate)
            }
            _ => Err(
                syntax::error("this field is one expression, and there is text beside it")
                    .at(locate(range))
                    .help("write the whole of it without `${{ }}`, or all inside of one"),
            ),
        }
    }

    /// Its expressions.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let (whole, parts) = match self {
            Self::Literal(_) => (None, &[][..]),
            Self::Whole(expr) => (Some(expr), &[][..]),
            Self::Mixed(parts) => (None, parts.as_slice()),
        };
        let mixed = parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expr(expr) => Some(expr),
        });
        whole.into_iter().chain(mixed)
    }

    /// Every path that its expressions read.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.expressions().flat_map(Expr::references)
    }

    /// Whether it reads nothing, so that it has the same value always.
    pub fn is_constant(&self) -> bool {
        self.expressions().all(Expr::is_constant)
    }
}

//! One expression: its text, its place, its tree, what it reads.

use std::ops::Range;
use std::sync::Arc;

use super::lower::lower;
use super::place::Place;
use super::reference::Reference;
use super::syntax;
use super::tree::Node;
use crate::base::Span;
use crate::diag::Diagnostic;

/// One expression, parsed, its references known. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Expr(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    source: Box<str>,
    place: Place,
    root: Node,
    references: Box<[Reference]>,
}

/// The same text at the same place.
impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source() && self.span() == other.span()
    }
}

impl Expr {
    /// Reads `source`, which stands at `span` in its file.
    ///
    /// Where `span` is as long as `source`, findings point into it byte for byte; else they point
    /// at all of it.
    ///
    /// # Errors
    /// RB401 where it cannot be read, RB405 where a filter, test or function does not exist.
    pub fn parse(source: &str, span: Span) -> Result<Self, Diagnostic> {
        Self::build(source, Place::of(source, span))
    }

    /// Reads `source`, which is `range` of a text whose places `locate` knows.
    pub(super) fn within(
        source: &str,
        range: Range<usize>,
        locate: &dyn Fn(Range<usize>) -> Span,
    ) -> Result<Self, Diagnostic> {
        Self::build(source, Place::within(source, range, locate))
    }

    fn build(source: &str, place: Place) -> Result<Self, Diagnostic> {
        let (root, references) = syntax::parse(source, &place, |tree| lower(source, &place, tree))?;
        Ok(Self(Arc::new(Parsed {
            source: source.into(),
            place,
            root,
            references: references.into(),
        })))
    }

    /// Where it stands.
    pub fn span(&self) -> Span {
        self.0.place.whole()
    }

    /// As it is written, without `${{ }}`.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Every path that it reads, in the order of their places.
    pub fn references(&self) -> &[Reference] {
        &self.0.references
    }

    /// Whether it reads nothing, so that it has the same value always.
    pub fn is_constant(&self) -> bool {
        self.0.references.is_empty()
    }

    pub(super) fn root(&self) -> &Node {
        &self.0.root
    }

    /// Where a part of it stands.
    pub(super) fn place(&self, range: Range<usize>) -> Span {
        self.0.place.span(range)
    }

    /// A part of it, as it is written.
    pub(super) fn text(&self, range: Range<usize>) -> &str {
        self.0.source.get(range).unwrap_or(&self.0.source)
    }
}

//! Scalars of the tree: their place, exactly, and their tag.

use std::ops::Range;

use saphyr_parser::{ScalarStyle as Style, Span as Mark};

use super::anchors::Extent;
use super::build::{Builder, Fatal, Properties, Role};
use super::node::{Kind, Node, Scalar, ScalarStyle};
use super::{budget, places, tags};

impl Builder<'_, '_> {
    /// Takes a scalar that ends at `mark`, or a little before it.
    pub(super) fn scalar(
        &mut self,
        text: &str,
        style: Style,
        properties: &Properties<'_>,
        mark: Mark,
    ) -> Result<(), Fatal> {
        let place = self.place_of_scalar(text, style, properties, mark);
        let span = self.span(place.start, place.end);
        self.cursor = span.end as usize;
        budget::check_scalar(text, span)?;
        self.count(1, text.len(), span)?;
        let tag = match &properties.tag {
            None => None,
            Some(tag) => tags::of_scalar(tag, text, self.tag_span(properties.at), self.out),
        };
        let scalar = Scalar {
            text: Box::from(text),
            style: match style {
                Style::Plain => ScalarStyle::Plain,
                Style::SingleQuoted => ScalarStyle::SingleQuoted,
                Style::DoubleQuoted => ScalarStyle::DoubleQuoted,
                Style::Literal => ScalarStyle::Literal,
                Style::Folded => ScalarStyle::Folded,
            },
            tag,
        };
        let node = Node {
            span,
            kind: Kind::Scalar(scalar),
        };
        if properties.anchor > 0 {
            let extent = Extent {
                nodes: 1,
                bytes: text.len(),
                height: 0,
            };
            self.anchors.keep(properties.anchor, &node, extent);
        }
        self.put(node, span, 0);
        Ok(())
    }

    fn place_of_scalar(
        &mut self,
        text: &str,
        style: Style,
        properties: &Properties<'_>,
        mark: Mark,
    ) -> Range<usize> {
        let count = properties.count();
        if style == Style::Plain && text.is_empty() {
            let at = self.place_of_nothing(properties.at, count);
            return at..at;
        }
        let (_, start) = places::skip_properties(self.bytes, properties.at, count);
        if matches!(style, Style::SingleQuoted | Style::DoubleQuoted) {
            return start..places::quoted_end(self.bytes, start);
        }
        let end = self.offsets.byte(mark.end.index()).max(start);
        if style == Style::Plain {
            return start..end;
        }
        // The scanner places a block scalar at its first line, past the indicator.
        let from = if count > 0 { start } else { self.cursor };
        places::block_scalar(self.bytes, from, end).unwrap_or(start..end)
    }

    /// Where a scalar would stand that is left out: after its anchor or tag, else right after the
    /// indicator that announces it.
    fn place_of_nothing(&self, at: usize, properties: usize) -> usize {
        if properties > 0 {
            return places::skip_properties(self.bytes, at, properties).0;
        }
        let mut next = places::skip_blank(self.bytes, self.cursor);
        let role = self.role();
        if role == Role::Key && self.bytes.get(next) == Some(&b',') {
            next = places::skip_blank(self.bytes, next + 1);
        }
        match (role, self.bytes.get(next)) {
            (Role::Root, _) => at,
            (Role::Item, Some(b'-')) | (Role::Key, Some(b'?')) | (Role::Value, Some(b':')) => {
                next + 1
            }
            // `: value`: the key would stand before its colon.
            (Role::Key, Some(b':')) => next,
            _ => self.cursor,
        }
    }
}

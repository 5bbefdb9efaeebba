//! The texts that diagnostics point into.

use std::sync::Arc;

use crate::base::{SourceId, Span};

/// One text, with the name that people know it by.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as it was given, or a name in angle brackets.
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
    lines: Vec<u32>,
}

/// A place as people count: both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
}

impl Source {
    fn new(name: String, text: Arc<str>) -> Self {
        let starts = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Self { name, text, lines }
    }

    /// Line and column of byte `offset`.
    pub fn position(&self, offset: u32) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines[line - 1] as usize;
        let end = (offset as usize).min(self.text.len());
        let column = self
            .text
            .get(start..end)
            .map_or(end - start, |head| head.chars().count());
        Position {
            line,
            column: column + 1,
        }
    }
}

/// All texts of one invocation.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `text`, known to people as `name`.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> SourceId {
        let id = SourceId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push(Source::new(name.into(), text.into()));
        id
    }

    /// As [`Sources::add`]; a text that is there under this name already is not kept twice.
    pub fn add_once(&mut self, name: &str, text: &str) -> SourceId {
        let known = self
            .0
            .iter()
            .position(|source| source.name == name && *source.text == *text);
        match known.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => SourceId(at),
            None => self.add(name, text),
        }
    }

    /// The text with this id, if it is one of these.
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.0.get(id.0 as usize)
    }

    /// `name:line:column` of a span's start.
    pub fn locate(&self, span: Span) -> Option<(&str, Position)> {
        let source = self.get(span.source)?;
        Some((&source.name, source.position(span.start)))
    }

    /// The text that a span covers.
    pub fn slice(&self, span: Span) -> Option<&str> {
        self.get(span.source)?
            .text
            .get(span.start as usize..span.end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{Position, Sources};
    use crate::base::Span;

    #[test]
    fn counts_as_people_do() {
        let mut sources = Sources::new();
        let id = sources.add("a.yaml", "äb\ncd\n");
        let at = |offset| sources.locate(Span::new(id, offset, offset)).unwrap().1;
        assert_eq!(at(0), Position { line: 1, column: 1 });
        assert_eq!(at(2), Position { line: 1, column: 2 });
        assert_eq!(at(4), Position { line: 2, column: 1 });
        assert_eq!(at(5), Position { line: 2, column: 2 });
    }
}

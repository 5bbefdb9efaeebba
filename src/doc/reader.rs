//! Reads a mapping key by key, and in the end tells which keys nobody asked for.
//!
//! Unknown keys are errors everywhere in the language; asking through a reader is what makes a key
//! known, so the list of known keys cannot differ from what is read.

use super::node::{Entry, Map};
use crate::base::{Span, suggest};
use crate::diag::{Diagnostic, Diagnostics, codes, did_you_mean};

/// Known keys are listed in full up to this many.
const LIST: usize = 12;

/// A mapping that is being read.
#[derive(Clone, Debug)]
pub struct MapReader<'a> {
    map: &'a Map,
    span: Span,
    what: &'static str,
    known: Vec<&'static str>,
    taken: Taken,
}

impl<'a> MapReader<'a> {
    /// Reads `map`, which is written at `span` and is `what`: "a step", "the playbook".
    pub fn new(map: &'a Map, span: Span, what: &'static str) -> Self {
        Self {
            map,
            span,
            what,
            known: Vec::new(),
            taken: Taken::new(map.entries.len()),
        }
    }

    /// The entry of `key`, which is known from now on.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.known.push(key);
        let at = self
            .map
            .entries
            .iter()
            .position(|entry| &*entry.key.value == key)?;
        self.taken.insert(at);
        self.map.entries.get(at)
    }

    /// All entries that nobody has taken yet and whose key is `wanted`: for keys that are names.
    pub fn take_all(&mut self, mut wanted: impl FnMut(&str) -> bool) -> Vec<&'a Entry> {
        let mut found = Vec::new();
        for (at, entry) in self.map.entries.iter().enumerate() {
            if !self.taken.contains(at) && wanted(&entry.key.value) {
                self.taken.insert(at);
                found.push(entry);
            }
        }
        found
    }

    /// The keys that were asked for so far.
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Where the mapping is written.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Reports every key that nobody took.
    pub fn finish(self, diagnostics: &mut Diagnostics) {
        let Taken { few, many } = &self.taken;
        let all = self.map.entries.len();
        if many.is_empty() && few.count_ones() as usize == all {
            return;
        }
        for (at, entry) in self.map.entries.iter().enumerate() {
            if !self.taken.contains(at) {
                diagnostics.push(self.unknown(entry));
            }
        }
    }

    fn unknown(&self, entry: &Entry) -> Diagnostic {
        let key = &*entry.key.value;
        let near = suggest::nearest(key, self.known.iter().copied());
        let list = match near {
            None if (1..=LIST).contains(&self.known.len()) => {
                let names: Vec<String> = self.known.iter().map(|key| format!("`{key}`")).collect();
                Some(format!("{} takes {}", self.what, names.join(", ")))
            }
            _ => None,
        };
        Diagnostic::error(
            codes::UNKNOWN_KEY,
            format!("{} has no key `{key}`", self.what),
        )
        .at(entry.key.span)
        .maybe_help(did_you_mean(near))
        .maybe_help(list)
    }

    /// Reports that `key` must be there and is not. Points at the start of the mapping.
    pub fn missing(&self, key: &str, diagnostics: &mut Diagnostics) {
        let span = self
            .map
            .entries
            .first()
            .map_or(self.span, |entry| entry.key.span);
        diagnostics.push(
            Diagnostic::error(
                codes::MISSING_KEY,
                format!("{} needs the key `{key}`", self.what),
            )
            .label(span, format!("`{key}` is missing here")),
        );
    }
}

/// Which entries were taken: a bit each, without an allocation for the first 64.
#[derive(Clone, Debug)]
struct Taken {
    few: u64,
    many: Vec<bool>,
}

impl Taken {
    fn new(entries: usize) -> Self {
        Self {
            few: 0,
            many: vec![false; entries.saturating_sub(64)],
        }
    }

    fn insert(&mut self, at: usize) {
        match at.checked_sub(64) {
            None => self.few |= 1 << at,
            Some(rest) => self.many[rest] = true,
        }
    }

    fn contains(&self, at: usize) -> bool {
        match at.checked_sub(64) {
            None => self.few & (1 << at) != 0,
            Some(rest) => self.many[rest],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MapReader;
    use crate::base::SourceId;
    use crate::diag::{Diagnostics, codes};
    use crate::doc::{Document, parse};

    fn read(text: &str) -> Document {
        let mut out = Diagnostics::new();
        let document = parse(SourceId(0), text, &mut out).unwrap();
        assert!(out.is_empty(), "{out:?}");
        document
    }

    #[test]
    fn tells_what_nobody_asked_for() {
        let document = read("id: a\nnmae: b\nbanana: c\nexec.command: d\n");
        let root = &document.root;
        let mut reader = MapReader::new(root.as_map().unwrap(), root.span, "a step");
        assert_eq!(reader.take("id").unwrap().value.as_str(), Some("a"));
        assert!(reader.take("name").is_none());
        let types = reader.take_all(|key| key.contains('.'));
        assert_eq!(types.len(), 1);
        assert_eq!(reader.known(), ["id", "name"]);
        let mut out = Diagnostics::new();
        reader.missing("when", &mut out);
        reader.finish(&mut out);
        let found: Vec<_> = out.iter().map(|d| (d.code, d.message.as_str())).collect();
        assert_eq!(
            found,
            [
                (codes::MISSING_KEY, "a step needs the key `when`"),
                (codes::UNKNOWN_KEY, "a step has no key `nmae`"),
                (codes::UNKNOWN_KEY, "a step has no key `banana`"),
            ]
        );
        let help: Vec<_> = out.iter().map(|d| d.help.clone()).collect();
        assert_eq!(help[1], ["did you mean `name`?"]);
        assert_eq!(help[2], ["a step takes `id`, `name`"]);
    }

    #[test]
    fn large_mappings_are_read_too() {
        let text: String = (0..100).map(|at| format!("k{at}: {at}\n")).collect();
        let document = read(&text);
        let root = &document.root;
        let mut reader = MapReader::new(root.as_map().unwrap(), root.span, "this");
        assert!(reader.take("k70").is_some());
        let mut out = Diagnostics::new();
        reader.clone().finish(&mut out);
        assert_eq!(out.len(), 99);
        assert_eq!(reader.take_all(|_| true).len(), 99);
        let mut out = Diagnostics::new();
        reader.finish(&mut out);
        assert!(out.is_empty());
    }
}

//! The names that an expression reads.

use std::fmt;

use crate::base::Span;

/// A path from a root that an expression reads: `steps.bloat.outputs.indexes`.
///
/// A text in brackets continues the path (`steps['bloat']`); what is only known when it is
/// evaluated (`steps[params.id]`) ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The root and the fields, at least the root.
    pub path: Box<[Box<str>]>,
    /// Where it is written.
    pub span: Span,
    /// The bytes of each name within the expression.
    pub(super) names: Box<[(u32, u32)]>,
}

impl Reference {
    /// The name that it starts with: `steps`.
    pub fn root(&self) -> &str {
        self.path.first().map_or("", |root| root)
    }

    /// The names after the first.
    pub fn fields(&self) -> &[Box<str>] {
        self.path.get(1..).unwrap_or_default()
    }

    /// Whether it starts with these names.
    pub fn starts_with(&self, names: &[&str]) -> bool {
        self.path.len() >= names.len()
            && self
                .path
                .iter()
                .zip(names)
                .all(|(own, name)| &**own == *name)
    }

    /// The first `count` names, as they are written.
    pub(super) fn text(&self, count: usize) -> String {
        let names: Vec<&str> = self.path.iter().take(count).map(|name| &**name).collect();
        names.join(".")
    }
}

/// As it is written.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(self.path.len()))
    }
}

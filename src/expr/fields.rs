//! The fields of an object type, and whose they are: "`archive.create` has `path`, `bytes`".

use std::sync::Arc;

use indexmap::IndexMap;

use super::types::{Type, quoted};

/// The fields of a [`Type::Object`], in the order of their declaration.
#[derive(Clone, Debug)]
pub struct Fields {
    entries: IndexMap<Arc<str>, Type>,
    noun: Arc<str>,
    owner: Option<Arc<str>>,
    secret: bool,
}

impl Fields {
    /// These fields.
    pub fn new<N: Into<Arc<str>>>(entries: impl IntoIterator<Item = (N, Type)>) -> Self {
        let entries: IndexMap<Arc<str>, Type> = entries
            .into_iter()
            .map(|(name, ty)| (name.into(), ty))
            .collect();
        // Asked for on every concatenation: walking thousands of steps each time would not do.
        let secret = entries.values().any(Type::contains_secret);
        Self {
            entries,
            noun: "field".into(),
            owner: None,
            secret,
        }
    }

    /// What one of them is called in messages: "output", "parameter", "step".
    pub fn called(mut self, noun: impl Into<Arc<str>>) -> Self {
        self.noun = noun.into();
        self
    }

    /// Who has them, as it stands in messages: "`archive.create`", "the playbook".
    pub fn owned_by(mut self, owner: impl Into<Arc<str>>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The type of field `name`.
    pub fn get(&self, name: &str) -> Option<&Type> {
        self.entries.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Type)> {
        self.entries.iter().map(|(name, ty)| (&**name, ty))
    }

    /// Their names.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.keys().map(|name| &**name)
    }

    /// What one of them is called.
    pub fn noun(&self) -> &str {
        &self.noun
    }

    /// "`archive.create` has `path`, `bytes`": the help of a message about a missing one.
    pub fn describe(&self) -> String {
        let owner = self.owner.as_deref().unwrap_or("it");
        if self.entries.is_empty() {
            return format!("{owner} has no {}s", self.noun);
        }
        format!("{owner} has {}", quoted(self.names()))
    }

    /// Whether any of them is a secret, or has one inside.
    pub(super) fn contain_secret(&self) -> bool {
        self.secret
    }
}

/// By name and type; what they are called is no part of the type.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Type};

    #[test]
    fn says_whose_they_are() {
        let fields = Fields::new([("path", Type::String), ("bytes", Type::Int)]);
        assert_eq!(fields.describe(), "it has `path`, `bytes`");
        let owned = fields.owned_by("`archive.create`").called("output");
        assert_eq!(owned.describe(), "`archive.create` has `path`, `bytes`");
        let none = Fields::new::<&str>([])
            .owned_by("the playbook")
            .called("parameter");
        assert_eq!(none.describe(), "the playbook has no parameters");
    }
}

//! What the names of an expression are bound to, and what comes out.

use std::sync::Arc;

use crate::expr::reference::Reference;
use crate::expr::types::Type;
use crate::expr::value::Value;

/// What the roots are bound to while an expression is evaluated.
///
/// Asked for each path that is read: answers should be shared, not built. The value of a root may
/// be a [`minijinja::value::Object`] that looks its fields up when they are asked for.
pub trait RootSource {
    /// The value of a root, if there is one of this name.
    fn get(&self, root: &str) -> Option<Value>;

    /// Why what `reference` names is not known yet, if that is so.
    fn unknown(&self, reference: &Reference) -> Option<Unknown> {
        let _ = reference;
        None
    }
}

/// A value that is not known yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    /// What it will be.
    pub ty: Type,
    /// Why it is not known: "known once step `bloat` has run".
    pub why: Arc<str>,
}

impl Unknown {
    /// What is made from it, of type `ty`.
    pub(super) fn of(&self, ty: Type) -> Self {
        let why = self.why.clone();
        Self { ty, why }
    }
}

/// The value of an expression, or what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluated {
    /// This.
    Known(Value),
    /// Not known yet.
    Unknown(Unknown),
}

impl Evaluated {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&Value> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The value, where it is known.
    pub fn into_known(self) -> Option<Value> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The type of what is there, or will be.
    pub fn ty(&self) -> Type {
        match self {
            Self::Known(value) => Type::of(value),
            Self::Unknown(unknown) => unknown.ty.clone(),
        }
    }
}

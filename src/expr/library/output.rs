//! The type of what a filter gives, from the types of what it is given.

use super::{Filter, Gives, Takes};
use crate::expr::tree::Arguments;
use crate::expr::types::Type;

/// The types of the arguments of a filter.
#[derive(Clone, Debug, Default)]
pub(in crate::expr) struct Passed<'a> {
    positional: &'a [Type],
    named: Vec<(&'a str, &'a Type)>,
}

impl<'a> Passed<'a> {
    /// `types` are those of `arguments`, in the order of [`Arguments::iter`].
    pub(in crate::expr) fn new(arguments: &'a Arguments, types: &'a [Type]) -> Self {
        let count = arguments.positional.len().min(types.len());
        let (positional, named) = types.split_at(count);
        let names = arguments.named.iter().map(|(name, _)| &**name);
        Self {
            positional,
            named: names.zip(named).collect(),
        }
    }

    /// What `map` passes on: all but the name of the filter.
    pub(in crate::expr) fn to_inner(&self) -> Self {
        Self {
            positional: self.positional.get(1..).unwrap_or_default(),
            named: self.named.clone(),
        }
    }

    fn get(&self, position: usize, name: &str) -> Option<&Type> {
        let named = self.named.iter().find(|(known, _)| *known == name);
        named
            .map(|(_, ty)| *ty)
            .or_else(|| self.positional.get(position))
    }

    /// Whether any of them is a secret, or has one inside.
    pub(in crate::expr) fn contain_secret(&self) -> bool {
        let named = self.named.iter().map(|(_, ty)| *ty);
        self.positional
            .iter()
            .chain(named)
            .any(Type::contains_secret)
    }
}

/// What `filter` gives for an input of this type.
pub(in crate::expr) fn filtered(filter: &Filter, input: &Type, passed: &Passed<'_>) -> Type {
    let given = input.without_null();
    let secret = input.contains_secret() || passed.contain_secret();
    let or_default = |ty: Type| match passed.get(0, "default") {
        Some(default) => ty.join(default),
        None => ty,
    };
    match filter.gives {
        _ if *given == Type::Secret && filter.gives != Gives::Default => Type::Secret,
        Gives::Any if secret => Type::Secret,
        Gives::Any => Type::Any,
        Gives::Bool => Type::Bool,
        Gives::Int if filter.takes == Takes::Scalar => or_default(Type::Int),
        Gives::Int => Type::Int,
        Gives::Number => or_default(Type::Number),
        Gives::Text if secret => Type::Secret,
        Gives::Text => Type::String,
        Gives::Texts => Type::list(Type::String),
        Gives::Same => match given {
            Type::Map(_) | Type::Object(_) => Type::list(Type::String),
            text if text.is_text() => Type::String,
            other => other.clone(),
        },
        Gives::Item => item_of(given),
        Gives::List => Type::list(item_of(given)),
        Gives::Lists => {
            let item = item_of(given);
            let filler = passed.get(1, "fill_with");
            let item = filler.map_or(item.clone(), |filler| item.join(filler));
            Type::list(Type::list(item))
        }
        Gives::AnyList | Gives::Mapped => Type::list(if secret { Type::Secret } else { Type::Any }),
        Gives::Sum => {
            let sum = match item_of(given) {
                Type::Int => Type::Int,
                _ => Type::Number,
            };
            let start = passed.get(1, "start");
            start.map_or(sum.clone(), |start| sum.join(start))
        }
        Gives::Default => match passed.get(0, "default_value") {
            Some(other) => input.join(other),
            None => input.join(&Type::String),
        },
    }
}

/// The type of the items that iterating over `ty` yields.
pub(in crate::expr) fn item_of(ty: &Type) -> Type {
    match ty.without_null() {
        Type::List(item) => (**item).clone(),
        Type::Map(_) | Type::Object(_) | Type::String | Type::Enum(_) => Type::String,
        Type::Secret => Type::Secret,
        _ => Type::Any,
    }
}

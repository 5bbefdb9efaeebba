//! What is read: paths, fields, items, slices; and what to say where nothing is.

use minijinja::value::ValueKind;

use super::{Evaluated, Evaluator, Result};
use crate::expr::error::{EvalError, EvalErrorKind, Failure};
use crate::expr::reference::Reference;
use crate::expr::tree::{Kind, Node};
use crate::expr::types::{Type, quoted};
use crate::expr::value::{Value, describe};

impl Evaluator<'_> {
    /// The value of the reference of this index; undefined where its last field is not there.
    pub(super) fn path(&mut self, index: usize) -> Result<Evaluated> {
        let expr = self.expr;
        let Some(reference) = expr.references().get(index) else {
            return Ok(Evaluated::Known(Value::UNDEFINED));
        };
        if let Some(unknown) = self.roots.unknown(reference) {
            return Ok(Evaluated::Unknown(unknown));
        }
        let Some(mut value) = self.roots.get(reference.root()) else {
            let message = format!("there is no `{}` here", reference.root());
            return Err(Failure::new(EvalErrorKind::Undefined, message).at(reference.span));
        };
        for (at, name) in reference.fields().iter().enumerate() {
            value = field_of(&value, name).map_err(|failure| {
                let message = format!("`{}` {}", reference.text(at + 1), failure.message);
                Failure { message, ..failure }.at(reference.span)
            })?;
        }
        Ok(Evaluated::Known(value))
    }

    pub(super) fn attribute(&mut self, base: &Node, name: &str, node: &Node) -> Result<Evaluated> {
        match self.defined(base)? {
            Evaluated::Known(value) => {
                let field = field_of(&value, name).map_err(|failure| {
                    let written = super::shortened(self.expr.text(base.range()));
                    let message = format!("`{written}` {}", failure.message);
                    Failure { message, ..failure }.at(self.expr.place(node.range()))
                })?;
                Ok(Evaluated::Known(field))
            }
            Evaluated::Unknown(unknown) => {
                let ty = match unknown.ty.without_null() {
                    Type::Map(value) => (**value).clone(),
                    Type::Object(fields) => fields.get(name).cloned().unwrap_or(Type::Any),
                    _ => Type::Any,
                };
                Ok(Evaluated::Unknown(unknown.of(ty)))
            }
        }
    }

    pub(super) fn item(&mut self, base: &Node, key: &Node, node: &Node) -> Result<Evaluated> {
        let (base, key) = (self.defined(base)?, self.defined(key)?);
        match (&base, &key) {
            (Evaluated::Known(base), Evaluated::Known(key)) => item_of(base, key)
                .map(Evaluated::Known)
                .map_err(|failure| self.fail(failure, node)),
            (Evaluated::Unknown(unknown), _) => {
                let ty = match unknown.ty.without_null() {
                    Type::List(item) | Type::Map(item) => (**item).clone(),
                    text if text.is_text() => Type::String,
                    other if other.contains_secret() => Type::Secret,
                    _ => Type::Any,
                };
                Ok(Evaluated::Unknown(unknown.of(ty)))
            }
            (_, Evaluated::Unknown(unknown)) => Ok(Evaluated::Unknown(unknown.of(Type::Any))),
        }
    }

    pub(super) fn slice(
        &mut self,
        base: &Node,
        bounds: &[Option<Node>; 3],
        node: &Node,
    ) -> Result<Evaluated> {
        let base = self.defined(base)?;
        let mut numbers = [None; 3];
        let mut unknown = None;
        for (bound, number) in bounds.iter().zip(&mut numbers) {
            let Some(bound) = bound else { continue };
            match self.whole_number(bound, "a slice")? {
                Ok(whole) => *number = Some(whole),
                Err(part) => unknown = unknown.or(Some(part)),
            }
        }
        let unknown = match (&base, unknown) {
            (Evaluated::Known(value), None) => {
                return slice_of(value, numbers)
                    .map(Evaluated::Known)
                    .map_err(|failure| self.fail(failure, node));
            }
            (Evaluated::Unknown(unknown), _) => unknown.clone(),
            (_, Some(unknown)) => unknown,
        };
        let ty = match base.ty().without_null() {
            text if text.is_text() => Type::String,
            list @ (Type::List(_) | Type::Secret) => list.clone(),
            _ => Type::Any,
        };
        Ok(Evaluated::Unknown(unknown.of(ty)))
    }

    /// The whole number that `node` is, or that it is not known.
    pub(super) fn whole_number(
        &mut self,
        node: &Node,
        what: &str,
    ) -> Result<std::result::Result<i64, super::Unknown>> {
        match self.defined(node)? {
            Evaluated::Unknown(unknown) => Ok(Err(unknown)),
            Evaluated::Known(value) if value.is_integer() && value.as_i64().is_some() => {
                Ok(Ok(value.as_i64().unwrap_or_default()))
            }
            Evaluated::Known(value) => {
                let message = format!("{what} takes whole numbers, not {}", describe(&value));
                Err(self.fail(Failure::new(EvalErrorKind::Type, message), node))
            }
        }
    }

    /// What to say of a node whose value is not there.
    pub(super) fn undefined(&self, node: &Node) -> EvalError {
        let written = super::shortened(self.expr.text(node.range()));
        let message = match &node.kind {
            Kind::Item(_) => {
                format!("`{written}` is not there: the list or mapping has no such item")
            }
            Kind::Filter(filter, ..) if matches!(filter.name, "first" | "last" | "min" | "max") => {
                format!("`{written}` is not there: nothing is in it")
            }
            _ => format!("`{written}` is not defined"),
        };
        let failure = Failure::new(EvalErrorKind::Undefined, message);
        let failure = match self.siblings(node) {
            Some(known) => failure.help(known),
            None => failure.help(format!("`{written}|default(…)` says what it is then")),
        };
        failure.at(self.expr.place(node.range()))
    }

    /// What is there instead of a field that is not.
    fn siblings(&self, node: &Node) -> Option<String> {
        let Kind::Path(index) = &node.kind else {
            return None;
        };
        let reference: &Reference = self.expr.references().get(*index)?;
        let (_, parents) = reference.fields().split_last()?;
        let mut value = self.roots.get(reference.root())?;
        for name in parents {
            value = value.get_attr(name).ok()?;
        }
        let names: Vec<String> = value
            .try_iter()
            .ok()?
            .take(100)
            .map(|key| key.to_string())
            .collect();
        // What looks its fields up when they are asked for may not know their names.
        if names.is_empty() {
            return None;
        }
        let within = reference.text(reference.path.len() - 1);
        let names = quoted(names.iter().map(String::as_str));
        Some(format!("`{within}` has {names}"))
    }
}

/// A field of a map; undefined where there is none. The message goes on after the map's name.
fn field_of(value: &Value, name: &str) -> Result<Value, Failure> {
    match value.kind() {
        ValueKind::Map | ValueKind::Plain => Ok(value.get_attr(name)?),
        ValueKind::Undefined => Err(Failure::new(
            EvalErrorKind::Undefined,
            format!("is not defined, so it has no `{name}`"),
        )),
        ValueKind::None => Err(Failure::new(
            EvalErrorKind::Null,
            format!("is null, so it has no `{name}`"),
        )),
        ValueKind::Seq | ValueKind::Iterable => {
            // What `groupby` yields is a pair whose parts have names too.
            let field = value.get_attr(name)?;
            if !field.is_undefined() {
                return Ok(settled(field)?);
            }
            Err(Failure::new(
                EvalErrorKind::Type,
                format!("is a list, so it has no `{name}`"),
            )
            .help(format!(
                "`…|map(attribute='{name}')` is that of all its items"
            )))
        }
        _ => Err(Failure::new(
            EvalErrorKind::Type,
            format!("is {}, so it has no `{name}`", describe(value)),
        )),
    }
}

fn item_of(value: &Value, key: &Value) -> Result<Value, Failure> {
    let whole = key.is_integer();
    match value.kind() {
        ValueKind::Map if key.as_str().is_some() => Ok(value.get_item(key)?),
        ValueKind::Seq | ValueKind::Iterable if whole => Ok(settled(value.get_item(key)?)?),
        ValueKind::String if whole => {
            let text = value.as_str().unwrap_or_default();
            let index = key.as_i64().unwrap_or(i64::MAX);
            let index = if index < 0 {
                (text.chars().count() as i64).saturating_add(index)
            } else {
                index
            };
            let found = usize::try_from(index)
                .ok()
                .and_then(|index| text.chars().nth(index));
            Ok(found.map_or(Value::UNDEFINED, Value::from))
        }
        _ => Err(Failure::new(
            EvalErrorKind::Type,
            format!("{} has no item for {}", describe(value), describe(key)),
        )),
    }
}

/// Python's slices: negative bounds count from the end, a negative step goes backwards.
fn slice_of(value: &Value, [start, stop, step]: [Option<i64>; 3]) -> Result<Value, Failure> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Failure::new(
            EvalErrorKind::Value,
            "a slice with a step of 0",
        ));
    }
    let pick = |length: usize| -> Vec<usize> {
        let length = length as i64;
        let (least, most) = if step > 0 {
            (0, length)
        } else {
            (-1, length - 1)
        };
        let bound = |bound: Option<i64>, otherwise: i64| match bound {
            None => otherwise,
            Some(bound) if bound < 0 => bound.saturating_add(length).max(least),
            Some(bound) => bound.min(most),
        };
        let (from, to) = if step > 0 {
            (0, length)
        } else {
            (length - 1, -1)
        };
        let (mut at, stop) = (bound(start, from), bound(stop, to));
        let mut indices = Vec::new();
        while if step > 0 { at < stop } else { at > stop } {
            indices.push(at as usize);
            at = at.saturating_add(step);
        }
        indices
    };
    match value.kind() {
        ValueKind::String => {
            let chars: Vec<char> = value.as_str().unwrap_or_default().chars().collect();
            let picked: String = pick(chars.len()).into_iter().map(|at| chars[at]).collect();
            Ok(Value::from(picked))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            let picked = pick(items.len()).into_iter().map(|at| items[at].clone());
            Ok(Value::from(picked.collect::<Vec<Value>>()))
        }
        _ => Err(Failure::new(
            EvalErrorKind::Type,
            format!("a slice is of a list or a text, not of {}", describe(value)),
        )),
    }
}

/// A list that is there, where minijinja has one that yields its items when asked.
pub(super) fn settled(value: Value) -> Result<Value, minijinja::Error> {
    if value.kind() != ValueKind::Iterable {
        return Ok(value);
    }
    let items: Result<Vec<Value>, _> = value.try_iter()?.checked().collect();
    items.map(Value::from)
}

//! What the room does as a whole: tables of expressions with their types, values and messages.

mod check;
mod evaluate;
mod messages;

mod random;

use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr};
use serde_json::json;

use super::{Expr, Fields, Reference, RootSource, Type, TypeScope, Unknown, Value, from_json};
use crate::base::{SourceId, Span};

/// An expression that is a text of its own.
fn expr(source: &str) -> Expr {
    Expr::parse(source, Span::new(SourceId(0), 0, source.len())).unwrap()
}

/// The names of a small playbook.
struct Names {
    steps: Type,
    params: Type,
}

impl Names {
    fn new() -> Self {
        let index = Fields::new([
            ("name", Type::String),
            ("bloat_percent", Type::Number),
            ("bytes", Type::Int),
            ("tablespace", Type::nullable(Type::String)),
        ]);
        let outputs = Fields::new([
            ("indexes", Type::list(Type::object(index))),
            ("rows", Type::Int),
            ("path", Type::String),
            ("body", Type::Any),
            ("sizes", Type::map(Type::Int)),
            ("owner", Type::nullable(Type::String)),
        ])
        .called("output")
        .owned_by("`postgres.index_bloat`");
        let status = Type::one_of(["succeeded", "failed", "skipped", "cancelled", "timed_out"]);
        let step = Fields::new([
            ("status", status),
            ("changed", Type::Bool),
            ("outputs", Type::object(outputs)),
        ]);
        Self {
            steps: Type::object(
                Fields::new([("bloat", Type::object(step))])
                    .called("step")
                    .owned_by("the playbook"),
            ),
            params: Type::object(
                Fields::new([
                    ("days", Type::Int),
                    ("ratio", Type::Number),
                    ("force", Type::Bool),
                    ("name", Type::String),
                    ("tables", Type::list(Type::String)),
                ])
                .called("parameter")
                .owned_by("the playbook"),
            ),
        }
    }
}

impl TypeScope for Names {
    fn root(&self, name: &str) -> Option<Type> {
        match name {
            "steps" => Some(self.steps.clone()),
            "params" => Some(self.params.clone()),
            "secrets" => Some(Type::object(
                Fields::new([("token", Type::Secret), ("password", Type::Secret)]).called("secret"),
            )),
            "any" => Some(Type::Any),
            _ => None,
        }
    }

    fn roots(&self) -> Vec<String> {
        ["params", "secrets", "steps", "any"]
            .map(str::to_owned)
            .into()
    }
}

/// The values of the same playbook; its steps are looked up when they are asked for.
struct Values {
    steps: Value,
    params: Value,
}

/// Steps that are not there until they are named.
#[derive(Debug)]
struct Steps;

#[derive(Debug)]
struct Step(String);

impl Object for Steps {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let id = key.as_str()?;
        (id != "missing").then(|| Value::from_object(Step(id.to_owned())))
    }
}

impl Object for Step {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "status" => Some(Value::from("succeeded")),
            "changed" => Some(Value::from(true)),
            "outputs" => Some(from_json(json!({
                "id": self.0,
                "rows": 3,
                "indexes": [
                    {"name": "a_idx", "bloat_percent": 42.5, "bytes": 100},
                    {"name": "b_idx", "bloat_percent": 7.0, "bytes": 300},
                ],
                "mixed": [1, "a"],
                "owner": null,
                "size": "5",
                "sizes": {"x": 1, "y": 2},
            }))),
            _ => None,
        }
    }
}

impl Values {
    fn new() -> Self {
        Self {
            steps: Value::from_object(Steps),
            params: from_json(json!({
                "days": 30, "ratio": 0.5, "force": false, "name": "nightly",
                "tables": ["b", "a", "c"],
            })),
        }
    }
}

impl RootSource for Values {
    fn get(&self, root: &str) -> Option<Value> {
        match root {
            "steps" => Some(self.steps.clone()),
            "params" => Some(self.params.clone()),
            _ => None,
        }
    }

    fn unknown(&self, reference: &Reference) -> Option<Unknown> {
        let ty = match &*reference.path {
            [root, id, rest @ ..] if &**root == "steps" && &**id == "later" => {
                match rest.last().map(|name| &**name) {
                    Some("changed") => Type::Bool,
                    Some("rows") => Type::Int,
                    Some("indexes") => Type::list(Type::String),
                    Some("path") => Type::String,
                    Some("secret") => Type::Secret,
                    _ => Type::Any,
                }
            }
            _ => return None,
        };
        let why = "known once step `later` has run".into();
        Some(Unknown { ty, why })
    }
}

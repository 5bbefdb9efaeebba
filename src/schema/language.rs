//! The JSON Schemas of a playbook and of a project file.
//!
//! They are for editors, which complete and check with them; what runs is checked by the compiler,
//! whose diagnostics say more. A test compares the keys here with those that the decoder knows.

use serde_json::{Map, Value, json};

use crate::event::{EffectClass, RepeatClass};
use crate::host::connect;
use crate::model::{FailOn, ParamType, REPORT_FORMATS};
use crate::step::{AnyStep, Registry};

pub(super) const NAME: &str = "^[a-z][a-z0-9_]{0,39}$";
pub(super) const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of playbooks.
pub(super) fn playbook(registry: &Registry) -> Value {
    let steps = |about: &str| json!({ "type": "array", "description": about, "items": { "$ref": "#/$defs/step" } });
    let mut properties = json!({
        "runbook": { "const": "v1", "description": "Marks a playbook, and the version of its language" },
        "name": { "type": "string", "pattern": "^[\\p{L}\\p{N}][\\p{L}\\p{N}._-]{0,99}$", "description": "The playbook's name: letters, digits, `-`, `_` and `.`" },
        "description": { "type": "string", "description": "What it is for" },
        "labels": { "type": "object", "description": "What it is sorted by", "additionalProperties": scalar() },
        "order": { "enum": ["sequential", "parallel"], "default": "sequential", "description": "What a step without `needs` waits for: every step above it, or nothing" },
        "params": { "type": "object", "description": "Parameters", "propertyNames": { "pattern": NAME }, "additionalProperties": { "$ref": "#/$defs/param" } },
    });
    let more = json!({
        "timeout": duration("How long a run may take"),
        "lock": lock(&[]),
        "finally": steps("Steps that run after the others in any case, each even if the one before failed"),
        "reports": {
            "type": "array", "description": "What is written when the run is over",
            "items": object(json!({
                "format": { "enum": words(REPORT_FORMATS), "description": "Its format" },
                "path": { "type": "string", "description": "Where it goes, relative to the playbook's folder" },
            }), &["format", "path"]),
        },
    });
    extend(&mut properties, shared());
    extend(&mut properties, more);
    let mut main = steps("The steps, from top to bottom");
    main["minItems"] = json!(1);
    properties["steps"] = main;
    let mut schema = object(properties, &["runbook", "name", "steps"]);
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!("A runbook playbook");
    schema["$defs"] = json!({
        "step": step(registry),
        "param": param(),
        "lock": lock(&["key"]),
        "types": Value::Object(registry.iter().map(|ty| (ty.name().to_owned(), config(ty))).collect()),
    });
    schema
}

/// The schema of project files.
pub(super) fn project() -> Value {
    let mut properties = json!({
        "runbook-project": { "const": "v1", "description": "Marks a project file, and the version of its language" },
        "name": { "type": "string", "description": "The project's name" },
        "description": { "type": "string", "description": "What it is for" },
    });
    extend(&mut properties, shared());
    let mut schema = object(properties, &["runbook-project"]);
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!("A runbook project file");
    schema
}

/// What playbooks and project files have in common.
fn shared() -> Value {
    let kinds = connect::KINDS.iter().map(|kind| {
        let of_kind = Map::from_iter([(kind.name().to_owned(), expressions(kind.schema()))]);
        object(Value::Object(of_kind), &[kind.name()])
    });
    json!({
        "secrets": {
            "type": "object", "description": "Secrets, by name", "propertyNames": { "pattern": NAME },
            "additionalProperties": { "oneOf": [
                object(json!({ "env": { "type": "string", "description": "An environment variable" } }), &["env"]),
                object(json!({ "file": { "type": "string", "description": "A file, relative to the playbook's folder" } }), &["file"]),
                object(json!({ "command": { "type": "array", "minItems": 1, "items": { "type": "string" }, "description": "A command that prints it" } }), &["command"]),
            ] },
        },
        "connections": {
            "type": "object", "description": "Connections, by name", "propertyNames": { "pattern": NAME },
            "additionalProperties": { "oneOf": kinds.collect::<Vec<_>>() },
        },
        "vars": { "type": "object", "description": "Variables: values that several steps use", "propertyNames": { "pattern": NAME } },
        "defaults": object(json!({
            "timeout": duration("How long a step may take that does not say otherwise"),
            "fail_on": { "enum": words(FailOn::WORDS), "description": "The finding that fails a step that does not say otherwise" },
        }), &[]),
    })
}

/// A step: the keys that steer it, and exactly one type.
fn step(registry: &Registry) -> Value {
    let mut properties = steering();
    for ty in registry.iter() {
        properties[ty.name()] = json!({ "$ref": format!("#/$defs/types/{}", ty.name()) });
    }
    let mut schema = object(properties, &["id"]);
    let one: Vec<Value> = registry
        .names()
        .map(|name| json!({ "required": [name] }))
        .collect();
    schema["oneOf"] = json!(one);
    schema
}

/// The keys of a step that have no dot.
fn steering() -> Value {
    let typed = |about: &str| json!({ "type": "object", "description": about });
    json!({
        "id": { "type": "string", "pattern": NAME, "description": "The step's id, unique in the playbook" },
        "name": { "type": "string", "description": "What people call it" },
        "needs": { "type": "array", "items": { "type": "string" }, "description": "The steps that it waits for: just these, or none with `[]`; all above it where it is left out" },
        "when": condition("It runs only if this is true"),
        "foreach": object(json!({
            "in": { "type": ["string", "array"], "description": "The list: an expression, or as it stands" },
            "as": { "type": "string", "pattern": NAME, "default": "item", "description": "What the item is called in expressions" },
            "max_parallel": { "type": "integer", "minimum": 1, "maximum": 10000, "default": 1, "description": "How many items run side by side" },
        }), &["in"]),
        "retry": object(json!({
            "attempts": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 3, "description": "How many attempts there are in all" },
            "delay": duration("The wait before the second attempt; 1s by default"),
            "backoff": { "type": "number", "minimum": 1, "default": 2, "description": "What the wait is multiplied by after each attempt" },
            "max_delay": duration("The longest wait; 30s by default"),
            "jitter": { "enum": ["full", "none"], "default": "full", "description": "Whether the wait is a random part of what it would be" },
            "on": { "type": "array", "items": { "type": "integer" }, "description": "The exit statuses that are tried again (`exec.*`); all by default" },
            "until": condition("It is tried again until this is true; reads the step's own `outputs`"),
            "attempt_timeout": duration("How long one attempt may take"),
        }), &[]),
        "timeout": duration("How long it may take with all its attempts"),
        "on_error": { "enum": ["stop", "continue"], "default": "stop", "description": "What its failure means for the run" },
        "fail_on": { "enum": words(FailOn::WORDS), "default": "unknown", "description": "The finding that fails it: this one or worse" },
        "approval": object(json!({
            "kind": { "enum": ["confirm", "approve"], "default": "confirm", "description": "Whether whoever runs it says yes, or somebody named" },
            "message": { "type": "string", "description": "What they are asked" },
            "when": condition("They are asked only if this is true. Where it is false, `kind: confirm` asks nothing; of `kind: approve`, a step that destroys still asks for the confirmation of whoever runs it (`--yes`, a yes at the terminal, or a saved plan)"),
            "from": { "type": "array", "items": { "type": "string" }, "description": "Who may: names or groups" },
            "count": { "type": "integer", "minimum": 1, "maximum": 100, "default": 1, "description": "How many must" },
            "timeout": duration("How long the run waits for them"),
            "on_timeout": { "enum": ["deny", "skip"], "default": "deny", "description": "What happens then" },
            "separate": { "type": "boolean", "default": false, "description": "Whether who started the run may not be one of them" },
        }), &[]),
        "effect": { "enum": EffectClass::ALL.iter().map(|e| e.as_str()).collect::<Vec<_>>(), "description": "What it does to the world; may be tightened, and loosened on generic types" },
        "repeat": { "enum": RepeatClass::ALL.iter().map(|r| r.as_str()).collect::<Vec<_>>(), "description": "What may be done after a crash in its middle" },
        "verify": typed("How to find out whether it happened: a step type, and `expect`"),
        "undo": typed("How to take it back: a step type"),
        "lock": { "$ref": "#/$defs/lock" },
    })
}

fn param() -> Value {
    object(
        json!({
            "type": { "enum": words(ParamType::WORDS), "description": "Its type" },
            "default": { "description": "Its value where none is given" },
            "description": { "type": "string", "description": "What it is for" },
            "from_env": { "type": "string", "description": "The environment variable that gives its value" },
            "enum": { "type": "array", "description": "The values that it takes" },
            "minimum": { "type": "number", "description": "The smallest value" },
            "maximum": { "type": "number", "description": "The largest value" },
            "pattern": { "type": "string", "description": "A regular expression that it matches" },
            "min_length": { "type": "integer", "minimum": 0, "description": "The fewest characters" },
            "max_length": { "type": "integer", "minimum": 0, "description": "The most characters" },
            "min_items": { "type": "integer", "minimum": 0, "description": "The fewest items" },
            "max_items": { "type": "integer", "minimum": 0, "description": "The most items" },
            "items": { "type": "object", "description": "What each item is: `{ type: integer }`" },
        }),
        &["type"],
    )
}

/// `required` are the keys that must be there: a playbook's own lock is called like the playbook.
fn lock(required: &[&str]) -> Value {
    object(
        json!({
            "key": { "type": "string", "description": "Its name" },
            "connection": { "type": "string", "description": "A `postgres` connection where it is taken too, as an advisory lock: so it holds for every machine that names this database" },
            "on_conflict": { "enum": ["fail", "wait"], "default": "fail", "description": "What happens where another run holds it" },
        }),
        required,
    )
}

/// The configuration of a step type, with its page as the description.
fn config(ty: &dyn AnyStep) -> Value {
    expressions(ty.config_schema())
}

/// Lets an expression stand wherever a value that is no text is wanted: `timeout: ${{ … }}`.
fn expressions(schema: Value) -> Value {
    match schema {
        Value::Object(map) if is_typed(&map) => {
            let inner = descend(map);
            let description = inner.get("description").cloned();
            let mut outer =
                json!({ "anyOf": [inner, { "type": "string", "pattern": "\\$\\{\\{" }] });
            if let Some(description) = description {
                outer["description"] = description;
            }
            outer
        }
        Value::Object(map) => Value::Object(descend(map)),
        other => other,
    }
}

/// Whether a schema wants something that a text is not, so that an expression must be let in.
fn is_typed(map: &Map<String, Value>) -> bool {
    let has_string = |ty: &Value| match ty {
        Value::String(name) => name == "string" || name == "object",
        Value::Array(names) => names.iter().any(|name| name == "string"),
        _ => false,
    };
    match map.get("type") {
        Some(ty) if has_string(ty) => map.contains_key("enum") || map.contains_key("pattern"),
        Some(_) => true,
        None => map.contains_key("oneOf") || map.contains_key("enum"),
    }
}

fn descend(map: Map<String, Value>) -> Map<String, Value> {
    let step = |(key, value): (String, Value)| {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(fields)) => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, field)| (name, expressions(field)))
                    .collect(),
            ),
            ("items" | "additionalProperties", value) => expressions(value),
            ("anyOf", Value::Array(variants)) => {
                let inside = |variant| match variant {
                    Value::Object(map) => Value::Object(descend(map)),
                    other => other,
                };
                Value::Array(variants.into_iter().map(inside).collect())
            }
            (_, value) => value,
        };
        (key, value)
    };
    map.into_iter().map(step).collect()
}

pub(super) fn object(properties: Value, required: &[&str]) -> Value {
    let mut schema =
        json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

pub(super) fn duration(about: &str) -> Value {
    json!({ "type": "string", "description": about, "examples": ["90s", "5m", "2h30m"] })
}

fn condition(about: &str) -> Value {
    json!({ "type": ["string", "boolean"], "description": format!("{about}. An expression, bare or in `${{{{ }}}}`") })
}

fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

pub(super) fn words<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

pub(super) fn extend(properties: &mut Value, more: Value) {
    if let (Value::Object(own), Value::Object(more)) = (properties, more) {
        own.extend(more);
    }
}

//! The reference of the language: every key of a playbook, out of its JSON Schema.

use std::fmt::Write as _;

use serde_json::Value;

use crate::expr::library_names;

/// What stands above the tables.
const HEAD: &str = "\
# The language

A playbook is one YAML 1.2 document. `runbook validate` says what is wrong with one, with file, line and
cure; [`examples/`](../../examples) teaches one thing each, [steps.md](steps.md) has the step types.
Unknown keys are errors. Durations are `90s`, `5m`, `2h30m`, `500ms`; sizes `10MB`, `1GiB`; what looks
like a number where a text is wanted (`0755`, `1.20`, `no`) is that text.

## Expressions

`${{ … }}` in a text is an [expression](https://docs.rs/minijinja/latest/minijinja/syntax/index.html); a
text that is one expression and nothing else keeps its type. `when`, `foreach.in`, `approval.when`,
`verify.expect`, `retry.until` and `flow.assert.that` are expressions as they stand. Scripts and SQL are
never templates: values reach them by `env:` or as parameters. Types are checked before the run, and
undefined is an error.

| root | what it holds |
|---|---|
| `params.<name>` | parameters |
| `vars.<name>` | variables |
| `secrets.<name>` | secrets: they flow into `env:` and into fields that are declared to take one, and nowhere else |
| `steps.<id>.status` | `succeeded`, `failed`, `skipped`, `cancelled`, `timed_out`, `unknown` |
| `steps.<id>.changed` | whether it changed something |
| `steps.<id>.outputs` | its outputs: see its type; of a `foreach` step, a list with null for what was skipped |
| `steps.<id>.findings` | a list of `level`, `subject`, `message`, `help` |
| `steps.<id>.preview` | what it would do, in its own `approval` |
| `run.id`, `run.playbook`, `run.status`, `run.started_at` | the run; `run.status` once the main steps are over |
| `<as>`, `loop.index`, `loop.index0` | in a `foreach` step: the item, its number from 1, and from 0 |
| `probe.status`, `probe.outputs`, `probe.findings` | in `verify.expect`: what its own type found |
";

/// The page.
pub(super) fn page(generated: &str, schema: &Value) -> String {
    let mut text = format!("{generated}\n{HEAD}\n");
    let (filters, tests) = library_names();
    let code = |names: Vec<&str>| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let _ = writeln!(text, "Filters: {}, and `range(…)`.\n", code(filters));
    let _ = writeln!(text, "Tests: {}.\n", code(tests));
    section(
        &mut text,
        schema,
        "A playbook",
        &schema["properties"],
        schema,
    );
    let step = &schema["$defs"]["step"];
    let _ = writeln!(
        text,
        "## A step\n\nA mapping with exactly one key that has a dot, its type, and keys that steer it:\n"
    );
    table(&mut text, schema, &step["properties"], step);
    let _ = writeln!(text, "## A parameter (`params.<name>`)\n");
    let param = &schema["$defs"]["param"];
    table(&mut text, schema, &param["properties"], param);
    for (title, place) in [
        ("A secret (`secrets.<name>`): one of", "secrets"),
        ("A connection (`connections.<name>`): one of", "connections"),
    ] {
        let _ = writeln!(text, "## {title}\n");
        let kinds = &schema["properties"][place]["additionalProperties"]["oneOf"];
        for kind in kinds.as_array().into_iter().flatten() {
            table(&mut text, schema, &kind["properties"], kind);
        }
    }
    text
}

fn section(text: &mut String, schema: &Value, title: &str, properties: &Value, of: &Value) {
    let _ = writeln!(text, "## {title}\n");
    table(text, schema, properties, of);
}

/// The table of an object's keys, and those of the objects in it.
pub(super) fn table(text: &mut String, schema: &Value, properties: &Value, of: &Value) {
    let Some(properties) = properties.as_object() else {
        return;
    };
    let required: Vec<&str> = { of["required"].as_array().into_iter().flatten() }
        .filter_map(Value::as_str)
        .collect();
    text.push_str("| key | takes | default | what it is |\n|---|---|---|---|\n");
    let mut inner = Vec::new();
    for (key, property) in properties {
        // Step types have pages of their own.
        if key.contains('.') {
            continue;
        }
        let property = resolved(schema, property);
        let default = match &property["default"] {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(word) => format!("`{word}`"),
            value => format!("`{value}`"),
        };
        let about = property["description"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{key}` | {} | {default} | {} |",
            takes(property),
            about.replace('|', "\\|").replace('\n', " ")
        );
        if property["properties"].is_object() {
            inner.push((key, property));
        } else if property["items"]["properties"].is_object() {
            inner.push((key, &property["items"]));
        }
    }
    text.push('\n');
    for (key, property) in inner {
        let _ = writeln!(text, "### `{key}`\n");
        table(text, schema, &property["properties"], property);
    }
}

fn resolved<'a>(schema: &'a Value, property: &'a Value) -> &'a Value {
    let reference = property["$ref"].as_str();
    let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
    pointer
        .and_then(|pointer| schema.pointer(pointer))
        .unwrap_or(property)
}

fn takes(property: &Value) -> String {
    if let Some(words) = property["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .filter_map(|word| Some(format!("`{}`", word.as_str()?)))
            .collect();
        return words.join(", ");
    }
    if let Some(word) = property["const"].as_str() {
        return format!("`{word}`");
    }
    let kind = match &property["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" or ").replace(" or null", "")
        }
        _ => return "anything".to_owned(),
    };
    let is_duration = property["examples"][0] == "90s";
    match kind.as_str() {
        "string" if is_duration => "duration".to_owned(),
        "object" => "mapping".to_owned(),
        "array" => "list".to_owned(),
        _ => kind,
    }
}

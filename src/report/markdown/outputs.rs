//! What a step put out, as Markdown: lists of objects as tables, texts as blocks, the rest as a table
//! of names and values. It knows the shape of outputs, never a step type.

use serde_json::{Map, Value};

use super::table::{Align, Table};
use super::text::{code, fenced, head, inline};
use crate::report::amount;

/// Rows of one list that a record has room for.
const MAX_ROWS: usize = 50;

/// Entries of one mapping that is worth reading in whole: what has more is there to be looked up in.
const MAX_ENTRIES: usize = 40;

/// Columns of one list that a page has room for.
const MAX_COLUMNS: usize = 8;

/// Lines of one text that a record has room for, and their bytes.
const MAX_LINES: usize = 40;
const MAX_BYTES: usize = 4000;

/// The longest value in a cell, in characters.
const MAX_CELL: usize = 120;

/// Appends the outputs. `whole` is the command that shows all of them.
pub(super) fn write(out: &mut String, outputs: &Value, whole: &str) {
    match outputs {
        Value::Object(map) => {
            let mut scalars = Table::new(&["Output", "Value"]);
            for (key, value) in map {
                if let Some(text) = short(key, value) {
                    scalars.row([code(key), text]);
                }
                for (inner, value) in group(value).into_iter().flatten() {
                    if let Some(text) = short(inner, value) {
                        scalars.row([code(&format!("{key}.{inner}")), text]);
                    }
                }
            }
            scalars.write(out);
            for (key, value) in map {
                match group(value) {
                    Some(group) => {
                        for (inner, value) in group {
                            long(out, &format!("{key}.{inner}"), value, whole);
                        }
                    }
                    None => long(out, key, value, whole),
                }
            }
        }
        Value::Array(_) => long(out, "outputs", outputs, whole),
        _ => {
            if let Some(text) = short("output", outputs) {
                out.push_str(&format!("Output: {text}\n\n"));
            }
        }
    }
}

/// A mapping that only holds values together, each of which fits in a cell or is a table: its values stand
/// beside the others, as expressions name them.
fn group(value: &Value) -> Option<&Map<String, Value>> {
    let fits = |(key, value): (&String, &Value)| match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(Value::is_object),
        value => short(key, value).is_some(),
    };
    value.as_object().filter(|map| map.iter().all(fits))
}

/// A value that fits in a cell; `None` where it does not, or says nothing.
fn short(key: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(_) => amount::measure(key, value),
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => {
            let fits = !text.contains('\n') && text.chars().nth(MAX_CELL).is_none();
            fits.then(|| inline(text))
        }
        Value::Array(items) if items.iter().all(is_scalar) && !items.is_empty() => {
            let text: Vec<String> = items.iter().map(plain).collect();
            let text = text.join(", ");
            (text.chars().nth(MAX_CELL).is_none()).then(|| inline(&text))
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A value that needs lines of its own.
fn long(out: &mut String, key: &str, value: &Value, whole: &str) {
    if short(key, value).is_some() {
        return;
    }
    match value {
        Value::String(text) if !text.is_empty() => {
            out.push_str(&format!("{}:\n\n", code(key)));
            block(out, text, whole);
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            out.push_str(&format!("{}:\n\n", code(key)));
            list(out, items, whole);
        }
        Value::Array(items) if !items.is_empty() => {
            let lines: Vec<String> = items.iter().map(plain).collect();
            out.push_str(&format!("{}:\n\n", code(key)));
            block(out, &lines.join("\n"), whole);
        }
        Value::Object(map) if map.len() > MAX_ENTRIES => {
            out.push_str(&format!(
                "{}: {} entries: {}\n\n",
                code(key),
                amount::count(map.len()),
                code(whole)
            ));
        }
        Value::Object(map) if !map.is_empty() => {
            out.push_str(&format!("{}:\n\n", code(key)));
            let text = serde_json::to_string_pretty(map).unwrap_or_default();
            block(out, &text, whole);
        }
        _ => {}
    }
}

/// Appends a text as a block, cut with a note of where the whole is.
pub(super) fn block(out: &mut String, text: &str, whole: &str) {
    let (shown, missing) = head(text, MAX_LINES, MAX_BYTES);
    out.push_str(&fenced(&shown));
    if missing > 0 {
        out.push_str(&format!(
            "… {}: {}\n",
            amount::plural(missing, "more line"),
            code(whole)
        ));
    }
    out.push('\n');
}

/// A list of objects as a table, its columns in the order in which they first come.
fn list(out: &mut String, items: &[Value], whole: &str) {
    let mut keys: Vec<&str> = Vec::new();
    let shown = &items[..items.len().min(MAX_ROWS)];
    for key in shown
        .iter()
        .filter_map(Value::as_object)
        .flat_map(Map::keys)
    {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    keys.retain(|key| {
        shown
            .iter()
            .any(|item| item.get(*key).is_some_and(|v| !v.is_null()))
    });
    let more_columns = keys.len().saturating_sub(MAX_COLUMNS);
    keys.truncate(MAX_COLUMNS);
    let columns = keys.iter().map(|key| {
        let mut values = shown.iter().filter_map(|item| item.get(*key));
        let numbers = values.all(|value| value.is_number() || value.is_null());
        let label = match amount::label(key) {
            "" => "bytes",
            label => label,
        };
        let align = if numbers { Align::Right } else { Align::Left };
        (inline(label), align)
    });
    let mut table = Table::aligned(columns.collect());
    for item in shown {
        match item {
            Value::Object(map) => table.row(keys.iter().map(|key| field(key, map.get(*key)))),
            other => table.row([field("", Some(other))]),
        }
    }
    table.write(out);
    let more = items.len() - shown.len();
    let mut missing = Vec::new();
    if more > 0 {
        missing.push(amount::plural(more, "more row"));
    }
    if more_columns > 0 {
        missing.push(amount::plural(more_columns, "more column"));
    }
    if !missing.is_empty() {
        out.push_str(&format!("… {}: {}\n\n", missing.join(" and "), code(whole)));
    }
}

fn field(key: &str, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(value) => short(key, value).unwrap_or_else(|| {
            let text = plain(value);
            let cut: String = text.chars().take(MAX_CELL).collect();
            let dots = if cut.len() < text.len() { "…" } else { "" };
            format!("{}{dots}", inline(&cut))
        }),
    }
}

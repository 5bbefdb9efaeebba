//! What a step put out, in a few words: the short result beside its name.
//!
//! It knows the shape of outputs, never a step type.

use std::borrow::Cow;

use serde_json::Value;

use super::{amount, clean};

/// The widest text that is told, in characters; digests and whole outputs are not "in a few words".
const MAX_TEXT: usize = 48;

/// How many outputs are told.
const MAX_PARTS: usize = 3;

/// The outputs that a line has room for: numbers, short texts, lengths of lists. Empty where there is
/// nothing to tell.
pub fn brief(outputs: &Value) -> String {
    let Value::Object(map) = outputs else {
        return scalar("", outputs).unwrap_or_default();
    };
    let mut parts = Vec::new();
    for (key, value) in map {
        if parts.len() == MAX_PARTS {
            break;
        }
        // That a command ended well is what the line says anyway.
        if key == "exit_code" && value.as_i64() == Some(0) {
            continue;
        }
        // What a command said needs no label.
        if key == "stdout" {
            parts.extend(said(value));
        } else if key != "stderr"
            && let Some(text) = scalar(key, value)
        {
            let label = clean::line(amount::label(key));
            parts.push(format!("{label} {text}").trim_start().to_owned());
        }
    }
    parts.join(", ")
}

/// What an item is for, where a few words say it.
pub fn item(item: &Value) -> Option<Cow<'_, str>> {
    let words = match item {
        Value::Null => return None,
        Value::String(text) => clean::line(text),
        Value::Object(map) => {
            // The keys that name a thing in most lists.
            let named = ["name", "id", "path"].iter().find_map(|key| map.get(*key));
            match named.and_then(Value::as_str) {
                Some(name) => clean::line(name),
                None => Cow::Owned(brief(item)),
            }
        }
        other => Cow::Owned(brief(other)),
    };
    (!words.is_empty()).then_some(words)
}

/// A value in a few words; `None` where that cannot be, or where it says nothing (`false`, empty).
fn scalar(key: &str, value: &Value) -> Option<String> {
    match value {
        Value::Number(_) => amount::measure(key, value),
        Value::Bool(true) => Some("yes".to_owned()),
        Value::String(text) => short(text),
        Value::Array(items) if !items.is_empty() => Some(amount::count(items.len())),
        _ => None,
    }
}

fn short(text: &str) -> Option<String> {
    let fits = !text.is_empty() && !text.contains('\n') && text.chars().nth(MAX_TEXT).is_none();
    fits.then(|| clean::line(text).into_owned())
}

fn said(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim_end();
    match text.lines().count() {
        0 => None,
        1 => Some(short(text).unwrap_or_else(|| {
            let head: String = text.chars().take(MAX_TEXT - 1).collect();
            format!("{}…", clean::line(&head))
        })),
        lines => Some(format!("{} of output", amount::plural(lines, "line"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::brief;

    #[test]
    fn tells_what_fits() {
        for (outputs, text) in [
            (json!(null), ""),
            (json!({}), ""),
            (
                json!({ "rows": 5321, "batches": 2 }),
                "rows 5321, batches 2",
            ),
            (
                json!({ "path": "/b/x.dump", "bytes": 139_000_000, "sha256": "0".repeat(64) }),
                "path /b/x.dump, 132.6 MiB",
            ),
            (
                json!({ "exit_code": 0, "stdout": "6.1.0-18", "stderr": "", "truncated": false,
                    "json": null, "values": {} }),
                "6.1.0-18",
            ),
            (
                json!({ "exit_code": 1, "stdout": "a\nb" }),
                "exit_code 1, 2 lines of output",
            ),
            (json!({ "indexes": [1, 2], "none": [] }), "indexes 2"),
            (json!([1, 2, 3]), "3"),
        ] {
            assert_eq!(brief(&outputs), text);
        }
    }
}

//! Values: to and from JSON, as text, and what they are called in messages.

use minijinja::value::ValueKind;

use super::types::Type;

/// A value; cheap to clone.
pub use minijinja::Value;

/// `value` as JSON: keys in their order, whole numbers whole.
///
/// What is undefined, or a number that JSON does not have, becomes null.
pub fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value.kind() {
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => number_to_json(value),
        ValueKind::String => Json::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().into_iter().flatten();
            Json::Array(items.map(|item| to_json(&item)).collect())
        }
        ValueKind::Map => {
            let keys = value.try_iter().into_iter().flatten();
            Json::Object(
                keys.map(|key| {
                    let item = value.get_item(&key).unwrap_or_default();
                    let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                    (name, to_json(&item))
                })
                .collect(),
            )
        }
        _ => Json::Null,
    }
}

fn number_to_json(value: &Value) -> serde_json::Value {
    if value.is_integer() {
        if let Some(int) = value.as_i64() {
            return int.into();
        }
        if let Ok(int) = u64::try_from(value.clone()) {
            return int.into();
        }
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map_or(serde_json::Value::Null, serde_json::Value::Number)
}

/// JSON as a value: keys in their order, whole numbers whole.
pub fn from_json(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(yes) => Value::from(yes),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::from(int),
            (None, Some(int)) => Value::from(int),
            (None, None) => number.as_f64().map_or(Value::from(()), Value::from),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => Value::from(items.into_iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(entries) => Value::from_pairs(
            entries
                .into_iter()
                .map(|(name, value)| (name, from_json(value))),
        ),
    }
}

/// `value` as it stands in a text: a text as it is, numbers and booleans as they are written, lists
/// and maps as JSON. Nothing where there is none: null, or not defined.
pub fn to_text(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::String => value.as_str().map(str::to_owned),
        // minijinja writes `True`, as Python does.
        ValueKind::Bool => Some(value.is_true().to_string()),
        ValueKind::Number => Some(value.to_string()),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Some(to_json(value).to_string()),
        _ => None,
    }
}

impl Type {
    /// The type of a value that is there.
    pub fn of(value: &Value) -> Type {
        match value.kind() {
            ValueKind::None => Type::Null,
            ValueKind::Bool => Type::Bool,
            ValueKind::Number if value.is_integer() => Type::Int,
            ValueKind::Number => Type::Number,
            ValueKind::String => Type::String,
            ValueKind::Seq | ValueKind::Iterable => Type::list(Type::Any),
            ValueKind::Map => Type::map(Type::Any),
            _ => Type::Any,
        }
    }
}

/// What a value is, as it stands in a message: "a text".
pub(super) fn describe(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "not defined",
        ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::Number if value.is_integer() => "a whole number",
        ValueKind::Number => "a number",
        ValueKind::String => "a text",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a mapping",
        _ => "no value",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Value, from_json, to_json, to_text};

    #[test]
    fn json_goes_there_and_back() {
        let json = json!({
            "z": 1, "a": [true, null, "x", 1.5, -3, 18_446_744_073_709_551_615_u64],
            "m": {"b": {}, "a": []},
        });
        let value = from_json(json.clone());
        assert_eq!(to_json(&value), json);
        // The keys keep their order, which `==` above does not tell.
        assert_eq!(to_json(&value).to_string(), json.to_string());
        assert!(value.get_attr("z").unwrap().is_integer());
    }

    #[test]
    fn text_is_what_people_would_write() {
        for (value, text) in [
            (Value::from("x"), Some("x")),
            (Value::from(true), Some("true")),
            (Value::from(3), Some("3")),
            (Value::from(2.5), Some("2.5")),
            (Value::from(vec!["a", "b"]), Some(r#"["a","b"]"#)),
            (from_json(json!({"a": null})), Some(r#"{"a":null}"#)),
            (Value::from(()), None),
            (Value::UNDEFINED, None),
        ] {
            assert_eq!(to_text(&value).as_deref(), text, "{value:?}");
        }
    }
}

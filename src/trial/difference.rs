//! How one value differs from what was expected of it.

use serde_json::Value;

/// The longest value that is repeated in a message, in characters.
const LONGEST: usize = 160;

/// A value as a message repeats it.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// In what `is` does not contain `wanted`: a mapping holds its keys, everything else is the same.
pub(super) fn difference(wanted: &Value, is: &Value, place: &str) -> Option<String> {
    match (wanted, is) {
        (Value::Object(wanted), Value::Object(is)) => wanted.iter().find_map(|(key, wanted)| {
            let place = format!("{place}.{key}");
            match is.get(key) {
                Some(is) => difference(wanted, is, &place),
                None => Some(format!(
                    "`{place}` should be {}, and is not there",
                    short(wanted)
                )),
            }
        }),
        (Value::Array(wanted), Value::Array(is)) if wanted.len() == is.len() => {
            let pairs = wanted.iter().zip(is).enumerate();
            { pairs }
                .find_map(|(at, (wanted, is))| difference(wanted, is, &format!("{place}[{at}]")))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (wanted, is) if wanted == is => None,
        (wanted, is) => Some(format!(
            "`{place}` should be {}, and is {}",
            short(wanted),
            short(is)
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::difference;

    #[test]
    fn a_part_of_a_mapping_is_enough() {
        let is = json!({ "a": 1, "b": { "c": [1, { "d": "x", "e": 2 }] }, "f": null });
        for fits in [
            json!({}),
            json!({ "a": 1.0 }),
            json!({ "b": { "c": [1, { "d": "x" }] } }),
            json!({ "f": null }),
            is.clone(),
        ] {
            assert_eq!(difference(&fits, &is, "with"), None, "{fits}");
        }
        for (wrong, told) in [
            (json!({ "a": "1" }), "`with.a` should be \"1\", and is 1"),
            (
                json!({ "g": null }),
                "`with.g` should be null, and is not there",
            ),
            (
                json!({ "b": { "c": [1] } }),
                "`with.b.c` should be [1], and is [1,{\"d\":\"x\",\"e\":2}]",
            ),
            (
                json!({ "b": { "c": [1, { "d": "y" }] } }),
                "`with.b.c[1].d` should be \"y\", and is \"x\"",
            ),
            (
                json!([]),
                "`with` should be [], and is {\"a\":1,\"b\":{\"c\":[1,{\"d\":\"x\",\"e\":2}]},\"f\":null}",
            ),
        ] {
            assert_eq!(difference(&wrong, &is, "with").as_deref(), Some(told));
        }
    }
}

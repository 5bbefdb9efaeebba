//! What an answer's body is asked for: a text, a pattern, values in its JSON.

use serde_json::{Map, Value};

use crate::base::field::Pattern;
use crate::event::{Finding, Level};

/// What is expected of a body.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// It contains this text.
    pub(super) contains: Option<&'a str>,
    /// It matches this.
    pub(super) matches: Option<&'a Pattern>,
    /// Its JSON has these values, by path.
    pub(super) json: &'a Map<String, Value>,
}

impl Expected<'_> {
    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.contains.is_none() && self.matches.is_none() && self.json.is_empty()
    }

    /// What `body` is found to be, and its JSON where it is some. Of a truncated body only what is
    /// there can be told: what is not found in it is unknown.
    pub(super) fn judge(
        &self,
        subject: &str,
        body: &[u8],
        truncated: bool,
    ) -> (Vec<Finding>, Value) {
        let mut findings = Vec::new();
        if let Some(text) = self.contains {
            let found = memchr::memmem::find(body, text.as_bytes()).is_some();
            let (yes, no) = ("its body contains", "its body does not contain");
            findings.push(Self::search(subject, body, truncated, found, yes, no, text));
        }
        if let Some(pattern) = self.matches {
            // It compiled when the configuration was read.
            let found = regex::bytes::Regex::new(pattern.as_str()).is_ok_and(|r| r.is_match(body));
            let (yes, no) = ("its body matches", "its body does not match");
            findings.push(Self::search(
                subject,
                body,
                truncated,
                found,
                yes,
                no,
                pattern.as_str(),
            ));
        }
        let parsed = serde_json::from_slice::<Value>(body);
        if !self.json.is_empty() {
            match &parsed {
                _ if truncated => {
                    let message = "its body is too long to be read as JSON";
                    findings.push(Finding::unknown(subject, message));
                }
                Err(error) => {
                    let message = format!("its body is not JSON ({error}): {}", beginning(body));
                    findings.push(Finding::critical(subject, message));
                }
                Ok(found) => {
                    let each = self.json.iter();
                    findings.extend(each.map(|(path, wanted)| value(subject, found, path, wanted)));
                }
            }
        }
        (findings, parsed.unwrap_or(Value::Null))
    }

    fn search(
        subject: &str,
        body: &[u8],
        truncated: bool,
        found: bool,
        yes: &str,
        no: &str,
        what: &str,
    ) -> Finding {
        if found {
            return Finding::ok(subject, format!("{yes} `{what}`"));
        }
        let level = if truncated {
            Level::Unknown
        } else {
            Level::Critical
        };
        let part = if truncated {
            format!(" as far as it was read ({} bytes)", body.len())
        } else {
            String::new()
        };
        let message = format!("{no} `{what}`{part}: {}", beginning(body));
        Finding::new(level, subject, message)
    }
}

/// The longest part of a body that a finding repeats, in characters.
const SHOWN: usize = 120;

fn beginning(body: &[u8]) -> String {
    if body.is_empty() {
        return "it is empty".to_owned();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut one_line = words.join(" ");
    let end = one_line.char_indices().nth(SHOWN).map(|(end, _)| end);
    if end.is_some() || body.len() > 4 * SHOWN {
        one_line.truncate(end.unwrap_or(one_line.len()));
        one_line.push('…');
    }
    format!("it begins with `{one_line}`")
}

fn value(subject: &str, body: &Value, path: &str, wanted: &Value) -> Finding {
    match find(body, path) {
        None => Finding::critical(
            subject,
            format!("`{path}` is not in its body, and {wanted} is expected there"),
        ),
        Some(found) if same(found, wanted) => {
            Finding::ok(subject, format!("`{path}` is {}", short(found)))
        }
        Some(found) => Finding::critical(
            subject,
            format!("`{path}` is {}, not {wanted}", short(found)),
        ),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What a path can be: keys and indexes with dots between them, or a JSON Pointer (RFC 6901) where
/// a key has a dot in it.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let whole = path.starts_with('/') || path.split('.').all(|part| !part.is_empty());
    if whole {
        Ok(())
    } else {
        Err(format!(
            "`{path}` is no path into JSON; write keys and indexes with dots between them, as in \
             `db.replicas.0.name`, or a JSON Pointer where a key has a dot in it, as in `/a.b/c`"
        ))
    }
}

fn find<'a>(body: &'a Value, path: &str) -> Option<&'a Value> {
    if path.starts_with('/') {
        return body.pointer(path);
    }
    path.split('.').try_fold(body, |value, part| match value {
        Value::Object(map) => map.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Whether two values are the same; `1` and `1.0` are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter()
                    .all(|(k, v)| y.get(k).is_some_and(|other| same(v, other)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, check_path};
    use crate::event::Level;
    use serde_json::{Map, Value, json};

    fn judge(json: &Value, body: &str) -> Vec<(Level, String)> {
        let none = Map::new();
        let expected = Expected {
            contains: None,
            matches: None,
            json: json.as_object().unwrap_or(&none),
        };
        let (findings, _) = expected.judge("x", body.as_bytes(), false);
        findings.into_iter().map(|f| (f.level, f.message)).collect()
    }

    #[test]
    fn compares_values_by_path() {
        let body = r#"{"status":"ok","db":{"up":true,"lag":1.0},"nodes":[{"id":7}],"a.b":null}"#;
        let good = json!({
            "status": "ok", "db.up": true, "db.lag": 1, "nodes.0.id": 7, "/a.b": null,
            "nodes": [{ "id": 7.0 }]
        });
        assert!(judge(&good, body).iter().all(|(l, _)| *l == Level::Ok));
        let bad = json!({ "status": "OK", "db.down": true, "nodes.1.id": 7, "db.up": "true" });
        let found = judge(&bad, body);
        assert!(found.iter().all(|(l, _)| *l == Level::Critical));
        assert_eq!(found[0].1, "`status` is \"ok\", not \"OK\"");
        assert_eq!(
            found[1].1,
            "`db.down` is not in its body, and true is expected there"
        );
    }

    #[test]
    fn what_is_no_json_is_told_with_its_beginning() {
        let found = judge(&json!({ "status": "ok" }), "<html>\n  <h1>Oops");
        assert_eq!(found[0].0, Level::Critical);
        assert!(
            found[0].1.ends_with("it begins with `<html> <h1>Oops`"),
            "{found:?}"
        );
    }

    #[test]
    fn what_was_not_read_is_unknown() {
        let none = Map::new();
        let expected = Expected {
            contains: Some("needle"),
            matches: None,
            json: &none,
        };
        let (findings, _) = expected.judge("x", b"hay", true);
        assert_eq!(findings[0].level, Level::Unknown);
        let (findings, _) = expected.judge("x", b"a needle", true);
        assert_eq!(findings[0].level, Level::Ok);
    }

    #[test]
    fn paths_have_a_shape() {
        for good in ["a", "a.b.0", "/a.b/c"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a..b", "a."] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}

//! The file that a step's process may leave its outputs in: `RUNBOOK_OUTPUT`.
//!
//! Lines of `key=value` (every value a text), or one JSON object (values of any type).

use std::path::Path;

use serde_json::{Map, Value};

use crate::host::files::read_limited;
use crate::host::{HostError, HostErrorKind};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The outputs in the file at `path`; none where there is no file.
pub(super) fn read(path: &Path) -> Result<Map<String, Value>, HostError> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let bytes = read_limited(path, LIMIT)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
    parse(&text).map_err(wrong)
}

fn wrong(cause: impl Into<String>) -> HostError {
    HostError::new(
        HostErrorKind::Permanent,
        "read the outputs in RUNBOOK_OUTPUT",
        cause,
    )
    .with_help("write lines of `key=value`, or one JSON object")
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let mut values = Map::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {} has no `=`: {line:?}", at + 1))?;
        let fits = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && key.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !fits {
            return Err(format!(
                "line {}: {key:?} is not a name (letters, digits, `_`)",
                at + 1
            ));
        }
        values.insert(key.to_owned(), Value::String(value.to_owned()));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_and_json() {
        assert_eq!(parse("a=1\n\nb=x=y\n").unwrap()["b"], "x=y");
        assert_eq!(parse(" {\"rows\": 3}").unwrap()["rows"], 3);
        assert!(parse("novalue").is_err());
        assert!(parse("a b=1").is_err());
        assert!(parse("{\"a\":").is_err());
    }
}

//! The file that a step's process may leave its outputs in: `RUNBOOK_OUTPUT`.
//!
//! Lines of `key=value` (every value a text), or one JSON object (values of any type).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::host::files::read_no_link;
use crate::host::{HostError, HostErrorKind};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The file of one attempt. It goes when the attempt is over, whatever came of it: what is in it is
/// as the process wrote it, secrets included; what is kept of it is in the record, redacted.
#[derive(Debug)]
pub(super) struct OutputFile(PathBuf);

impl OutputFile {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The outputs in it; none where the process made no such file.
    pub(super) fn read(&self) -> Result<Map<String, Value>, HostError> {
        if std::fs::symlink_metadata(&self.0).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            return Ok(Map::new());
        }
        let bytes = read_no_link(&self.0, LIMIT)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        parse(&text).map_err(wrong)
    }
}

impl Drop for OutputFile {
    #[expect(clippy::disallowed_methods, reason = "it is our own")]
    fn drop(&mut self) {
        // Where there is none, there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
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
    use super::{OutputFile, parse};

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is what a step's process does"
    )]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "a=1\n").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let file = OutputFile::at(path.clone());
        let error = file.read().unwrap_err();
        assert_eq!(error.cause, "it is a symbolic link");
        drop(file);
        assert!(elsewhere.exists() && std::fs::symlink_metadata(&path).is_err());
    }

    #[test]
    fn lines_and_json() {
        assert_eq!(parse("a=1\n\nb=x=y\n").unwrap()["b"], "x=y");
        assert_eq!(parse(" {\"rows\": 3}").unwrap()["rows"], 3);
        assert!(parse("novalue").is_err());
        assert!(parse("a b=1").is_err());
        assert!(parse("{\"a\":").is_err());
    }
}

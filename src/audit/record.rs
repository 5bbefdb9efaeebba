//! One record: a line of a journal or of the ledger.
//!
//! ```text
//! {"v":1,"seq":2,"prev":"<64 hex>","t":"2026-11-24T03:31:00.5Z","kind":"step.start","path":"disk","attempt":1,"data":{…}}
//! ```
//!
//! The fields stand in this order; `path` and `attempt` are left out where there are none. `prev`
//! is the SHA-256 of the raw bytes of the record before, without its newline; the first record has
//! 64 zeros. `seq` counts from 1. People find the same in `docs/audit.md`.
//!
//! Nothing here opens files: see [`super::journal`] and [`super::ledger`].

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::StepPath;

/// The version of the format: `v`.
pub const VERSION: u32 = 1;

/// The longest record, in bytes. One that is longer is neither written nor read; outputs above
/// 1 MiB do not stand in records, so that only a run's start with a million steps comes near.
pub const MAX_RECORD: usize = 64 << 20;

/// The kind of the record that sets torn bytes aside, in front of which it stands.
pub const TORN_KIND: &str = "audit.torn";

/// A SHA-256, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What the first record has in the place of the record before.
    pub const ZERO: Self = Self([0; 32]);

    /// That of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// That of everything that `hasher` was given.
    pub(super) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        // Upper case would be a second way to write the same: refused, so that no bit can be
        // flipped unseen.
        if text.bytes().any(|byte| byte.is_ascii_uppercase())
            || hex::decode_to_slice(text.as_bytes(), &mut bytes).is_err()
        {
            let wrong = format!("`{text}` is not a SHA-256 in 64 lower-case hex digits");
            return Err(serde::de::Error::custom(wrong));
        }
        Ok(Self(bytes))
    }
}

/// A time, written in the one way in which we write it: `2026-11-24T03:31:00.5Z`.
pub(super) fn utc<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<jiff::Timestamp, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    // RFC 3339 has other ways (`t`, a space, a comma, offsets): refused, like upper case above.
    let digits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.');
    let ours = text
        .strip_suffix('Z')
        .and_then(|text| text.split_once('T'))
        .is_some_and(|(date, time)| date.bytes().chain(time.bytes()).all(digits));
    text.parse()
        .ok()
        .filter(|_| ours)
        .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a time in UTC")))
}

/// Where a chain stands: what the next record is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last record, which is also how many there are.
    pub seq: u64,
    /// The hash of the last record.
    pub hash: Digest,
}

impl Head {
    /// Of a chain without records.
    pub const EMPTY: Self = Self {
        seq: 0,
        hash: Digest::ZERO,
    };
}

/// What a record says, before it has a place in a chain.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a, D> {
    /// When; wall time.
    pub at: jiff::Timestamp,
    /// What kind of thing happened.
    pub kind: &'a str,
    /// Where in the run.
    pub path: Option<&'a StepPath>,
    /// In which attempt, from 1.
    pub attempt: Option<u32>,
    /// What happened.
    pub data: &'a D,
}

#[derive(Serialize)]
struct Written<'a, D> {
    v: u32,
    seq: u64,
    prev: Digest,
    t: jiff::Timestamp,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a StepPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    data: &'a D,
}

/// Adds `entry` to `out` as the record that follows `head`, with its newline, and says where the
/// chain then stands. Serialised once, straight into `out`: a journal writes tens of thousands.
///
/// # Errors
/// When the data is no JSON (a map with keys that are no texts), or the record is longer than
/// [`MAX_RECORD`]; `out` is as it was.
pub fn encode<D: Serialize>(
    head: &Head,
    entry: &Entry<'_, D>,
    out: &mut Vec<u8>,
) -> Result<Head, serde_json::Error> {
    let start = out.len();
    let seq = head.seq + 1;
    let written = Written {
        v: VERSION,
        seq,
        prev: head.hash,
        t: entry.at,
        kind: entry.kind,
        path: entry.path,
        attempt: entry.attempt,
        data: entry.data,
    };
    let result = serde_json::to_writer(&mut *out, &written).and_then(|()| {
        let length = out.len() - start;
        if length > MAX_RECORD {
            let wrong = format!("the record has {length} bytes, more than {MAX_RECORD}");
            return Err(serde::ser::Error::custom(wrong));
        }
        Ok(())
    });
    if let Err(error) = result {
        out.truncate(start);
        return Err(error);
    }
    let hash = Digest::of(&out[start..]);
    out.push(b'\n');
    Ok(Head { seq, hash })
}

/// A record as it was read: its place, its kind, and its bytes.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number, from 1.
    pub seq: u64,
    /// The hash of the record before.
    pub prev: Digest,
    /// When; wall time.
    pub at: jiff::Timestamp,
    /// What kind of thing happened.
    pub kind: String,
    /// Where in the run, as it is written.
    pub path: Option<String>,
    /// In which attempt, from 1.
    pub attempt: Option<u32>,
    /// Its own hash.
    pub hash: Digest,
    /// Its bytes, without the newline.
    pub line: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<D> {
    v: u32,
    seq: u64,
    prev: Digest,
    #[serde(deserialize_with = "utc")]
    t: jiff::Timestamp,
    kind: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    attempt: Option<u32>,
    data: D,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
pub enum NoRecord {
    /// It is one of another version of the format.
    #[error("it has format version {0}; this runbook reads version {VERSION}")]
    Version(u32),
    /// It is not JSON, or not that of a record.
    #[error("{0}")]
    Malformed(String),
}

impl Record {
    /// The record that `line` is, without its newline.
    ///
    /// # Errors
    /// When it is none; the line is given back.
    pub fn read(line: Vec<u8>) -> Result<Self, (Vec<u8>, NoRecord)> {
        match serde_json::from_slice::<Read<IgnoredAny>>(&line) {
            Ok(read) if read.v == VERSION => Ok(Self {
                seq: read.seq,
                prev: read.prev,
                at: read.t,
                kind: read.kind,
                path: read.path,
                attempt: read.attempt,
                hash: Digest::of(&line),
                line,
            }),
            Ok(read) => Err((line, NoRecord::Version(read.v))),
            Err(error) => {
                let why = match serde_json::from_slice::<Version>(&line) {
                    Ok(Version { v }) if v != VERSION => NoRecord::Version(v),
                    _ => NoRecord::Malformed(error.to_string()),
                };
                Err((line, why))
            }
        }
    }

    /// Whether its place is the one after `head`.
    pub fn follows(&self, head: &Head) -> bool {
        Some(self.seq) == head.seq.checked_add(1) && self.prev == head.hash
    }

    /// Where the chain stands after it.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// Its data as a `D`.
    ///
    /// # Errors
    /// When it is none.
    pub fn data<D: DeserializeOwned>(&self) -> Result<D, serde_json::Error> {
        let read: Read<D> = serde_json::from_slice(&self.line)?;
        Ok(read.data)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Digest, Entry, Head, NoRecord, Record, encode};
    use crate::base::StepPath;

    fn line(head: &Head, path: Option<&str>, data: &Value) -> (Vec<u8>, Head) {
        let path: Option<StepPath> = path.map(|path| path.parse().unwrap());
        let entry = Entry {
            at: "2026-11-24T03:31:00.5Z".parse().unwrap(),
            kind: "step.start",
            path: path.as_ref(),
            attempt: path.as_ref().map(|_| 1),
            data,
        };
        let mut out = Vec::new();
        let head = encode(head, &entry, &mut out).unwrap();
        (out, head)
    }

    #[test]
    fn the_form_is_fixed() {
        let (first, head) = line(&Head::EMPTY, None, &json!({ "a": "ü\n" }));
        insta::assert_snapshot!(String::from_utf8(first.clone()).unwrap().trim_end(), @r#"{"v":1,"seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","t":"2026-11-24T03:31:00.5Z","kind":"step.start","data":{"a":"ü\n"}}"#);
        assert_eq!(head.hash, Digest::of(&first[..first.len() - 1]));
        let (second, _) = line(&head, Some("reindex[3]"), &json!({}));
        let second = String::from_utf8(second).unwrap();
        assert!(second.starts_with(&format!(r#"{{"v":1,"seq":2,"prev":"{}","t""#, head.hash)));
        assert!(second.ends_with("\"path\":\"reindex[3]\",\"attempt\":1,\"data\":{}}\n"));
    }

    #[test]
    fn what_is_written_is_read() {
        let data = json!({ "list": [1, 2.5, null], "text": "\u{0}\"" });
        let (bytes, head) = line(&Head::EMPTY, Some("a[0]"), &data);
        let record = Record::read(bytes[..bytes.len() - 1].to_vec()).unwrap();
        assert!(record.follows(&Head::EMPTY));
        assert_eq!(record.head(), head);
        assert_eq!(record.path.as_deref(), Some("a[0]"));
        assert_eq!(record.attempt, Some(1));
        assert_eq!(record.data::<Value>().unwrap(), data);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let (bytes, _) = line(&Head::EMPTY, None, &json!({}));
        let good = String::from_utf8(bytes).unwrap().trim_end().to_owned();
        let read = |text: String| Record::read(text.into_bytes()).unwrap_err().1;
        for (from, to, cause) in [
            ("\"kind\"", "\"kinf\"", "unknown field `kinf`"),
            (",\"data\":{}", "", "missing field `data`"),
            ("\"prev\":\"00", "\"prev\":\"0", "64 lower-case hex"),
            ("}}", "}} x", "trailing"),
            (
                "24T03",
                "24t03",
                "`2026-11-24t03:31:00.5Z` is not a time in UTC",
            ),
            ("00.5Z", "00,5Z", "not a time"),
            (":00.5Z", ":99.5Z", "not a time"),
            ("\"seq\":1", "\"seq\":-1", "invalid value"),
            ("\"kind\"", "\"seq\":1,\"kind\"", "duplicate field `seq`"),
        ] {
            let error = read(good.replacen(from, to, 1)).to_string();
            assert!(error.contains(cause), "{error}");
        }
        let newer = read(good.replacen("\"v\":1", "\"v\":2", 1));
        assert!(matches!(newer, NoRecord::Version(2)));
        let newer = read(r#"{"v":7,"new":true}"#.to_owned());
        assert!(matches!(newer, NoRecord::Version(7)));
        let upper = good.replacen("\"prev\":\"00", "\"prev\":\"AA", 1);
        assert!(read(upper).to_string().contains("lower-case"));
    }
}

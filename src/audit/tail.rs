//! The end of a file of records, for whoever appends to it: where the chain stands, and what to do
//! about what a crash left there.
//!
//! Nothing is ever cut off. If what follows the last newline is the next record but for its newline,
//! it gets the newline. Anything else is set aside: it gets a newline too, and the next record, of
//! kind `audit.torn`, says how many bytes they are and what their hash is, so that whoever verifies
//! knows them from an insertion.
//!
//! Only the end is looked at; whether the whole verifies is for [`super::verify`].

use std::fs::File;
use std::io;

use sha2::{Digest as _, Sha256};

use super::chain::{MAX_TORN_LINES, Torn, may_be_torn};
use super::lines::LinesBack;
use super::record::{Digest, Entry, Head, Record, TORN_KIND, encode};

/// The end of a file of records.
#[derive(Debug)]
pub(super) struct Tail {
    /// Where the chain stands after what is to be written first.
    pub head: Head,
    /// What is to be written before the next record: a newline, a record about torn bytes, or
    /// nothing.
    pub mending: Vec<u8>,
}

impl Tail {
    /// The end of `file`; `at` is the time of the record about torn bytes, if one is needed.
    ///
    /// # Errors
    /// When it cannot be read, or what stands at its end is more than crashes can have left.
    pub(super) fn read(file: &File, at: jiff::Timestamp) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut lines = LinesBack::new(file, length);
        // What stands after the last record, the last line first.
        let mut after = vec![lines.next()?.unwrap_or_default()];
        let head = loop {
            let Some(line) = lines.next()? else {
                break Head::EMPTY;
            };
            match Record::read(line) {
                Ok(record) => break record.head(),
                Err((line, _)) if after.len() < MAX_TORN_LINES => after.push(line),
                Err(_) => {
                    let wrong = format!("its last {MAX_TORN_LINES} lines are no records");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
                }
            }
        };
        if let [last] = &after[..]
            && last.is_empty()
        {
            return Ok(Self {
                head,
                mending: Vec::new(),
            });
        }
        let last_is_empty = after.first().is_some_and(Vec::is_empty);
        if let Some(head) = whole_but_for_its_newline(&head, &after) {
            return Ok(Self {
                head,
                mending: b"\n".to_vec(),
            });
        }
        // All but what follows the last newline are whole lines.
        let whole = after.iter().skip(1).any(|line| !may_be_torn(head, line));
        if last_is_empty {
            after.remove(0);
        }
        let data = Torn {
            whole,
            ..torn(&after)
        };
        let mut mending = if last_is_empty {
            Vec::new()
        } else {
            b"\n".to_vec()
        };
        let entry = Entry {
            at,
            kind: TORN_KIND,
            path: None,
            attempt: None,
            data: &data,
        };
        let head = encode(&head, &entry, &mut mending)?;
        Ok(Self { head, mending })
    }
}

/// Where the chain stands if what follows the last newline is the next record.
fn whole_but_for_its_newline(head: &Head, after: &[Vec<u8>]) -> Option<Head> {
    let (last, before) = after.split_first()?;
    let record = Record::read(last.clone()).ok()?;
    let fits = if before.is_empty() {
        record.kind != TORN_KIND
    } else {
        let before = torn(before);
        let same = |said: Torn| (said.bytes, said.sha256) == (before.bytes, before.sha256);
        record.kind == TORN_KIND && record.data::<Torn>().is_ok_and(same)
    };
    (fits && record.follows(head)).then(|| record.head())
}

/// What is said of lines, of which the last comes first.
fn torn(lines: &[Vec<u8>]) -> Torn {
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    for (index, line) in lines.iter().rev().enumerate() {
        if index > 0 {
            hasher.update(b"\n");
            bytes += 1;
        }
        hasher.update(line);
        bytes += line.len() as u64;
    }
    Torn {
        bytes,
        sha256: Digest::finish(hasher),
        whole: false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::Tail;
    use crate::audit::chain::Records;
    use crate::audit::record::{Entry, Head, encode};

    /// Appends a record to `bytes` as an appender does, which is killed after `written` bytes.
    fn append(bytes: &mut Vec<u8>, text: &str, written: usize) -> usize {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let at = jiff::Timestamp::UNIX_EPOCH;
        let tail = Tail::read(&file, at).unwrap();
        let data = json!({ "text": text });
        let entry = Entry {
            at,
            kind: "test",
            path: None,
            attempt: None,
            data: &data,
        };
        let mut out = tail.mending;
        encode(&tail.head, &entry, &mut out).unwrap();
        bytes.extend(&out[..written.min(out.len())]);
        out.len()
    }

    /// The records' texts; torn bytes at the end are fine.
    fn texts(bytes: &[u8]) -> Vec<String> {
        let mut texts = Vec::new();
        for record in Records::new(bytes, None) {
            match record {
                Ok(record) if record.kind == "test" => {
                    let data: serde_json::Value = record.data().unwrap();
                    texts.push(data["text"].as_str().unwrap().to_owned());
                }
                Ok(record) => assert_eq!(record.kind, "audit.torn"),
                Err(fault) => assert!(fault.is_torn(), "{fault}"),
            }
        }
        texts
    }

    #[test]
    fn an_empty_file_begins_a_chain() {
        let tail = Tail::read(&tempfile::tempfile().unwrap(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((tail.head, tail.mending.len()), (Head::EMPTY, 0));
    }

    #[test]
    fn whoever_appends_after_two_crashes_at_any_byte_goes_on() {
        for before in [0, 2] {
            let mut bytes = Vec::new();
            for _ in 0..before {
                append(&mut bytes, "before", usize::MAX);
            }
            let first = append(&mut bytes.clone(), "first", usize::MAX);
            for written in 0..=first {
                let mut bytes = bytes.clone();
                append(&mut bytes, "first", written);
                let second = append(&mut bytes.clone(), "second", usize::MAX);
                // Every byte where the border of a line is near, some of the others.
                for again in (0..=second).filter(|at| at % 17 == 0 || *at < 3 || at + 3 > second) {
                    let mut bytes = bytes.clone();
                    append(&mut bytes, "second", again);
                    append(&mut bytes, "third", usize::MAX);
                    let texts = texts(&bytes);
                    let mut expected = vec!["before"; before];
                    // All but the newline is enough; without it nothing was promised.
                    expected.extend((written + 1 >= first).then_some("first"));
                    expected.extend((again + 1 >= second).then_some("second"));
                    expected.push("third");
                    assert_eq!(texts, expected, "{written} {again}");
                }
            }
        }
    }

    #[test]
    fn zeros_at_the_end_are_set_aside() {
        let mut bytes = Vec::new();
        append(&mut bytes, "first", usize::MAX);
        bytes.extend([0; 4096]);
        append(&mut bytes, "second", usize::MAX);
        assert_eq!(texts(&bytes), ["first", "second"]);
        let mut records = Records::new(&bytes[..], None);
        assert!(records.by_ref().all(|record| record.is_ok()));
        let aside = records.set_aside()[0];
        assert_eq!((aside.seq, aside.bytes), (2, 4096));
    }
}

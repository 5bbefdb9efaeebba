//! Secrets out of everything that is printed or recorded.
//!
//! One automaton finds every secret in every encoding in one pass. It is applied where an event is
//! made and where a process's output is read, so that no sink ever sees a secret.

mod dump;
mod forms;
mod wrapped;

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use hmac::{KeyInit, Mac};
use serde_json::Value;

use wrapped::{Before, Found, Wrapped};

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Secrets shorter than this are not looked for: hiding every `1` in a text would hide the text.
/// Their use is told as a warning when they are read.
pub const SHORTEST: usize = 4;

/// How long all forms of all secrets may be together, in bytes: an automaton of more takes more
/// memory than is fair.
const LARGEST: usize = 32 << 20;

/// Secrets that cannot be looked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "secrets cannot be hidden in what is shown and recorded: {cause}; declare fewer or shorter ones"
)]
pub struct RedactorError {
    /// Why.
    pub cause: String,
}

/// Finds secrets and hides them.
#[derive(Default)]
pub struct Redactor {
    automaton: Option<AhoCorasick>,
    /// Sorted, so that those that begin with a text are found by halving.
    patterns: Vec<Vec<u8>>,
    longest: usize,
    wrapped: Option<Wrapped>,
    key: Vec<u8>,
}

fn automaton(patterns: &[Vec<u8>]) -> Result<AhoCorasick, aho_corasick::BuildError> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(patterns)
}

/// Where at `from` or after it one of the sorted `patterns` may have begun in `bytes` that goes on
/// after their end.
fn open_in<'a>(
    patterns: &'a [Vec<u8>],
    longest: usize,
    bytes: &'a [u8],
    from: usize,
) -> impl Iterator<Item = usize> + 'a {
    let first = from.max((bytes.len() + 1).saturating_sub(longest));
    (first..bytes.len()).filter(|at| {
        let tail = &bytes[*at..];
        let next = patterns.partition_point(|pattern| pattern.as_slice() <= tail);
        patterns
            .get(next)
            .is_some_and(|pattern| pattern.starts_with(tail))
    })
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} forms)", self.patterns.len())
    }
}

impl Redactor {
    /// One that hides `secrets`; digests of values that hold one are keyed with `key`.
    ///
    /// # Errors
    /// When there are too many or too long ones to look for: nothing may run then.
    pub fn new<'a>(
        secrets: impl IntoIterator<Item = &'a str>,
        key: &[u8],
    ) -> Result<Self, RedactorError> {
        Self::within(LARGEST, secrets, key)
    }

    fn within<'a>(
        largest: usize,
        secrets: impl IntoIterator<Item = &'a str>,
        key: &[u8],
    ) -> Result<Self, RedactorError> {
        let mut patterns: Vec<Vec<u8>> = Vec::new();
        let mut wrapped: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            forms::add(&mut patterns, &mut wrapped, secret);
        }
        patterns.sort();
        patterns.dedup();
        let all: usize = patterns.iter().chain(&wrapped).map(Vec::len).sum();
        if all > largest {
            let cause = format!("their forms take {all} bytes, and {largest} is the most");
            return Err(RedactorError { cause });
        }
        let failed = |error: aho_corasick::BuildError| RedactorError {
            cause: error.to_string(),
        };
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        if patterns.is_empty() {
            return Ok(Self {
                key: key.to_vec(),
                ..Self::default()
            });
        }
        Ok(Self {
            automaton: Some(automaton(&patterns).map_err(failed)?),
            patterns,
            longest,
            wrapped: Some(Wrapped::new(wrapped).map_err(failed)?),
            key: key.to_vec(),
        })
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.automaton.is_none()
    }

    /// Whether `text` holds a secret.
    pub fn finds(&self, text: &str) -> bool {
        let direct = |automaton: &AhoCorasick| automaton.is_match(text);
        self.automaton.as_ref().is_some_and(direct) || !self.hidden_otherwise(text).is_empty()
    }

    /// `text` without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(automaton) = &self.automaton else {
            return Cow::Borrowed(text);
        };
        let mut spans = self.hidden_otherwise(text);
        if automaton.is_match(text) {
            spans.extend(automaton.find_iter(text).map(|found| found.range()));
        }
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for span in merged(spans) {
            out.push_str(text.get(done..span.start).unwrap_or_default());
            out.push_str(MASK);
            done = span.end;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(out)
    }

    /// Where secrets are that do not stand in one piece: broken into lines, or cut off by `…`.
    fn hidden_otherwise(&self, text: &str) -> Vec<Range<usize>> {
        let mut spans = match &self.wrapped {
            Some(wrapped) if wrapped::may_be(text.as_bytes()) => {
                wrapped.look(text.as_bytes(), Before::NOTHING).spans
            }
            _ => Vec::new(),
        };
        for (end, _) in text.match_indices('…') {
            // Half a character stands before it where bytes were cut.
            let end = text[..end]
                .trim_end_matches(char::REPLACEMENT_CHARACTER)
                .len();
            let begin = self.open_from(&text.as_bytes()[..end], 0);
            if end - begin >= SHORTEST && text.is_char_boundary(begin) {
                spans.push(begin..end);
            }
        }
        spans
    }

    /// How much of `bytes`, which were cut off where they end, can be kept so that no secret is cut
    /// in two.
    pub fn whole(&self, bytes: &[u8]) -> usize {
        let looked = self
            .wrapped
            .as_ref()
            .map(|wrapped| wrapped.look(bytes, Before::NOTHING));
        let open = looked.and_then(|found| found.open.first().copied());
        self.open_from(bytes, 0).min(open.unwrap_or(bytes.len()))
    }

    /// `value` without secrets: texts and keys masked in place.
    pub fn value(&self, value: &mut Value) {
        if self.is_empty() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                if map.keys().any(|key| self.finds(key)) {
                    let old = std::mem::take(map);
                    map.extend(
                        old.into_iter()
                            .map(|(key, v)| (self.text(&key).into_owned(), v)),
                    );
                }
                map.values_mut().for_each(|v| self.value(v));
            }
            // A secret of digits may come back as a number.
            Value::Number(number) => {
                let text = number.to_string();
                if self.finds(&text) {
                    *value = Value::String(self.text(&text).into_owned());
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Outputs without secrets: one that holds a secret becomes a keyed digest of itself, so that a
    /// later run can tell whether it is the same without anybody reading it.
    pub fn outputs(&self, outputs: &mut Value) {
        if self.is_empty() {
            return;
        }
        let Value::Object(map) = outputs else {
            return self.value(outputs);
        };
        for value in map.values_mut() {
            if self.finds_in(value) {
                let digest = self.keyed_digest(value.to_string().as_bytes());
                *value = serde_json::json!({ "$redacted": digest });
            }
        }
    }

    /// Whether `value` holds a secret anywhere.
    pub fn finds_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.finds(text),
            Value::Array(items) => items.iter().any(|item| self.finds_in(item)),
            Value::Object(map) => map
                .iter()
                .any(|(key, v)| self.finds(key) || self.finds_in(v)),
            Value::Number(number) => self.finds(&number.to_string()),
            Value::Null | Value::Bool(_) => false,
        }
    }

    /// A keyed digest of `value` where it holds a secret; whatever else stands in records as it is.
    pub fn digest_of_secret(&self, value: &Value) -> Option<String> {
        self.finds_in(value)
            .then(|| self.keyed_digest(value.to_string().as_bytes()))
    }

    /// HMAC-SHA-256 of `bytes` under the state folder's key, as `hmac-sha256:<hex>`.
    pub fn keyed_digest(&self, bytes: &[u8]) -> String {
        let Ok(mut mac) = hmac::Hmac::<sha2::Sha256>::new_from_slice(&self.key) else {
            return "hmac-sha256:".to_owned();
        };
        mac.update(bytes);
        format!("hmac-sha256:{}", hex::encode(mac.finalize().into_bytes()))
    }

    /// Where at `from` or after it a secret may have begun in `bytes` that goes on after their end;
    /// their end, where none has.
    fn open_from(&self, bytes: &[u8], from: usize) -> usize {
        let mut open = open_in(&self.patterns, self.longest, bytes, from);
        open.next().unwrap_or(bytes.len())
    }

    /// A redactor of a stream that comes in chunks.
    pub fn stream(&self) -> StreamRedactor<'_> {
        StreamRedactor {
            redactor: self,
            held: Vec::new(),
            before: Before::NOTHING,
        }
    }
}

/// Spans in their order; those that overlap are one.
fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// Hides secrets in a stream, also those that lie across chunks.
pub struct StreamRedactor<'a> {
    redactor: &'a Redactor,
    held: Vec<u8>,
    before: Before,
}

impl std::fmt::Debug for StreamRedactor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamRedactor({} bytes held)", self.held.len())
    }
}

impl StreamRedactor<'_> {
    /// What of the stream is safe to pass on after `chunk`: all but a tail in which a secret may
    /// have begun.
    pub fn push<'c>(&mut self, chunk: &'c [u8]) -> Cow<'c, [u8]> {
        if self.redactor.automaton.is_none() {
            return Cow::Borrowed(chunk);
        }
        self.held.extend_from_slice(chunk);
        let (spans, open) = self.look();
        let redactor = self.redactor;
        let held = &self.held;
        let open_from = |from: usize| {
            let wrapped = open.iter().find(|at| **at >= from);
            let wrapped = wrapped.copied().unwrap_or(held.len());
            redactor.open_from(held, from).min(wrapped)
        };
        let mut out = Vec::with_capacity(held.len());
        let mut done = 0;
        let mut safe = open_from(0);
        for span in spans {
            // What begins in the tail may yet become a longer one.
            if span.start >= safe {
                break;
            }
            out.extend_from_slice(&held[done..span.start]);
            out.extend_from_slice(MASK.as_bytes());
            done = span.end;
            if done > safe {
                safe = open_from(done);
            }
        }
        if done < safe {
            out.extend_from_slice(&held[done..safe]);
            done = safe;
        }
        self.before = self.before.and(&held[..done]);
        self.held.drain(..done);
        Cow::Owned(out)
    }

    /// The rest, at the end of the stream.
    pub fn finish(self) -> Vec<u8> {
        if self.redactor.automaton.is_none() {
            return self.held;
        }
        let mut out = Vec::with_capacity(self.held.len());
        let mut done = 0;
        for span in self.look().0 {
            out.extend_from_slice(&self.held[done..span.start]);
            out.extend_from_slice(MASK.as_bytes());
            done = span.end;
        }
        out.extend_from_slice(&self.held[done..]);
        out
    }

    /// Where secrets are in what is held, and where one may have begun that is broken into lines.
    fn look(&self) -> (Vec<Range<usize>>, Vec<usize>) {
        let Some(automaton) = &self.redactor.automaton else {
            return (Vec::new(), Vec::new());
        };
        let wrapped = self.redactor.wrapped.as_ref();
        let Found {
            mut spans, open, ..
        } = wrapped.map_or_else(Found::default, |wrapped| {
            wrapped.look(&self.held, self.before)
        });
        spans.extend(automaton.find_iter(&self.held).map(|found| found.range()));
        (merged(spans), open)
    }
}

#[cfg(test)]
mod tests;

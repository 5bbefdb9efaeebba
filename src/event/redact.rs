//! Secrets out of everything that is printed or recorded.
//!
//! One automaton finds every secret in every encoding in one pass. It is applied where an event is
//! made and where a process's output is read, so that no sink ever sees a secret.

mod forms;

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use hmac::{KeyInit, Mac};
use serde_json::Value;

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
    key: Vec<u8>,
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
        for secret in secrets {
            forms::add(&mut patterns, secret);
        }
        patterns.sort();
        patterns.dedup();
        let all: usize = patterns.iter().map(Vec::len).sum();
        if all > largest {
            let cause = format!("their forms take {all} bytes, and {largest} is the most");
            return Err(RedactorError { cause });
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let automaton = if patterns.is_empty() {
            None
        } else {
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&patterns)
                .map_err(|error| RedactorError {
                    cause: error.to_string(),
                })?;
            Some(automaton)
        };
        Ok(Self {
            automaton,
            patterns,
            longest,
            key: key.to_vec(),
        })
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.automaton.is_none()
    }

    /// Whether `text` holds a secret.
    pub fn finds(&self, text: &str) -> bool {
        self.automaton
            .as_ref()
            .is_some_and(|automaton| automaton.is_match(text))
    }

    /// `text` without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.automaton {
            Some(automaton) if automaton.is_match(text) => {
                let mut out = String::with_capacity(text.len());
                automaton.replace_all_with(text, &mut out, |_, _, out| {
                    out.push_str(MASK);
                    true
                });
                Cow::Owned(out)
            }
            _ => Cow::Borrowed(text),
        }
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
        let first = from.max((bytes.len() + 1).saturating_sub(self.longest));
        let begun = (first..bytes.len()).find(|at| {
            let tail = &bytes[*at..];
            let next = self.patterns.partition_point(|p| p.as_slice() <= tail);
            self.patterns.get(next).is_some_and(|p| p.starts_with(tail))
        });
        begun.unwrap_or(bytes.len())
    }

    /// A redactor of a stream that comes in chunks.
    pub fn stream(&self) -> StreamRedactor<'_> {
        StreamRedactor {
            redactor: self,
            held: Vec::new(),
        }
    }
}

/// Hides secrets in a stream, also those that lie across chunks.
#[derive(Debug)]
pub struct StreamRedactor<'a> {
    redactor: &'a Redactor,
    held: Vec<u8>,
}

impl StreamRedactor<'_> {
    /// What of the stream is safe to pass on after `chunk`: all but a tail in which a secret may
    /// have begun.
    pub fn push<'c>(&mut self, chunk: &'c [u8]) -> Cow<'c, [u8]> {
        let Some(automaton) = &self.redactor.automaton else {
            return Cow::Borrowed(chunk);
        };
        self.held.extend_from_slice(chunk);
        let mut out = Vec::with_capacity(self.held.len());
        let mut done = 0;
        let mut safe = self.redactor.open_from(&self.held, 0);
        for found in automaton.find_iter(&self.held) {
            // A match that begins in the tail may yet become a longer one.
            if found.start() >= safe {
                break;
            }
            out.extend_from_slice(&self.held[done..found.start()]);
            out.extend_from_slice(MASK.as_bytes());
            done = found.end();
            if done > safe {
                safe = self.redactor.open_from(&self.held, done);
            }
        }
        if done < safe {
            out.extend_from_slice(&self.held[done..safe]);
            done = safe;
        }
        self.held.drain(..done);
        Cow::Owned(out)
    }

    /// The rest, at the end of the stream.
    pub fn finish(self) -> Vec<u8> {
        match &self.redactor.automaton {
            None => self.held,
            Some(automaton) => {
                let mut out = Vec::with_capacity(self.held.len());
                automaton.replace_all_with_bytes(&self.held, &mut out, |_, _, out| {
                    out.extend_from_slice(MASK.as_bytes());
                    true
                });
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::Redactor;

    const SECRET: &str = "s3cr3t/pa+ss'w\"ord";

    #[test]
    fn hides_every_encoding() {
        let redactor = Redactor::new([SECRET], b"key").unwrap();
        let b64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        for shown in [
            SECRET.to_owned(),
            hex::encode(SECRET),
            serde_json::to_string(SECRET).unwrap(),
            format!("'{}'", SECRET.replace('\'', "'\\''")),
            b64(&format!("a{SECRET}z")),
            b64(&format!("ab{SECRET}yz")),
            b64(&format!("abc{SECRET}xyz")),
            "s3cr3t%2Fpa%2Bss%27w%22ord".to_owned(),
        ] {
            assert!(redactor.text(&shown).contains("***"), "{shown}");
            assert!(!redactor.text(&shown).contains("3cr3t"), "{shown}");
        }
        assert_eq!(redactor.text("nothing here"), "nothing here");
    }

    const KEY: &str = "wJalrXUt/nFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY=";
    const SIGNS: &str = "k3y/+= va'";
    const UMLAUT: &str = "gr\u{fc}n\u{1f511}#\"&/x";

    #[test]
    fn hides_what_other_tools_make_of_it() {
        let redactor = Redactor::new([KEY, SIGNS, UMLAUT], b"key").unwrap();
        for shown in [
            // Python: `quote`, `quote(safe="")`, `quote_plus`, `json.dumps`, `shlex.quote`.
            r##"wJalrXUt/nFEMI%2BK7MDENG/bPxRfiCYEXAMPLEKEY%3D"##,
            r##"wJalrXUt%2FnFEMI%2BK7MDENG%2FbPxRfiCYEXAMPLEKEY%3D"##,
            r##"wJalrXUt/nFEMI%2bK7MDENG/bPxRfiCYEXAMPLEKEY%3d"##,
            r##"wJalrXUt/nFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY="##,
            r##"k3y/%2B%3D%20va%27"##,
            r##"k3y%2F%2B%3D%20va%27"##,
            r##"k3y%2F%2B%3D+va%27"##,
            r##"k3y/%2b%3d%20va%27"##,
            r##"k3y/+= va'"##,
            r##"gr%C3%BCn%F0%9F%94%91%23%22%26/x"##,
            r##"gr%C3%BCn%F0%9F%94%91%23%22%26%2Fx"##,
            r##"gr%c3%bcn%f0%9f%94%91%23%22%26/x"##,
            r##"gr\u00fcn\ud83d\udd11#\"&/x"##,
            r##"k3y/+= va'"'"'"##,
            // JavaScript: `encodeURIComponent`, `encodeURI`; a form.
            r##"k3y%2F%2B%3D%20va'"##,
            r##"gr%C3%BCn%F0%9F%94%91%23%22%26%2Fx"##,
            r##"k3y/+=%20va'"##,
            r##"gr%C3%BCn%F0%9F%94%91#%22&/x"##,
            r##"k3y%2F%2B%3D+va%27"##,
            // JSON as PHP and .NET write it.
            r##"wJalrXUt\/nFEMI+K7MDENG\/bPxRfiCYEXAMPLEKEY="##,
            r##"k3y\/+= va'"##,
            r##"gr\u00fcn\ud83d\udd11#\"&\/x"##,
            r##"gr\u00FCn\uD83D\uDD11#\u0022\u0026/x"##,
            r##"k3y/\u002B= va\u0027"##,
            // `od -tx1`, `openssl`, `xxd` at an even and an odd place, a shell's `$'...'`.
            r##"6b 33 79 2f 2b 3d 20 76 61 27"##,
            r##"6B:33:79:2F:2B:3D:20:76:61:27"##,
            r##"6b33 792f 2b3d 2076 6127"##,
            r##"6b 3379 2f2b 3d20 7661 27"##,
            r##"k3y/+= va\'"##,
            // SQL, `printf %q`, the name of a host.
            r##"k3y/+= va''"##,
            r##"k3y/+=\ va\'"##,
            r##"wjalrxut/nfemi+k7mdeng/bpxrficyexamplekey="##,
        ] {
            assert_eq!(redactor.text(&format!("<{shown}>")), "<***>", "{shown}");
        }
    }

    #[test]
    fn hides_what_a_url_makes_of_it() {
        let redactor = Redactor::new([KEY, SIGNS, UMLAUT], b"key").unwrap();
        for secret in [KEY, SIGNS, UMLAUT] {
            let mut url = reqwest::Url::parse("http://h/").unwrap();
            url.query_pairs_mut().append_pair("k", secret);
            assert_eq!(redactor.text(url.as_str()), "http://h/?k=***");
            url.set_query(Some(secret));
            assert_eq!(redactor.text(url.as_str()), "http://h/?***");
            url.set_query(None);
            url.set_password(Some(secret)).unwrap();
            assert_eq!(redactor.text(url.as_str()), "http://:***@h/");
            url.set_password(None).unwrap();
            url.set_fragment(Some(secret));
            assert_eq!(redactor.text(url.as_str()), "http://h/#***");
            url.set_fragment(None);
            url.set_path(secret);
            assert_eq!(redactor.text(url.as_str()), "http://h/***");
            url.path_segments_mut().unwrap().clear().push(secret);
            assert_eq!(redactor.text(url.as_str()), "http://h/***");
        }
    }

    #[test]
    fn what_cannot_be_hidden_is_an_error() {
        let error = Redactor::within(100, [KEY], b"key").unwrap_err();
        assert!(error.to_string().contains("and 100 is the most"), "{error}");
        assert!(!error.to_string().contains("wJal"));
    }

    #[test]
    fn a_stream_holds_back_only_what_may_be_a_secret() {
        let long = format!("{KEY}\n").repeat(40);
        let redactor = Redactor::new([&*long, SIGNS], b"key").unwrap();
        let mut stream = redactor.stream();
        assert_eq!(*stream.push(b"one\ntwo: wJal"), *b"one\ntwo: ");
        assert_eq!(*stream.push(b"k3"), *b"wJal");
        assert_eq!(*stream.push(b"y/+= va'\n"), *b"***\n");
        assert!(!format!("{redactor:?}").contains("k3y"));
    }

    proptest! {
        #[test]
        fn a_stream_hides_what_the_whole_hides(
            before in "[a-z ]{0,40}", after in "[a-z ]{0,40}", alike in "[a-d]{0,60}", sizes in prop::collection::vec(1usize..9, 1..40),
        ) {
            let secrets = [SECRET, "other secret", "aaab", "aaabaaac", "baaa", "abcabcabd"];
            let redactor = Redactor::new(secrets, b"key").unwrap();
            let text = format!("{before}{SECRET}{after}other secret{before}{alike}");
            let mut stream = redactor.stream();
            let mut out = Vec::new();
            let mut rest = text.as_bytes();
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, more) = rest.split_at((*size).min(rest.len()));
                out.extend_from_slice(&stream.push(chunk));
                rest = more;
            }
            out.extend(stream.finish());
            prop_assert_eq!(String::from_utf8(out).unwrap(), redactor.text(&text).into_owned());
        }
    }
}

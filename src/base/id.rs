//! Names of runs and steps.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The id of a step: `[a-z][a-z0-9_]{0,39}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(Arc<str>);

impl StepId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 40;

    /// `text` as an id, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let first = text.bytes().next()?;
        let rest_fits = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        (first.is_ascii_lowercase() && rest_fits && text.len() <= Self::MAX_LEN)
            .then(|| Self(text.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for StepId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Ids are written as text, and what is read must have their shape: paths are made of them.
macro_rules! as_text {
    ($id:ident, $parse:path, $shape:literal) => {
        impl Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!(concat!("`{}` is not ", $shape), text))
                })
            }
        }
    };
}

as_text!(StepId, StepId::new, "a step's id ([a-z][a-z0-9_]{{0,39}})");
as_text!(
    RunId,
    RunId::parse,
    "a run's id (16 characters of [a-z0-9])"
);

/// Where in a run something happened: a step, or one item of a `foreach` step (`reindex[3]`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepPath {
    /// The step.
    pub step: StepId,
    /// The item's index, counted from 0, in a `foreach` step.
    pub item: Option<u32>,
}

impl StepPath {
    /// The step as a whole.
    pub fn step(step: StepId) -> Self {
        Self { step, item: None }
    }

    /// Item `index` of `step`.
    pub fn item(step: StepId, index: u32) -> Self {
        Self {
            step,
            item: Some(index),
        }
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            None => f.write_str(self.step.as_str()),
            Some(index) => write!(f, "{}[{index}]", self.step),
        }
    }
}

/// Why a text is no step path.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no step; write an id, or `id[index]` for one item of a foreach")]
pub struct ParsePathError(String);

impl FromStr for StepPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParsePathError(text.to_owned());
        let (id, item) = match text.split_once('[') {
            None => (text, None),
            Some((id, rest)) => {
                let digits = rest.strip_suffix(']').ok_or_else(wrong)?;
                let index: u32 = digits.parse().map_err(|_| wrong())?;
                // One way to write it: no sign, no zeros in front.
                if index.to_string() != digits {
                    return Err(wrong());
                }
                (id, Some(index))
            }
        };
        Ok(Self {
            step: StepId::new(id).ok_or_else(wrong)?,
            item,
        })
    }
}

impl Serialize for StepPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The id of a run: 16 characters of `[a-z0-9]` that sort by the time of the start.
///
/// Nine characters are the milliseconds since 1970 in base 36 (enough until the year 5188), seven
/// are random, so that runs which start in the same millisecond differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Arc<str>);

impl RunId {
    const TIME_CHARS: usize = 9;
    const RANDOM_CHARS: usize = 7;

    /// An id from a time and random bits.
    pub fn from_parts(millis: u64, random: u64) -> Self {
        let mut text = String::with_capacity(Self::TIME_CHARS + Self::RANDOM_CHARS);
        push_base36(&mut text, millis, Self::TIME_CHARS);
        push_base36(&mut text, random, Self::RANDOM_CHARS);
        Self(text.into())
    }

    /// `text` as an id, if it has the shape of one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == Self::TIME_CHARS + Self::RANDOM_CHARS
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        fits.then(|| Self(text.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn push_base36(text: &mut String, mut value: u64, width: usize) {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = vec![b'0'; width];
    for slot in digits.iter_mut().rev() {
        *slot = DIGITS[(value % 36) as usize];
        value /= 36;
    }
    text.extend(digits.into_iter().map(char::from));
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{RunId, StepId, StepPath};

    #[test]
    fn run_ids_sort_by_time() {
        let early = RunId::from_parts(1_795_000_000_000, u64::MAX);
        let late = RunId::from_parts(1_795_000_000_001, 0);
        assert!(early < late);
        assert_eq!(late.as_str().len(), 16);
        assert_eq!(RunId::parse(late.as_str()), Some(late));
    }

    #[test]
    fn only_what_has_their_shape_is_read_as_an_id() {
        let read = |text: &str| serde_json::from_str::<RunId>(text);
        let id = RunId::from_parts(1, 1);
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(read(&text).unwrap(), id);
        let error = read("\"../../../../etc\"").unwrap_err().to_string();
        assert!(
            error.contains("`../../../../etc` is not a run's id (16"),
            "{error}"
        );
        let error = serde_json::from_str::<StepId>("\"a/b\"").unwrap_err();
        assert!(
            error.to_string().contains("[a-z][a-z0-9_]{0,39}"),
            "{error}"
        );
    }

    #[test]
    fn step_ids_have_a_shape() {
        for good in ["a", "disk_root", "x9"] {
            assert!(StepId::new(good).is_some(), "{good}");
        }
        for bad in ["", "9a", "A", "a-b", "a.b", "_a", &"a".repeat(41)] {
            assert!(StepId::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn paths_read_what_they_write() {
        for text in ["reindex", "reindex[3]"] {
            assert_eq!(text.parse::<StepPath>().unwrap().to_string(), text);
        }
        for text in ["", "a[", "a[]", "a[x]", "a[+3]", "a[03]", "a[1]]", "A"] {
            assert!(text.parse::<StepPath>().is_err(), "{text}");
        }
    }
}

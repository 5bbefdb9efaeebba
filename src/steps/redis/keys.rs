//! What the types that remove keys have in common: which keys are meant, in how many portions, and
//! what is refused before anything is removed.

use std::collections::BTreeSet;

use serde_json::{Map, json};

use super::asking::check_timeout;
use crate::base::Duration;
use crate::base::count::{count, plural};
use crate::host::Scope;
use crate::host::connect::redis::RedisObserve;
use crate::host::net::Allowance;
use crate::host::reach::ReachError;
use crate::step::{Change, StepError};

/// How many keys a SCAN looks at in one go: less than a millisecond of the server's one thread.
const SCANNED: u32 = 1000;

/// How many keys are asked about in one go.
pub(super) const ASKED: usize = 1000;

/// How many of the keys a preview lists.
const LISTED: usize = 20;

/// How many keys may be removed, unless told otherwise.
pub(super) fn ten_thousand() -> u64 {
    10_000
}

/// How long each answer may take.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a> {
    pub(super) scope: &'a Scope,
    pub(super) limit: Duration,
}

impl Pace<'_> {
    /// For the next answer.
    pub(super) fn next(self) -> Allowance {
        self.scope.allow(self.limit)
    }
}

/// Whether the limits leave anything to do.
pub(super) fn check_limits(max: u64, timeout: Duration) -> Result<(), String> {
    check_timeout(timeout)?;
    match max {
        0 => Err("`max` is 0, so that nothing could be removed".to_owned()),
        _ => Ok(()),
    }
}

/// Whether a pattern means some keys, or all of them is what is meant.
pub(super) fn check_pattern(pattern: &str, all: bool) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("`pattern` is empty".to_owned());
    }
    if !all && is_for_everything(pattern) {
        return Err(format!(
            "`pattern: {pattern}` matches every key there is, or nearly so: say `all: true` where that is \
             meant"
        ));
    }
    Ok(())
}

/// Whether a pattern leaves nearly nothing out: it has no character that must be there, or only such as
/// stand between the parts of every name, somewhere in the middle. A class (`[a-z]`) does not count.
/// Patterns are those of `stringmatchlen` in Redis' `util.c`.
fn is_for_everything(pattern: &str) -> bool {
    let mut literals = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' | '?' => {}
            '\\' => literals.push(rest.next().unwrap_or('\\')),
            '[' => {
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        ']' => break,
                        _ => {}
                    }
                }
            }
            c => literals.push(c),
        }
    }
    let wild = |c: Option<char>| matches!(c, Some('*' | '?' | '['));
    let between = wild(pattern.chars().next()) && wild(pattern.chars().last());
    let separates = |c: char| c.is_ascii_punctuation() || c == ' ';
    literals.is_empty() || (between && literals.chars().all(separates))
}

/// The keys that `pattern` matches and that `keep` keeps, each once; with more than `max` of them, no
/// more than one above that.
pub(super) async fn matching(
    session: &RedisObserve<'_>,
    pattern: &str,
    max: u64,
    pace: Pace<'_>,
    keep: impl AsyncFn(Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, ReachError>,
) -> Result<BTreeSet<Vec<u8>>, ReachError> {
    let mut keys = BTreeSet::new();
    let mut cursor = 0;
    loop {
        let page = session.scan(cursor, pattern, SCANNED, pace.next()).await?;
        for key in keep(page.found).await? {
            keys.insert(key);
            if over(keys.len(), max) {
                return Ok(keys);
            }
        }
        cursor = page.cursor;
        if cursor == 0 {
            return Ok(keys);
        }
    }
}

fn over(found: usize, max: u64) -> bool {
    u64::try_from(found).unwrap_or(u64::MAX) > max
}

/// Refuses to begin where there are too many.
pub(super) fn not_too_many(found: usize, max: u64, what: &str) -> Result<(), StepError> {
    if !over(found, max) {
        return Ok(());
    }
    let message = format!("more than {} {what}: nothing was removed", plural_keys(max));
    Err(StepError::permanent(message)
        .with_help("raise `max` where that many are meant, or narrow down which keys are"))
}

fn plural_keys(number: u64) -> String {
    match usize::try_from(number) {
        Ok(number) => plural(number, "key"),
        Err(_) => format!("{} keys", count(number)),
    }
}

/// What it means to remove `keys`, which are those that `what`.
pub(super) async fn removal(
    session: &RedisObserve<'_>,
    keys: &BTreeSet<Vec<u8>>,
    what: &str,
    pace: Pace<'_>,
) -> Result<Change, ReachError> {
    let all = session.key_count(pace.next()).await?;
    let summary = format!(
        "remove {} that {what} from database {} at {}, which has {}",
        plural(keys.len(), "key"),
        session.database(),
        session.shown(),
        count(all),
    );
    Ok(Change {
        summary,
        counts: Map::from_iter([("keys".to_owned(), json!(keys.len()))]),
        items: listed(keys),
        ..Change::default()
    })
}

/// The first keys of all that would be removed, for people.
fn listed(keys: &BTreeSet<Vec<u8>>) -> Vec<String> {
    let more = keys.len().saturating_sub(LISTED);
    let mut items: Vec<String> = keys.iter().take(LISTED).map(|key| shown(key)).collect();
    if more > 0 {
        items.push(format!("… and {} more", count(more)));
    }
    items
}

/// Bytes for people, on one line and with nothing hidden: `a\n`, `\xff`.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{is_for_everything, listed, not_too_many, shown};

    #[test]
    fn patterns_for_everything_are_known() {
        for pattern in [
            "*", "**", "?*", "*?", "??*", "[^x]*", "[a-z]*", "*[*]*", "*:*", "[\\]a]*", "*\\**",
            "[ab",
        ] {
            assert!(is_for_everything(pattern), "{pattern}");
        }
        for pattern in [
            "session:*",
            "*:session",
            "_*",
            ":1:*",
            "x",
            "\\*",
            "a[bc]?",
            "*é*",
            "[s]ession*",
        ] {
            assert!(!is_for_everything(pattern), "{pattern}");
        }
    }

    #[test]
    fn the_limit_itself_is_not_too_many() {
        assert!(not_too_many(10, 10, "match").is_ok());
        let error = not_too_many(11, 10, "match `x*`").unwrap_err();
        assert_eq!(
            error.message,
            "more than 10 keys match `x*`: nothing was removed"
        );
    }

    #[test]
    fn keys_are_shown_on_one_line() {
        assert_eq!(shown(b"a\nb\\\x00\xff\xc3\xa9"), "a\\nb\\\\\\u{0}\\xffé");
        let items = listed(&(0..25).map(|n| vec![b'a' + n]).collect());
        assert_eq!((items.len(), items[20].as_str()), (21, "… and 5 more"));
    }
}

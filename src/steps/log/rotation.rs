//! Which files beside a log are its older parts, and in which order.
//!
//! The names are logrotate's (`app.log.1`, `app.log.2.gz`, `app.log-20260705.zst`, and with
//! `extension` `app.1.log`) and those of the loggers that rotate by themselves (Python's
//! `app.log.2026-07-05`, Logback's `app.2026-07-05.0.log.gz`).

use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// The endings of compressed files. Some cannot be read here, which must be said, not passed over.
const COMPRESSED: [&[u8]; 6] = [b".gz", b".zst", b".xz", b".bz2", b".lz4", b".Z"];

/// Where a part belongs, from old to new.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    /// The numbers of its date, and what counts on behind it.
    Date(Vec<u64>),
    /// Its number: the higher the older.
    Number(Reverse<u64>),
}

/// The older parts of the log `base` among the `names` in its folder, oldest first.
///
/// Of a part that is there twice, plain and compressed, only the plain one: it is being compressed.
pub fn older_parts(base: &OsStr, names: &[OsString]) -> Vec<OsString> {
    let mut parts: Vec<(Age, bool, &OsString)> = names
        .iter()
        .filter_map(|name| {
            let (stem, compressed) = without_compression(name.as_bytes());
            Some((age(base.as_bytes(), stem)?, compressed, name))
        })
        .collect();
    parts.sort();
    parts.dedup_by(|later, earlier| later.0 == earlier.0);
    parts.into_iter().map(|(_, _, name)| name.clone()).collect()
}

/// `name` without the ending that says how it is compressed, and whether there was one.
fn without_compression(name: &[u8]) -> (&[u8], bool) {
    let stem = COMPRESSED
        .iter()
        .find_map(|ending| name.strip_suffix(*ending));
    (stem.unwrap_or(name), stem.is_some())
}

/// The age that `name` says it has, if it is that of an older part of `base`.
fn age(base: &[u8], name: &[u8]) -> Option<Age> {
    if let Some(tag) = name.strip_prefix(base) {
        return age_of_tag(tag);
    }
    // `app.log` -> `app`, `.log`
    let dot = base.iter().rposition(|b| *b == b'.').filter(|at| *at > 0)?;
    let (root, extension) = base.split_at(dot);
    age_of_tag(name.strip_prefix(root)?.strip_suffix(extension)?)
}

/// `.1`, `-20260705`, `.2026-07-05_12`. A number alone needs the dot: `worker-2.log` is a log of its
/// own.
fn age_of_tag(tag: &[u8]) -> Option<Age> {
    let (separator, tag) = tag.split_first()?;
    if !b".-_".contains(separator) || !tag.first()?.is_ascii_digit() {
        return None;
    }
    let mut numbers = Vec::new();
    for group in tag.split(|b| b".-_T:".contains(b)) {
        // An empty group is no number either.
        numbers.push(std::str::from_utf8(group).ok()?.parse::<u64>().ok()?);
    }
    let digits = tag.iter().filter(|b| b.is_ascii_digit()).count();
    match numbers.as_slice() {
        [number] if digits <= 5 => (*separator == b'.').then_some(Age::Number(Reverse(*number))),
        // A year and a month at least.
        _ if digits >= 6 && numbers[0] >= 1970 => Some(Age::Date(numbers)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};

    use super::older_parts;

    fn parts(base: &str, names: &[&str]) -> Vec<String> {
        let names: Vec<OsString> = names.iter().map(Into::into).collect();
        let parts = older_parts(OsStr::new(base), &names);
        parts
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect()
    }

    #[test]
    fn oldest_first() {
        let names = [
            "app.log",
            "app.log.1",
            "app.log.10.gz",
            "app.log.2.gz",
            "app.log.3.zst",
        ];
        let expected = [
            "app.log.10.gz",
            "app.log.3.zst",
            "app.log.2.gz",
            "app.log.1",
        ];
        assert_eq!(parts("app.log", &names), expected);
        let names = ["a.log-20260706", "a.log-20260704.gz", "a.log-20260705.zst"];
        let expected = ["a.log-20260704.gz", "a.log-20260705.zst", "a.log-20260706"];
        assert_eq!(parts("a.log", &names), expected);
        let names = [
            "a.2026-07-05.10.log",
            "a.2026-07-05.9.log.gz",
            "a-20250101.log",
            "a.1.log",
        ];
        let expected = [
            "a.2026-07-05.9.log.gz",
            "a.2026-07-05.10.log",
            "a-20250101.log",
            "a.1.log",
        ];
        assert_eq!(parts("a.log", &names), expected);
        let names = ["a.log.2026-07-05_12", "a.log.2026-07-05", "a.log.2026-07"];
        let expected = ["a.log.2026-07", "a.log.2026-07-05", "a.log.2026-07-05_12"];
        assert_eq!(parts("a.log", &names), expected);
    }

    #[test]
    fn nothing_else() {
        let names = [
            "app.log",
            "app.log.bak",
            "app.log.1~",
            "app.log.",
            "app.log.1.tmp",
            "app.logs.1",
            "my-app.log.1",
            "app-2.log",
            "app.log-2",
            "app.log.2.gz.sha256",
            "app",
            "app.",
            "app.gz",
            "app.log..1",
            "app.log.1.2",
            "app.log.99999999999999999999999",
        ];
        assert_eq!(parts("app.log", &names), [""; 0]);
        assert_eq!(parts("app", &["app.1", "app.log"]), ["app.1"]);
    }

    #[test]
    fn a_part_that_is_being_compressed_comes_once() {
        let names = ["app.log.1.gz", "app.log.1", "app.log.2.zst", "app.log.2.gz"];
        assert_eq!(parts("app.log", &names), ["app.log.2.gz", "app.log.1"]);
    }
}

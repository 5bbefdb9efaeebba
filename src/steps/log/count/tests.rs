//! Counting comes to the same as looking at one line after another, whatever the bytes and the
//! buffers.

use std::io::Read;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;

use super::{Counted, Counter, Hit, Query, shown};
use crate::steps::log::lines::Sizes;
use crate::steps::log::matcher::Matcher;
use crate::steps::log::stamp::{Custom, Stamps};

const NOW: &str = "2026-11-24T04:00:00Z";

/// Gives no more than `most` bytes at once.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = self.1.min(buffer.len());
        self.0.read(&mut buffer[..most])
    }
}

fn count(
    text: &[u8],
    pattern: &str,
    since: Option<Timestamp>,
    sizes: Sizes,
    most: usize,
) -> (Counted, Vec<Hit>) {
    let query = Query {
        matcher: Matcher::new(pattern, false).unwrap(),
        stamps: Stamps::new(NOW.parse().unwrap(), TimeZone::UTC, Custom::default()),
        since,
        keep: 3,
        sizes,
    };
    let mut counter = Counter::new(&query);
    let (counted, ended) = counter.stream(Slow(text, most), true, || true);
    ended.unwrap();
    (counted, counter.last.into())
}

/// The lines of a text, without their ends.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
    if lines.last() == Some(&&b""[..]) {
        lines.pop();
    }
    let without_return = |line| <[u8]>::strip_suffix(line, b"\r").unwrap_or(line);
    lines.into_iter().map(without_return).collect()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop_oneof![Just(b'a'), Just(b'b'), Just(b' ')],
        2 => Just(b'\n'),
        1 => Just(b'\r'),
        1 => any::<u8>(),
    ];
    proptest::collection::vec(byte, 0..200)
}

/// Patterns that could see more than one line, or nothing of one.
const PATTERNS: [&str; 15] = [
    "ab",
    "a.*b",
    "^a",
    "b$",
    "^$",
    "^ *$",
    "[^a]b",
    r"\bab?\b",
    "a|b",
    r"a\s+b",
    r"\S+b",
    "(?i)AB",
    r"\Ab",
    r"(?-m)a$",
    "(a|^)(b|$)",
];

proptest! {
    #[test]
    fn counts_what_matches_line_by_line(
        text in bytes(),
        pattern in proptest::sample::select(PATTERNS.as_slice()),
        buffer in 1..50_usize,
        most in 1..100_usize,
    ) {
        // The library takes a stray continuation byte behind a word for a part of the word.
        let mask = if pattern.contains(r"\b") { 0x7F } else { 0xFF };
        let text: Vec<u8> = text.into_iter().map(|byte| byte & mask).collect();
        let sizes = Sizes { buffer, longest: 1000, overlap: 1 };
        let (counted, last) = count(&text, pattern, None, sizes, most);
        let regex = regex::Regex::new(pattern).unwrap();
        let all = lines(&text);
        let matching: Vec<(u64, &[u8])> = (1..)
            .zip(all.iter().copied())
            .filter(|(_, line)| regex.is_match(&String::from_utf8_lossy(line)))
            .collect();
        prop_assert_eq!(counted.count, matching.len() as u64);
        prop_assert_eq!(counted.lines, Some(all.len() as u64));
        prop_assert_eq!(counted.bytes, text.len() as u64);
        let skipped = matching.len().saturating_sub(3);
        let expected: Vec<(Option<u64>, String)> = matching[skipped..]
            .iter()
            .map(|(number, line)| (Some(*number), shown(line)))
            .collect();
        let last: Vec<_> = last.into_iter().map(|hit| (hit.line, hit.text)).collect();
        prop_assert_eq!(last, expected);
    }

    #[test]
    fn lines_longer_than_any_buffer_are_lines_too(
        text in bytes(),
        pattern in proptest::sample::select(["ab", "a|b", "^a", "b$", "^$"].as_slice()),
        buffer in 5..9_usize,
        more in 0..6_usize,
        most in 1..100_usize,
    ) {
        let sizes = Sizes { buffer, longest: buffer + more, overlap: 4 };
        let (counted, last) = count(&text, pattern, None, sizes, most);
        let regex = regex::bytes::Regex::new(pattern).unwrap();
        let all = lines(&text);
        let matching: Vec<u64> = (1..)
            .zip(all.iter().copied())
            .filter(|(_, line)| regex.is_match(line))
            .map(|(number, _)| number)
            .collect();
        prop_assert_eq!(counted.count, matching.len() as u64);
        prop_assert_eq!(counted.lines, Some(all.len() as u64));
        let numbers: Vec<u64> = last.into_iter().filter_map(|hit| hit.line).collect();
        prop_assert_eq!(numbers.as_slice(), &matching[matching.len().saturating_sub(3)..]);
    }

    #[test]
    fn a_line_is_as_old_as_the_last_stamp_before_it(
        parts in proptest::collection::vec((proptest::option::of(0..100_i64), any::<bool>()), 0..40),
        buffer in 40..200_usize,
        most in 1..300_usize,
        window in 0..100_i64,
    ) {
        let now: Timestamp = NOW.parse().unwrap();
        let since = now - window.minutes();
        // The first line tells its time: what comes before the first stamp is another test.
        let mut text = format!("{now:.0} begins\n");
        let (mut last, mut expected, mut times) = (now, 0, Vec::new());
        for (minutes, matches) in parts {
            if let Some(minutes) = minutes {
                last = now - minutes.minutes();
                text += &format!("{last:.3} ");
            } else {
                text += "Caused by: ";
            }
            text += if matches { "ERROR\n" } else { "fine\n" };
            if matches && last >= since {
                expected += 1;
                times.push(Some(last));
            }
        }
        let sizes = Sizes { buffer, longest: 1000, overlap: 1 };
        let (counted, hits) = count(text.as_bytes(), "ERROR", Some(since), sizes, most);
        prop_assert_eq!((counted.count, counted.undated, counted.dated), (expected, 0, true));
        let hits: Vec<Option<Timestamp>> = hits.into_iter().map(|hit| hit.time).collect();
        prop_assert_eq!(hits.as_slice(), &times[times.len().saturating_sub(3)..]);
    }
}

#[test]
fn what_stands_before_the_first_stamp_is_as_old_as_that() {
    let now: Timestamp = NOW.parse().unwrap();
    let text = format!("ERROR 1\n{:.0} ERROR 2\n", now - 30.minutes());
    let counted = |minutes: i64| {
        let since = Some(now - minutes.minutes());
        count(text.as_bytes(), "ERROR", since, Sizes::USUAL, 1000).0
    };
    assert_eq!((counted(20).count, counted(20).undated), (0, 0));
    assert_eq!((counted(40).count, counted(40).undated), (2, 0));
}

#[test]
fn a_stream_goes_on_with_the_one_before() {
    let now: Timestamp = NOW.parse().unwrap();
    let query = Query {
        matcher: Matcher::new("ERROR", false).unwrap(),
        stamps: Stamps::new(now, TimeZone::UTC, Custom::default()),
        since: Some(now - 1.hour()),
        keep: 3,
        sizes: Sizes::USUAL,
    };
    let old = format!("{:.0} ERROR\n", now - 2.hours());
    let new = format!("ERROR goes on\n{:.0} fine\n", now);
    let mut counter = Counter::new(&query);
    let mut count = |text: &str| counter.stream(text.as_bytes(), false, || true).0.count;
    assert_eq!((count(&old), count(&new)), (0, 0));
    counter.break_off();
    let (counted, _) = counter.stream(new.as_bytes(), false, || true);
    assert_eq!((counted.count, counted.lines), (1, None));
}

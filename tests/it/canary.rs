//! Secrets are nowhere: hundreds of them, in every form that common tools make of a text, are printed
//! in pieces by a real step, and are in nothing that the engine puts out.
//!
//! What makes the forms (`canary/print.py`) and what looks for them know nothing of the redactor:
//! every secret has a number in it, and that is looked for.

mod outputs;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use runbook::event::Redactor;

use crate::support::process::{self, Running};

/// How many secrets there are.
const COUNT: usize = 200;

const PRINT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/canary/print.py");

/// The forms that `print.py` knows.
const FORMS: &[&str] = &[
    "raw",
    "lines",
    "base64",
    "base64url",
    "hex",
    "HEX",
    "hex pairs",
    "percent",
    "percent path",
    "form",
    "json",
    "json utf-8",
    "shell",
    "sql",
    "html",
    "xml",
    "python",
    "base64 at 76",
    "base64 at 64, CRLF",
    "base64, indented",
    "hex at 60",
    "quoted-printable",
    "xxd",
    "hexdump",
    "od",
];

/// The number within a secret.
fn tag(number: usize) -> String {
    (7_135_791 + number * 7919).to_string()
}

/// Secrets with all that makes trouble: quotes, signs, line breaks, other alphabets; short and long;
/// some begin like others.
fn secrets() -> Vec<String> {
    let make = |number: usize| {
        let tag = tag(number);
        match number % 12 {
            0 if number > 0 => format!("plain{}-{tag}", self::tag(number - 1)),
            0 => format!("plain{tag}"),
            1 => format!("it's \"q\" {tag}'\""),
            2 => format!("100%25 {tag} %s%%"),
            3 => format!("gr\u{fc}n\u{1f511}{tag}\u{df}"),
            4 => format!("-----BEGIN-----\nline {tag} one\nline {tag} two+/==\n-----END-----"),
            5 => format!("<a href=\"{tag}\">&amp;</a>"),
            6 => format!("C:\\{tag}\\new\\table"),
            7 => format!("$HOME`{tag}`${{x}};|&"),
            8 => format!("{tag}=={tag}==/+"),
            9 => format!("{{\"k\":\"{tag}\"}}"),
            10 => tag,
            _ => format!("plain{tag}{}", "long.Word-".repeat(30)),
        }
    };
    (0..COUNT).map(make).collect()
}

/// Looks for the numbers of secrets.
struct Search {
    automaton: AhoCorasick,
    /// Of each pattern, whose it is.
    owners: Vec<usize>,
    /// Of each pattern, whether it is the number in hex.
    is_hex: Vec<bool>,
}

impl Search {
    fn new() -> Search {
        let (mut patterns, mut owners) = (Vec::new(), Vec::new());
        for number in 0..COUNT {
            let tag = tag(number);
            let mut add = |pattern: String| {
                patterns.push(pattern);
                owners.push(number);
            };
            for offset in 0..3 {
                let padded = format!("{}{tag}", "x".repeat(offset));
                let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(padded);
                // Without the characters that depend on what stands around.
                let (begin, end) = ((offset * 8).div_ceil(6), (offset + tag.len()) * 8 / 6);
                add(text[begin..end].to_owned());
            }
            add(hex::encode(&tag));
            add(tag);
        }
        let is_hex = patterns.iter().enumerate().map(|(at, _)| at % 5 == 3);
        let is_hex = is_hex.collect();
        let automaton = AhoCorasick::new(patterns).unwrap();
        Search {
            automaton,
            owners,
            is_hex,
        }
    }

    /// The numbers of the secrets that `text` shows, however its lines are broken.
    fn shown(&self, text: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (at, reading) in readings(text).into_iter().enumerate() {
            // Of digits that are put together, some are the number by chance: there it counts in hex.
            let only_hex = matches!(at, 2 | 3);
            let all = self.automaton.find_overlapping_iter(&reading);
            let all = all.map(|found| found.pattern().as_usize());
            let all = all.filter(|pattern| !only_hex || self.is_hex[*pattern]);
            found.extend(all.map(|pattern| self.owners[pattern]));
        }
        found
    }
}

/// A text as it is, without its line breaks, without all that stands between digits, and the two
/// columns of a dump, each put together.
fn readings(text: &[u8]) -> [Vec<u8>; 5] {
    let lines = || {
        text.split(|byte| *byte == b'\n')
            .map(|line| line.trim_ascii())
    };
    let joined = lines()
        .flat_map(|line| line.strip_suffix(b"=").unwrap_or(line))
        .copied();
    let digits = text
        .iter()
        .filter(|byte| !b" :\r\n".contains(byte))
        .copied();
    let dump = |line: &[u8]| {
        let offset = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if offset < 7 {
            0
        } else {
            (offset + 1).min(line.len())
        }
    };
    let bytes = lines().flat_map(move |line| {
        let rest = line[dump(line)..]
            .split(|byte| *byte == b'|')
            .next()
            .unwrap_or_default();
        let rest = &rest[..rest
            .windows(2)
            .position(|two| two == b"  " && line.get(8) == Some(&b':'))
            .unwrap_or(rest.len())];
        rest.iter().filter(|byte| byte.is_ascii_hexdigit()).copied()
    });
    let beside = lines().flat_map(|line| {
        let line = line.strip_suffix(b"|").unwrap_or(line);
        line[line.len().saturating_sub(16)..].iter().copied()
    });
    [
        text.to_vec(),
        joined.collect(),
        digits.collect(),
        bytes.collect(),
        beside.collect(),
    ]
}

/// What `print.py` writes, unredacted.
fn printed(secrets: &[String], args: &[&str]) -> Vec<u8> {
    let mut command = Command::new(process::program("python3", "python3"));
    command.arg(PRINT).arg(secrets.len().to_string()).args(args);
    for (number, secret) in secrets.iter().enumerate() {
        command.env(format!("S{number}"), secret);
    }
    let output = Running::start(command, b"").finish(Duration::from_secs(60));
    output.expect_code(0).stdout.clone().into_bytes()
}

/// The control: of each form, every secret is found.
#[test]
fn the_search_finds_each_form_of_each_secret() {
    let (secrets, search) = (secrets(), Search::new());
    for form in FORMS {
        let found = search.shown(&printed(&secrets, &["1", form]));
        let missed: Vec<&String> = (0..COUNT)
            .filter(|n| !found.contains(n))
            .map(|n| &secrets[n])
            .collect();
        assert!(missed.is_empty(), "{form}: {missed:#?}");
    }
}

#[test]
fn each_form_is_hidden_in_a_stream_cut_anywhere() {
    // `RUNBOOK_TEST_CANARIES=1000` for a longer look.
    let rounds = std::env::var("RUNBOOK_TEST_CANARIES").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let (secrets, search) = (secrets(), Search::new());
    let redactor = Redactor::new(secrets.iter().map(String::as_str), b"key").unwrap();
    let config = Config {
        cases: rounds,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let rounds = (
        any::<u32>(),
        prop::collection::vec(prop_oneof![1usize..40, 1usize..4000], 1..50),
    );
    let result = TestRunner::new(config).run(&rounds, |(seed, sizes)| {
        for form in FORMS {
            let text = printed(&secrets, &[&seed.to_string(), form]);
            let mut stream = redactor.stream();
            let (mut out, mut rest) = (Vec::new(), &text[..]);
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, more) = rest.split_at((*size).min(rest.len()));
                out.extend_from_slice(&stream.push(chunk));
                rest = more;
            }
            out.extend(stream.finish());
            let out = String::from_utf8_lossy(&out).into_owned();
            let found: Vec<&String> = search
                .shown(out.as_bytes())
                .into_iter()
                .map(|n| &secrets[n])
                .collect();
            prop_assert!(
                found.is_empty(),
                "{form}, seed {seed}, {sizes:?}: {found:#?}\n{out}"
            );
            let whole = String::from_utf8(text).unwrap();
            prop_assert_eq!(
                &out,
                &*redactor.text(&whole),
                "{}, seed {}, {:?}",
                form,
                seed,
                sizes
            );
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

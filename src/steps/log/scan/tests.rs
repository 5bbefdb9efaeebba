//! `log.scan` on real files: every answer that it has.

#![expect(clippy::disallowed_methods, reason = "a test's own files")]

use std::io::Write as _;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::{Config, Outputs, Scan};
use crate::base::EndReason;
use crate::event::Level;
use crate::host::{Observe, testing};
use crate::step::{Look, Outcome, StepError, StepErrorKind, StepType};

struct Logs(testing::TestScope);

impl Logs {
    fn new() -> Self {
        Self(testing::scope())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.folder.path().join(name)
    }

    fn try_scan(&self, config: Value) -> Result<Outcome<Outputs>, StepError> {
        let config: Config = serde_json::from_value(config).unwrap();
        Scan::check(&config).unwrap();
        super::scan(&config, &Observe::new(self.0.scope.clone()))
    }

    /// Scans, and says what was found about what.
    fn scan(&self, config: Value) -> (Outputs, Vec<(Level, String)>) {
        let outcome = self.try_scan(config).unwrap();
        let folder = format!("{}/", self.0.folder.path().display());
        let findings = outcome.findings.into_iter().map(|finding| {
            let text = format!("{}: {}", finding.subject, finding.message);
            (finding.level, text.replace(&folder, ""))
        });
        (outcome.outputs, findings.collect())
    }
}

fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zst(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

/// `minutes` ago, as the beginning of a line.
fn ago(minutes: i64) -> String {
    format!("{:.3}", Timestamp::now() - minutes.minutes())
}

#[tokio::test]
async fn counts_and_keeps_the_last() {
    let logs = Logs::new();
    let text = "2026-07-05T12:00:00Z ok\n2026-07-05T12:00:01Z ERROR a\nat x\n\
                2026-07-05T12:00:02Z ERROR b\r\nERROR without a stamp";
    logs.write("app.log", text);
    let config = json!({ "path": "app.log", "pattern": "ERROR", "max": null, "last": 2 });
    let config: Config = serde_json::from_value(config).unwrap();
    let host = Observe::new(logs.0.scope.clone());
    let outcome = Scan::look(config, &host).await.unwrap();
    let path = logs.path("app.log").display().to_string();
    let expected = json!({
        "count": 3,
        "complete": true,
        "scanned_lines": 5,
        "scanned_bytes": text.len(),
        "files": [{ "path": path, "bytes": text.len(), "count": 3 }],
        "last": [
            { "file": path, "line": 4, "time": "2026-07-05T12:00:02Z", "text": "2026-07-05T12:00:02Z ERROR b" },
            { "file": path, "line": 5, "time": "2026-07-05T12:00:02Z", "text": "ERROR without a stamp" },
        ],
        "first_time": "2026-07-05T12:00:01Z",
        "last_time": "2026-07-05T12:00:02Z",
    });
    assert_eq!(serde_json::to_value(outcome.outputs).unwrap(), expected);
    assert_eq!(outcome.findings[0].level, Level::Ok);
}

#[test]
fn limits_decide() {
    let logs = Logs::new();
    logs.write("app.log", "ERROR 1\nERROR 2\nok\n")
        .write("empty.log", "");
    let level = |more: Value| {
        let mut config = json!({ "path": "app.log", "pattern": "ERROR" });
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        logs.scan(config).1
    };
    let found = |level, compared: &str| {
        let message = format!("app.log: 2 lines match `ERROR`{compared}; the last one: ERROR 2");
        vec![(level, message)]
    };
    assert_eq!(level(json!({})), found(Level::Critical, " (more than 0)"));
    assert_eq!(
        level(json!({ "max": 1 })),
        found(Level::Critical, " (more than 1)")
    );
    assert_eq!(level(json!({ "max": 2 })), found(Level::Ok, " (at most 2)"));
    assert_eq!(level(json!({ "max": null })), found(Level::Ok, ""));
    assert_eq!(
        level(json!({ "warn": 0 })),
        found(Level::Warning, " (more than 0)")
    );
    assert_eq!(
        level(json!({ "warn": 1, "max": 9 })),
        found(Level::Warning, " (more than 1)")
    );
    assert_eq!(
        level(json!({ "warn": 2, "max": 9 })),
        found(Level::Ok, " (at most 2)")
    );
    let (outputs, findings) = logs.scan(json!({ "path": "empty.log", "pattern": "ERROR" }));
    assert_eq!((outputs.count, outputs.complete), (Some(0), true));
    let message = "empty.log: no line matches `ERROR` (at most 0)".to_owned();
    assert_eq!(findings, [(Level::Ok, message)]);
}

#[test]
fn what_cannot_be_looked_at_is_unknown() {
    let logs = Logs::new();
    std::fs::create_dir(logs.path("folder")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        logs.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    std::os::unix::fs::symlink(logs.path("gone"), logs.path("dangling.log")).unwrap();
    let cases = [
        ("missing.log", "no such file or directory"),
        ("dangling.log", "no such file or directory"),
        ("folder", "it is a folder"),
        ("pipe", "it is a named pipe"),
        ("/dev/zero", "it is not a regular file"),
        ("nothing/*.log", "no file matches it"),
        ("fold*", "no file matches it"),
    ];
    for rotated in [false, true] {
        for (path, cause) in cases {
            let config = json!({ "path": path, "pattern": "ERROR", "rotated": rotated });
            let (outputs, findings) = logs.scan(config);
            assert_eq!((outputs.count, outputs.complete), (None, false), "{path}");
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].0, Level::Unknown);
            assert!(findings[0].1.contains(cause), "{findings:?}");
        }
    }
}

#[test]
fn a_pattern_of_files() {
    let logs = Logs::new();
    logs.write("logs/a.log", "ERROR a\n")
        .write("logs/b.log", "ok\n")
        .write("logs/c.txt", "ERROR\n");
    std::fs::create_dir(logs.path("logs/folder.log")).unwrap();
    std::os::unix::fs::symlink(logs.path("logs/a.log"), logs.path("logs/today.log")).unwrap();
    let (outputs, findings) = logs.scan(json!({ "path": "logs/*.log", "pattern": "ERROR" }));
    assert_eq!((outputs.count, outputs.complete), (Some(1), true));
    let counts: Vec<u64> = outputs.files.iter().map(|file| file.count).collect();
    assert_eq!(counts, [1, 0]);
    assert_eq!(findings[0].0, Level::Critical);

    // One that cannot be read does not hide the others, and is not hidden by them.
    std::os::unix::fs::symlink(logs.path("gone"), logs.path("logs/x.log")).unwrap();
    let (outputs, findings) = logs.scan(json!({ "path": "logs/*.log", "pattern": "nothing" }));
    assert_eq!((outputs.count, outputs.complete), (Some(0), false));
    let levels: Vec<Level> = findings.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::Unknown]);
}

#[test]
fn rotated_parts_are_read_oldest_first() {
    let logs = Logs::new();
    let two = [gz(b"ERROR 3\nok\n"), gz(b"ERROR 4\n")].concat();
    logs.write("app.log", "ERROR 6\n")
        .write("app.log.1", "ERROR 5\n")
        // It is being compressed: the same lines again, not all of them yet.
        .write("app.log.1.gz", &gz(b"ERROR 5\n")[..12])
        .write("app.log.2.gz", two)
        .write(
            "app.log.10.zst",
            [zst(b"ERROR 1\n"), zst(b"ERROR 2\n")].concat(),
        )
        .write("app.log.bak", "ERROR\n")
        .write("other.log.1", "ERROR\n");
    let config = json!({ "path": "app.log", "pattern": "ERROR", "rotated": true, "last": 9 });
    let (outputs, _) = logs.scan(config);
    assert_eq!(
        (outputs.count, outputs.complete, outputs.scanned_lines),
        (Some(6), true, Some(7))
    );
    let texts: Vec<&str> = outputs.last.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "ERROR 1", "ERROR 2", "ERROR 3", "ERROR 4", "ERROR 5", "ERROR 6"
        ]
    );
    assert_eq!(outputs.last[3].line, Some(3));
    let (outputs, _) = logs.scan(json!({ "path": "app.log", "pattern": "ERROR" }));
    assert_eq!(outputs.count, Some(1));
    // A compressed file may be named by itself.
    let (outputs, _) = logs.scan(json!({ "path": "app.log.2.gz", "pattern": "ERROR" }));
    assert_eq!(outputs.count, Some(2));
}

#[test]
fn a_damaged_part_is_unknown_by_name() {
    let content: Vec<u8> = (0..100_000_u32)
        .flat_map(|n| format!("ERROR {n}\n").into_bytes())
        .collect();
    let (gz, zst) = (gz(&content), zst(&content));
    let mut flipped = gz.clone();
    flipped[gz.len() / 2] ^= 0x55;
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("app.log.2.gz", half(&gz), "it ends in the middle"),
        ("app.log.2.zst", half(&zst), "it ends in the middle"),
        ("app.log.2.gz", flipped, "corrupt"),
        ("app.log.2.gz", Vec::new(), "it is empty"),
        ("app.log.2.gz", b"ERROR plain\n".to_vec(), "it is named .gz"),
        ("app.log.2.zst", gz[..0].to_vec(), "it is empty"),
        (
            "app.log.2.xz",
            b"\xfd7zXZ\0\0".to_vec(),
            "it is compressed as .xz",
        ),
        (
            "app.log-20260705.bz2",
            b"BZh91AY&SY".to_vec(),
            "it is compressed as .bz2",
        ),
    ];
    for (name, bytes, cause) in cases {
        let logs = Logs::new();
        logs.write("app.log", "ok\n").write(name, bytes);
        let config = json!({ "path": "app.log", "pattern": "nothing", "rotated": true });
        let (outputs, findings) = logs.scan(config);
        assert_eq!(
            (outputs.count, outputs.complete),
            (Some(0), false),
            "{name}"
        );
        let [(level, message)] = findings.as_slice() else {
            unreachable!("{name}: {findings:?}");
        };
        assert_eq!(*level, Level::Unknown);
        assert!(
            message.starts_with(name) && message.contains(cause),
            "{message}"
        );
    }
}

#[test]
fn a_window_of_time() {
    let logs = Logs::new();
    let text = format!(
        "{} ERROR old\n\tERROR: the old one's trace\n{} ok\nERROR goes on with a new one\n\
         {} ERROR new\n{} ERROR from a clock ahead of ours\n",
        ago(120),
        ago(59),
        ago(30),
        ago(-10),
    );
    logs.write("app.log", &text);
    let config = json!({ "path": "app.log", "pattern": "ERROR", "within": "1h" });
    let (outputs, findings) = logs.scan(config);
    let texts: Vec<&str> = outputs
        .last
        .iter()
        .map(|line| line.text.split("ERROR ").last().unwrap())
        .collect();
    assert_eq!(
        texts,
        [
            "goes on with a new one",
            "new",
            "from a clock ahead of ours"
        ]
    );
    assert_eq!(outputs.count, Some(3));
    let expected = "app.log: 3 lines match `ERROR` within 1h (more than 0); the last one: ";
    assert!(findings[0].1.starts_with(expected), "{findings:?}");
    let times: Vec<Option<&str>> = outputs
        .last
        .iter()
        .map(|line| line.time.as_deref())
        .collect();
    assert_eq!(outputs.first_time.as_deref(), times[0]);
    assert_eq!(outputs.last_time.as_deref(), times[2]);
}

#[test]
fn without_time_stamps_nobody_knows_what_is_recent() {
    let logs = Logs::new();
    logs.write("app.log", "ERROR 1\nERROR 2\nok\n")
        .write("empty.log", "");
    let scan = |path: &str, pattern: &str| {
        logs.scan(json!({ "path": path, "pattern": pattern, "within": "1d" }))
    };
    let (outputs, findings) = scan("app.log", "ERROR");
    assert_eq!(
        (outputs.count, outputs.complete, outputs.last.len()),
        (None, false, 2)
    );
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].0, Level::Unknown);
    assert!(
        findings[0].1.contains("no line has a time stamp"),
        "{findings:?}"
    );
    assert!(
        findings[0].1.contains("2 match at whatever time"),
        "{findings:?}"
    );
    // Not even that nothing matches is known to be fine: the stamps may have changed.
    assert_eq!(scan("app.log", "nothing").1[0].0, Level::Unknown);
    assert_eq!(scan("empty.log", "ERROR").1[0].0, Level::Ok);
}

#[test]
fn a_stamp_far_away_says_nothing() {
    let logs = Logs::new();
    let filler = "a line without a stamp, as all of them are\n".repeat(40_000);
    logs.write(
        "app.log",
        format!("{} started\n{filler}ERROR\n", ago(60 * 24 * 30)),
    );
    let (outputs, _) = logs.scan(json!({ "path": "app.log", "pattern": "ERROR", "within": "1h" }));
    assert_eq!((outputs.count, outputs.complete), (Some(1), true));
    assert_eq!(outputs.last[0].time, None);
}

#[test]
fn stamps_of_ones_own() {
    let logs = Logs::new();
    let local = Timestamp::now().to_zoned(jiff::tz::TimeZone::get("Asia/Tokyo").unwrap());
    let stamp = |hours: i64| {
        (&local - hours.hours())
            .strftime("%d.%m.%y %H:%M")
            .to_string()
    };
    logs.write(
        "app.log",
        format!("at={} ERROR old\nat={} ERROR new\n", stamp(5), stamp(1)),
    );
    let (outputs, _) = logs.scan(json!({
        "path": "app.log", "pattern": "ERROR", "within": "2h",
        "timestamp": { "format": "%d.%m.%y %H:%M", "after": "at=", "zone": "Asia/Tokyo" },
    }));
    assert_eq!((outputs.count, outputs.complete), (Some(1), true));
    assert!(outputs.last[0].text.ends_with("new"));
}

#[test]
fn old_parts_are_not_opened_for_a_window() {
    let logs = Logs::new();
    logs.write("app.log", "")
        .write("app.log.1", format!("{} ERROR\n", ago(60)));
    logs.write("app.log.2.gz", "damaged");
    let age = |name: &str, days: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        let file = std::fs::OpenOptions::new()
            .append(true)
            .open(logs.path(name))
            .unwrap();
        file.set_modified(time).unwrap();
    };
    age("app.log.2.gz", 3);
    let config = json!({ "path": "app.log", "pattern": "ERROR", "within": "1d", "rotated": true });
    let (outputs, _) = logs.scan(config.clone());
    assert_eq!(
        (outputs.count, outputs.complete, outputs.files.len()),
        (Some(1), true, 2)
    );
    age("app.log.2.gz", 1);
    assert!(!logs.scan(config).0.complete);
}

#[test]
fn any_bytes_are_lines() {
    let logs = Logs::new();
    logs.write("app.log", b"\xff\xfe ERROR \0 \x80\r\n\0\n\r\nERROR\xe9");
    let (outputs, _) = logs.scan(json!({ "path": "app.log", "pattern": "ERROR.*$", "last": 9 }));
    assert_eq!((outputs.count, outputs.scanned_lines), (Some(2), Some(4)));
    assert_eq!(outputs.last[0].text, "\u{fffd}\u{fffd} ERROR \0 \u{fffd}");
    assert_eq!(
        (outputs.last[1].text.as_str(), outputs.last[1].line),
        ("ERROR\u{fffd}", Some(4))
    );
    let long = format!(
        "ok\n{}ERROR{}\nERROR\n",
        "é".repeat(5 << 20),
        "x".repeat(1000)
    );
    logs.write("long.log", &long);
    let (outputs, _) = logs.scan(json!({ "path": "long.log", "pattern": "ERROR" }));
    assert_eq!((outputs.count, outputs.scanned_lines), (Some(2), Some(3)));
    assert_eq!(outputs.last[0].text, format!("{}…", "é".repeat(500)));
}

#[test]
fn ends_when_told() {
    let logs = Logs::new();
    logs.write("app.log", "ERROR\n");
    logs.0.scope.cancel.end(EndReason::Timeout);
    let error = logs
        .try_scan(json!({ "path": "app.log", "pattern": "ERROR" }))
        .unwrap_err();
    assert_eq!(error.kind, StepErrorKind::TimedOut);
}

#[test]
fn refuses_what_means_nothing() {
    let told = |config: Value| {
        let config: Config = serde_json::from_value(config).unwrap();
        Scan::check(&config).unwrap_err()
    };
    let cases = [
        (json!({ "path": "", "pattern": "x" }), "`path` is empty"),
        (
            json!({ "path": "a[", "pattern": "x" }),
            "unclosed character class",
        ),
        (json!({ "path": "a", "pattern": "" }), "`pattern` is empty"),
        (json!({ "path": "a", "pattern": "x\ny" }), "line break"),
        (
            json!({ "path": "a", "pattern": "x", "within": "0" }),
            "leaves nothing",
        ),
        (
            json!({ "path": "a", "pattern": "x", "last": 1001 }),
            "at most 1000",
        ),
        (
            json!({ "path": "a", "pattern": "x", "warn": 5, "max": 5 }),
            "never reached",
        ),
        (
            json!({ "path": "a", "pattern": "x", "timestamp": { "format": "%H:%M" } }),
            "a day",
        ),
        (
            json!({ "path": "a", "pattern": "x", "timestamp": { "zone": "Mars" } }),
            "no time zone",
        ),
    ];
    for (config, expected) in cases {
        let error = told(config);
        assert!(error.contains(expected), "{error}");
    }
    assert!(serde_json::from_value::<Config>(json!({ "path": "a", "pattern": "(" })).is_err());
}

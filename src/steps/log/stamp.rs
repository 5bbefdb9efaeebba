//! When a log line was written, read off its time stamp.
//!
//! This file knows where in a line a stamp may stand, and whose time it is when it does not say:
//! the machine's own zone, and without a year the most recent past. How stamps are spelled is
//! `notation.rs`'s business.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use memchr::{memchr, memchr_iter, memmem};

use super::notation::{self, Written};

/// How far into a line a stamp is looked for behind a `[` or a key, in bytes.
const HEAD: usize = 256;

/// How far into a line of JSON its stamp is looked for: Docker writes it after the message.
const JSON_HEAD: usize = 64 << 10;

/// The names under which structured logs keep their stamp.
const KEYS: [&str; 6] = ["time", "timestamp", "@timestamp", "ts", "t", "asctime"];

/// How far ahead of our clock a stamp without a year may be before it is taken for last year's.
const AHEAD: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// How a playbook says that its stamps look.
#[derive(Clone, Debug, Default)]
pub struct Custom {
    /// In the notation of `strptime`.
    pub format: Option<String>,
    /// The text right before it.
    pub after: Option<String>,
}

/// Reads stamps.
#[derive(Clone, Debug)]
pub struct Stamps {
    zone: TimeZone,
    /// The latest that a stamp without a year can mean, in `zone`.
    latest: DateTime,
    custom: Custom,
}

/// The zone called `name`.
///
/// # Errors
/// One sentence: that there is none.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    // Always there, on a machine without a database of time zones too.
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|error| format!("`{name}` is no time zone: {error}"))
}

impl Stamps {
    /// Reads stamps written up to about `now`; those without a zone are in `zone`.
    pub fn new(now: Timestamp, zone: TimeZone, custom: Custom) -> Self {
        let now = now.to_zoned(zone.clone()).datetime();
        Self {
            latest: now.saturating_add(AHEAD),
            zone,
            custom,
        }
    }

    /// Whether its format tells a day and a time: it must read what it writes.
    pub fn format_works(&self) -> bool {
        let Some(format) = &self.custom.format else {
            return true;
        };
        let Ok(zoned) = self.latest.to_zoned(self.zone.clone()) else {
            return false;
        };
        jiff::fmt::strtime::format(format, &zoned)
            .is_ok_and(|text| self.by_format(format, text.as_bytes()).is_some())
    }

    /// When `line` was written, where it says so.
    pub fn read(&self, line: &[u8]) -> Option<Timestamp> {
        if let Some(after) = &self.custom.after {
            let head = &line[..line.len().min(JSON_HEAD)];
            let at = memmem::find(head, after.as_bytes())?;
            return self.here(&line[at + after.len()..]);
        }
        // What is indented goes on with the line before: a stack trace, a long statement.
        let first = *line.first()?;
        if first == b' ' || first == b'\t' {
            return None;
        }
        if let Some(stamp) = self.here(line) {
            return Some(stamp);
        }
        if first == b'{' {
            return self.in_json(&line[..line.len().min(JSON_HEAD)]);
        }
        let head = &line[..line.len().min(HEAD)];
        if let Some(stamp) = notation::past_prefix(head).and_then(|rest| self.here(rest)) {
            return Some(stamp);
        }
        let mut brackets = memchr_iter(b'[', head);
        brackets
            .find_map(|at| self.here(&line[at + 1..]))
            .or_else(|| self.in_logfmt(head))
    }

    /// The stamp that `text` begins with.
    fn here(&self, text: &[u8]) -> Option<Timestamp> {
        match &self.custom.format {
            Some(format) => self.by_format(format, text),
            None => self.resolve(notation::read(text)?),
        }
    }

    /// `{"level":"error","time":"2026-07-05T12:34:56Z"}`.
    fn in_json(&self, head: &[u8]) -> Option<Timestamp> {
        KEYS.iter().find_map(|key| {
            let quoted = format!("\"{key}\"");
            let at = memmem::find(head, quoted.as_bytes())? + quoted.len();
            let rest = head[at..].trim_ascii_start().strip_prefix(b":")?;
            let rest = rest.trim_ascii_start();
            self.here(rest.strip_prefix(b"\"").unwrap_or(rest))
        })
    }

    /// `level=error ts=2026-07-05T12:34:56Z`.
    fn in_logfmt(&self, head: &[u8]) -> Option<Timestamp> {
        memchr(b'=', head)?;
        KEYS.iter().find_map(|key| {
            let at = memmem::find_iter(head, key.as_bytes())
                .find(|at| *at == 0 || head[at - 1] == b' ')?;
            let rest = head[at + key.len()..].strip_prefix(b"=")?;
            self.here(rest.strip_prefix(b"\"").unwrap_or(rest))
        })
    }

    /// What was written, as a moment.
    fn resolve(&self, written: Written) -> Option<Timestamp> {
        match written {
            Written::Moment(moment) => Some(moment),
            Written::Local(time) => self.local(time),
            Written::Yearless(build) => self.most_recent(|year| build.in_year(year)),
        }
    }

    /// A time of the clock on the wall. Of an hour that comes twice it is taken to be the second,
    /// so that nothing recent is held for old.
    fn local(&self, time: DateTime) -> Option<Timestamp> {
        self.zone.to_ambiguous_timestamp(time).later().ok()
    }

    /// The latest year in which it is not in the future. 29 February may lie eight years back.
    fn most_recent(&self, build: impl Fn(i16) -> Option<DateTime>) -> Option<Timestamp> {
        let this = self.latest.year();
        let time = (0..=8)
            .filter_map(|back| build(this - back))
            .find(|time| *time <= self.latest)?;
        self.local(time)
    }

    fn by_format(&self, format: &str, text: &[u8]) -> Option<Timestamp> {
        // The parser would otherwise look at a whole line in vain.
        let text = &text[..text.len().min(HEAD)];
        let (mut parts, _) = BrokenDownTime::parse_prefix(format, text).ok()?;
        if let Ok(moment) = parts.to_timestamp() {
            return Some(moment);
        }
        if parts.year().is_some() {
            return self.local(parts.to_datetime().ok()?);
        }
        let this = self.latest.year();
        for year in (this - 8..=this).rev() {
            parts.set_year(Some(year)).ok()?;
            match parts.to_datetime() {
                Ok(time) if time <= self.latest => return self.local(time),
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::{TimeZone, offset};

    use super::{Custom, Stamps};

    fn stamps(now: &str, custom: Custom) -> Stamps {
        let zone = TimeZone::fixed(offset(8));
        Stamps::new(now.parse().unwrap(), zone, custom)
    }

    /// What a line says, with a clock on the wall that is 8 hours ahead of UTC.
    fn read(line: &str) -> Option<String> {
        let stamps = stamps("2026-11-24T04:00:00Z", Custom::default());
        stamps.read(line.as_bytes()).map(|stamp| stamp.to_string())
    }

    #[test]
    fn finds_stamps_where_logs_put_them() {
        let cases = [
            // ISO 8601 and its kin, with a zone
            ("2026-07-05T12:34:56Z x", "2026-07-05T12:34:56Z"),
            (
                "2026-07-05T12:34:56.789+02:00 x",
                "2026-07-05T10:34:56.789Z",
            ),
            (
                "2026-07-05T12:34:56+0200 host unit[1]: x",
                "2026-07-05T10:34:56Z",
            ),
            (
                "2026-07-05 12:34:56.789 UTC [77] LOG:  x",
                "2026-07-05T12:34:56.789Z",
            ),
            ("2026-07-05 12:34:56 +0200 x", "2026-07-05T10:34:56Z"),
            // and without one
            (
                "2026-07-05 12:34:56,789 ERROR x",
                "2026-07-05T04:34:56.789Z",
            ),
            ("2026/07/05 12:34:56 [error] 1#1: x", "2026-07-05T04:34:56Z"),
            ("2026-07-05 12:34:56 -1234 rows", "2026-07-05T04:34:56Z"),
            // behind something
            ("[2026-07-05 12:34:56] app.ERROR: x", "2026-07-05T04:34:56Z"),
            (
                "ERROR 2026-07-05 12:34:56,789 x",
                "2026-07-05T04:34:56.789Z",
            ),
            ("[WARN] 2026-07-05 12:34:56 x", "2026-07-05T04:34:56Z"),
            (
                "::1 - - [05/Jul/2026:12:34:56 +0000] \"GET / HTTP/1.1\"",
                "2026-07-05T12:34:56Z",
            ),
            (
                "1:M 05 Jul 2026 12:34:56.789 * Ready",
                "2026-07-05T04:34:56.789Z",
            ),
            (
                "[05-Jul-2026 12:34:56 UTC] PHP Warning:  x",
                "2026-07-05T12:34:56Z",
            ),
            (
                "[Sun Jul 05 12:34:56.123456 2026] [core:error] x",
                "2026-07-05T04:34:56.123456Z",
            ),
            // in structured lines
            (
                r#"{"level":"error","time":"2026-07-05T12:34:56Z"}"#,
                "2026-07-05T12:34:56Z",
            ),
            (
                r#"{"ts": 1783254896.5, "msg": "x"}"#,
                "2026-07-05T12:34:56.5Z",
            ),
            (
                r#"time="2026-07-05T12:34:56Z" level=error"#,
                "2026-07-05T12:34:56Z",
            ),
            (
                "level=error ts=2026-07-05T12:34:56.789Z x",
                "2026-07-05T12:34:56.789Z",
            ),
            // since 1970
            ("1783254896 x", "2026-07-05T12:34:56Z"),
            ("1783254896123 x", "2026-07-05T12:34:56.123Z"),
            ("1783254896.5    45 127.0.0.1 x", "2026-07-05T12:34:56.5Z"),
            // without a year
            ("Jul  5 12:34:56 host app[1]: x", "2026-07-05T04:34:56Z"),
            ("Nov 24 12:30:00 host app: x", "2026-11-24T04:30:00Z"),
            ("Dec 31 12:34:56 host app: x", "2025-12-31T04:34:56Z"),
            ("Feb 29 12:34:56 host app: x", "2024-02-29T04:34:56Z"),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn takes_nothing_else_for_a_stamp() {
        for line in [
            "",
            "x",
            "Traceback (most recent call last):",
            "  2026-07-05 12:34:56 an indented line goes on",
            "\tat app.Main.run(Main.java:17) [2026-07-05 12:34:56]",
            "2026-13-05 12:34:56",
            "2026-02-30 12:34:56",
            "2026-07-05 25:34:56",
            "2026-07-05",
            "Jux  5 12:34:56",
            "178325489 x",
            "17832548961 x",
            "[error] no stamp",
            "timeout=2026",
            "{\"message\":\"x\"}",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn a_year_is_the_most_recent_one() {
        let january = stamps("2027-01-01T00:00:00Z", Custom::default());
        let read = |line: &str| january.read(line.as_bytes()).unwrap().to_string();
        assert_eq!(read("Dec 31 23:00:00 h x"), "2026-12-31T15:00:00Z");
        assert_eq!(read("Jan  1 07:00:00 h x"), "2026-12-31T23:00:00Z");
        // A clock a little ahead of ours.
        assert_eq!(read("Jan  1 08:01:00 h x"), "2027-01-01T00:01:00Z");
    }

    #[test]
    fn formats_of_ones_own() {
        let custom = |format: &str, after: Option<&str>| {
            let custom = Custom {
                format: Some(format.to_owned()),
                after: after.map(str::to_owned),
            };
            stamps("2026-11-24T04:00:00Z", custom)
        };
        let read = |stamps: &Stamps, line: &str| -> Option<Timestamp> {
            assert!(stamps.format_works());
            stamps.read(line.as_bytes())
        };
        let expected: Timestamp = "2026-07-05T04:34:56Z".parse().unwrap();
        let german = custom("%d.%m.%Y %H:%M:%S", None);
        assert_eq!(read(&german, "05.07.2026 12:34:56 x"), Some(expected));
        assert_eq!(read(&german, "[05.07.2026 12:34:56] x"), Some(expected));
        assert_eq!(read(&german, "2026-07-05 12:34:56 x"), None);
        let keyed = custom("%Y%m%d-%H%M%S", Some("at="));
        assert_eq!(read(&keyed, "x at=20260705-123456 y"), Some(expected));
        let yearless = custom("%m%d %H:%M:%S", Some("E"));
        assert_eq!(read(&yearless, "E0705 12:34:56.1 x"), Some(expected));
        let zoned = custom("%Y-%m-%d %H:%M:%S %z", None);
        let utc = Some("2026-07-05T12:34:56Z".parse().unwrap());
        assert_eq!(read(&zoned, "2026-07-05 12:34:56 +0000 x"), utc);
        for bad in ["%H:%M:%S", "%Y-%m-%d %!", "%", ""] {
            assert!(!custom(bad, None).format_works(), "{bad}");
        }
    }
}

//! How long an answer took, against `warn` and `fail`: the same for every check of a server.

use crate::base::Duration;
use crate::event::{Finding, Level};

/// The limits that an author set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Longer is a warning.
    pub(super) warn: Option<Duration>,
    /// Longer is critical.
    pub(super) fail: Option<Duration>,
}

impl Limits {
    /// Whether they make sense where nobody waits longer than `timeout`.
    pub(super) fn check(self, timeout: Duration) -> Result<(), String> {
        if timeout == Duration::ZERO {
            return Err("`timeout` is zero: there would be no time to look".to_owned());
        }
        if let (Some(warn), Some(fail)) = (self.warn, self.fail)
            && warn > fail
        {
            return Err(format!("`warn` ({warn}) is more than `fail` ({fail})"));
        }
        for (name, limit) in [("warn", self.warn), ("fail", self.fail)] {
            if let Some(limit) = limit
                && limit >= timeout
            {
                return Err(format!(
                    "`{name}` ({limit}) can never be exceeded: `timeout` is {timeout}"
                ));
            }
        }
        Ok(())
    }

    /// What `took` means about `subject`; none where there is no limit.
    pub(super) fn finding(self, subject: &str, took: Duration) -> Option<Finding> {
        let limit = self.fail.or(self.warn)?;
        let (level, limit) = match (self.warn, self.fail) {
            (_, Some(fail)) if took > fail => (Level::Critical, fail),
            (Some(warn), _) if took > warn => (Level::Warning, warn),
            (warn, _) => (Level::Ok, warn.unwrap_or(limit)),
        };
        let than = if level == Level::Ok {
            "at most"
        } else {
            "more than"
        };
        let message = format!("it took {}, {than} {limit}", shown(took));
        Some(Finding::new(level, subject, message))
    }
}

/// In milliseconds, to the hundredth: a server on the same machine answers in less than one.
pub(super) fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}

/// For people: `0.4ms`, `34ms`, `1s250ms`.
pub(super) fn shown(took: Duration) -> String {
    let millis = took.as_secs_f64() * 1_000.0;
    if millis < 10.0 {
        format!("{millis:.1}ms")
    } else {
        took.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;
    use crate::base::Duration;
    use crate::event::Level;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn judges_by_numbers() {
        let both = Limits {
            warn: Some(ms(500)),
            fail: Some(ms(2000)),
        };
        for (took, level) in [
            (ms(9), Level::Ok),
            (ms(500), Level::Ok),
            (ms(501), Level::Warning),
            (ms(2000), Level::Warning),
            (ms(2001), Level::Critical),
        ] {
            assert_eq!(both.finding("x", took).unwrap().level, level, "{took}");
        }
        let none = Limits {
            warn: None,
            fail: None,
        };
        assert!(none.finding("x", ms(9)).is_none());
        let fail = Limits { warn: None, ..both };
        assert_eq!(
            fail.finding("x", ms(9)).unwrap().message,
            "it took 9.0ms, at most 2s"
        );
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let limits = |warn, fail| Limits {
            warn: Some(ms(warn)),
            fail: Some(ms(fail)),
        };
        assert!(limits(500, 2000).check(ms(10_000)).is_ok());
        assert!(limits(2000, 500).check(ms(10_000)).is_err());
        assert!(limits(500, 10_000).check(ms(10_000)).is_err());
        assert!(limits(0, 0).check(Duration::ZERO).is_err());
    }
}

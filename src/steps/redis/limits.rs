//! Limits of a server's figures: `{ warn, fail }`, from either side.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::Duration;
use crate::event::{Finding, Level};

/// Limits that a figure should stay below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AtMost {
    /// A warning from here on.
    #[schemars(range(min = 0))]
    pub(super) warn: Option<f64>,
    /// Critical from here on.
    #[schemars(range(min = 0))]
    pub(super) fail: Option<f64>,
}

/// Limits that a figure should stay above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AtLeast {
    /// A warning below this.
    #[schemars(range(min = 0))]
    pub(super) warn: Option<f64>,
    /// Critical below this.
    #[schemars(range(min = 0))]
    pub(super) fail: Option<f64>,
}

/// Limits of an age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Within {
    /// A warning where it is longer.
    pub(super) warn: Option<Duration>,
    /// Critical where it is longer.
    pub(super) fail: Option<Duration>,
}

impl AtMost {
    pub(super) fn check(self, name: &str) -> Result<(), String> {
        known(name, &[self.warn, self.fail])?;
        match (self.warn, self.fail) {
            (Some(warn), Some(fail)) if warn > fail => Err(format!(
                "`{name}`: `warn` ({warn}) is above `fail` ({fail}), so that it would never warn"
            )),
            _ => Ok(()),
        }
    }

    /// `message` about `value`, with the limit that counts after it.
    pub(super) fn finding(self, subject: &str, value: f64, message: &str) -> Finding {
        let reaches = |limit: Option<f64>| limit.is_some_and(|limit| value >= limit);
        let level = level(reaches(self.warn), reaches(self.fail));
        told(level, subject, message, self.warn, self.fail)
    }
}

impl AtLeast {
    pub(super) fn check(self, name: &str) -> Result<(), String> {
        known(name, &[self.warn, self.fail])?;
        match (self.warn, self.fail) {
            (Some(warn), Some(fail)) if warn < fail => Err(format!(
                "`{name}`: `warn` ({warn}) is below `fail` ({fail}), so that it would never warn: less is \
                 worse here"
            )),
            _ => Ok(()),
        }
    }

    /// `message` about `value`, with the limit that counts after it.
    pub(super) fn finding(self, subject: &str, value: f64, message: &str) -> Finding {
        let falls = |limit: Option<f64>| limit.is_some_and(|limit| value < limit);
        let level = level(falls(self.warn), falls(self.fail));
        told(level, subject, message, self.warn, self.fail)
    }
}

impl Within {
    pub(super) fn check(self, name: &str) -> Result<(), String> {
        match (self.warn, self.fail) {
            (Some(warn), Some(fail)) if warn > fail => Err(format!(
                "`{name}`: `warn` ({warn}) is above `fail` ({fail}), so that it would never warn"
            )),
            _ => Ok(()),
        }
    }

    /// `message` about an age of `seconds`, with the limit that counts after it.
    pub(super) fn finding(self, subject: &str, seconds: f64, message: &str) -> Finding {
        let exceeds =
            |limit: Option<Duration>| limit.is_some_and(|limit| seconds > limit.as_secs_f64());
        let level = level(exceeds(self.warn), exceeds(self.fail));
        told(level, subject, message, self.warn, self.fail)
    }
}

fn known(name: &str, limits: &[Option<f64>]) -> Result<(), String> {
    let wrong = |limit: &f64| !limit.is_finite() || *limit < 0.0;
    match limits.iter().flatten().any(wrong) {
        true => Err(format!("`{name}`: a limit is never negative")),
        false => Ok(()),
    }
}

fn level(warn: bool, fail: bool) -> Level {
    match (warn, fail) {
        (_, true) => Level::Critical,
        (true, _) => Level::Warning,
        _ => Level::Ok,
    }
}

fn told<T: std::fmt::Display>(
    level: Level,
    subject: &str,
    message: &str,
    warn: Option<T>,
    fail: Option<T>,
) -> Finding {
    let warn = warn.map(|limit| format!("warn {limit}"));
    let fail = fail.map(|limit| format!("fail {limit}"));
    let limit = match level {
        Level::Critical => fail,
        _ => warn.or(fail),
    };
    let message = match limit {
        Some(limit) => format!("{message} ({limit})"),
        None => message.to_owned(),
    };
    Finding::new(level, subject, message)
}

/// To one decimal: what is said, judged and put out is the same number.
pub(super) fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// `part` of `whole` in percent; none of nothing.
pub(super) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| tenth(part as f64 * 100.0 / whole as f64))
}

#[cfg(test)]
mod tests {
    use super::{AtLeast, AtMost, Within, percent};
    use crate::base::Duration;
    use crate::event::Level;

    #[test]
    fn figures_are_compared_as_numbers() {
        let most = AtMost {
            warn: Some(80.0),
            fail: Some(90.0),
        };
        // As texts, "9" is above "80" and "100" is below it.
        for (value, level) in [
            (9.0, Level::Ok),
            (80.0, Level::Warning),
            (100.0, Level::Critical),
        ] {
            assert_eq!(most.finding("x", value, "").level, level, "{value}");
        }
        let least = AtLeast {
            warn: Some(80.0),
            fail: Some(50.0),
        };
        for (value, level) in [
            (9.0, Level::Critical),
            (50.0, Level::Warning),
            (79.9, Level::Warning),
            (80.0, Level::Ok),
            (100.0, Level::Ok),
        ] {
            assert_eq!(least.finding("x", value, "").level, level, "{value}");
        }
        let within = Within {
            warn: Some(Duration::from_secs(9)),
            fail: None,
        };
        assert_eq!(within.finding("x", 9.0, "").level, Level::Ok);
        let finding = within.finding("x", 100.0, "100 s");
        assert_eq!(finding.level, Level::Warning);
        assert_eq!(finding.message, "100 s (warn 9s)");
    }

    #[test]
    fn limits_must_make_sense() {
        let most = |warn, fail| AtMost {
            warn: Some(warn),
            fail: Some(fail),
        };
        let least = |warn, fail| AtLeast {
            warn: Some(warn),
            fail: Some(fail),
        };
        assert!(most(80.0, 90.0).check("x").is_ok() && most(90.0, 80.0).check("x").is_err());
        assert!(least(80.0, 50.0).check("x").is_ok() && least(50.0, 80.0).check("x").is_err());
        assert!(most(-1.0, 80.0).check("x").is_err());
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(9, 100), Some(9.0));
        assert_eq!(percent(100, 100), Some(100.0));
    }
}

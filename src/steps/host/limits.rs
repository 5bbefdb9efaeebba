//! What the checks of the machine have in common: limits, how they are told, and how "could not
//! look" becomes a finding.

use crate::base::Duration;
use crate::base::field::Percent;
use crate::event::{Finding, Level};
use crate::host::{HostError, HostErrorKind};
use crate::step::{Partial, StepError};

/// From where on a value is a warning, and from where on it is critical. The limit itself counts,
/// so that `fail: 100` can be reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// A warning from here on; never without it.
    pub(super) warn: Option<f64>,
    /// Critical from here on; never without it.
    pub(super) fail: Option<f64>,
}

impl Limits {
    /// Both, in percent.
    pub(super) fn percent(warn: Percent, fail: Percent) -> Self {
        Self {
            warn: Some(warn.0),
            fail: Some(fail.0),
        }
    }

    /// Either may be missing.
    pub(super) fn maybe(warn: Option<Percent>, fail: Option<Percent>) -> Self {
        Self {
            warn: warn.map(|limit| limit.0),
            fail: fail.map(|limit| limit.0),
        }
    }

    /// Whether there is any.
    pub(super) fn any(self) -> bool {
        self.warn.is_some() || self.fail.is_some()
    }

    /// Whether they can both be reached; `warn` and `fail` are what the fields are called.
    pub(super) fn check(self, warn: &str, fail: &str) -> Result<(), String> {
        for (name, limit) in [(warn, self.warn), (fail, self.fail)] {
            if limit.is_some_and(|limit| !limit.is_finite() || limit < 0.0) {
                return Err(format!("`{name}` is never negative"));
            }
        }
        match (self.warn, self.fail) {
            (Some(low), Some(high)) if low > high => Err(format!(
                "`{warn}: {low}` is above `{fail}: {high}`, so that it would never warn"
            )),
            _ => Ok(()),
        }
    }

    /// How much `value` weighs.
    pub(super) fn level(self, value: f64) -> Level {
        let reaches = |limit: Option<f64>| limit.is_some_and(|limit| value >= limit);
        if reaches(self.fail) {
            Level::Critical
        } else if reaches(self.warn) {
            Level::Warning
        } else {
            Level::Ok
        }
    }

    /// The limit that a value of `level` is told with: `warn 80 %`; the one that it reached, else
    /// the next one.
    pub(super) fn told(self, level: Level, unit: &str) -> Option<String> {
        let warn = self.warn.map(|limit| format!("warn {limit}{unit}"));
        let fail = self.fail.map(|limit| format!("fail {limit}{unit}"));
        if level == Level::Critical {
            fail
        } else {
            warn.or(fail)
        }
    }

    /// What `value` means for `subject`: `message` with the limit after it.
    pub(super) fn finding(self, subject: &str, value: f64, unit: &str, message: &str) -> Finding {
        let level = self.level(value);
        let message = match self.told(level, unit) {
            Some(limit) => format!("{message} ({limit})"),
            None => message.to_owned(),
        };
        Finding::new(level, subject, message)
    }
}

/// To one decimal: what is said, judged and put out is the same number.
pub(super) fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What could not be looked at, as a finding; an error where the step was told to end.
pub(super) fn could_not_look(subject: &str, error: HostError) -> Result<Finding, StepError> {
    match error.kind {
        HostErrorKind::TimedOut | HostErrorKind::Cancelled | HostErrorKind::Audit => {
            Err(error.into())
        }
        HostErrorKind::Transient | HostErrorKind::Permanent | HostErrorKind::InDoubt => {
            Ok(Finding {
                help: error.help.clone(),
                ..Finding::unknown(subject, error.to_string())
            })
        }
    }
}

/// `warn 80, fail 90`, for a description: as configured, else these defaults.
pub(super) fn described(config: &Partial, defaults: [(&str, &str); 2]) -> String {
    defaults
        .map(|(field, default)| {
            let limit = config.text(field).unwrap_or_else(|| default.to_owned());
            format!("{field} {limit}")
        })
        .join(", ")
}

/// The default of `warn`.
pub(super) fn eighty() -> Percent {
    Percent(80.0)
}

/// The default of `fail`.
pub(super) fn ninety() -> Percent {
    Percent(90.0)
}

/// The default of `sample`.
pub(super) fn one_second() -> Duration {
    Duration::from_secs(1)
}

/// The shortest sample: CPU time is counted in ticks of 10 ms, so that a tenth of a second still
/// tells tenths.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(100);

/// Whether `sample` is long enough to mean anything.
pub(super) fn check_sample(sample: Duration) -> Result<(), String> {
    if sample < SHORTEST_SAMPLE {
        return Err(format!(
            "`sample: {sample}` is too short to mean anything; {SHORTEST_SAMPLE} is the least"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Limits, could_not_look, tenth};
    use crate::base::field::Percent;
    use crate::event::Level;
    use crate::host::{HostError, HostErrorKind};
    use crate::step::StepErrorKind;

    const USUAL: Limits = Limits {
        warn: Some(80.0),
        fail: Some(90.0),
    };

    #[test]
    fn values_are_compared_as_numbers() {
        // As texts, "9" is above "80" and "100" below it.
        let cases = [
            (0.0, Level::Ok),
            (9.0, Level::Ok),
            (79.9, Level::Ok),
            (80.0, Level::Warning),
            (89.9, Level::Warning),
            (90.0, Level::Critical),
            (100.0, Level::Critical),
        ];
        for (value, level) in cases {
            assert_eq!(USUAL.level(value), level, "{value}");
        }
    }

    #[test]
    fn the_limit_is_told() {
        let told = |value| {
            USUAL
                .finding("/", value, " %", &format!("{value} % used"))
                .message
        };
        assert_eq!(told(9.0), "9 % used (warn 80 %)");
        assert_eq!(told(82.0), "82 % used (warn 80 %)");
        assert_eq!(told(100.0), "100 % used (fail 90 %)");
        let only_fail = Limits::maybe(None, Some(Percent(50.0)));
        assert_eq!(
            only_fail.finding("x", 1.0, " %", "1 %").message,
            "1 % (fail 50 %)"
        );
        assert_eq!(
            Limits::default().finding("x", 99.0, " %", "99 %").message,
            "99 %"
        );
        assert!(only_fail.any() && !Limits::default().any());
    }

    #[test]
    fn limits_must_make_sense() {
        let check = |warn, fail| Limits { warn, fail }.check("warn", "fail");
        assert_eq!(check(Some(90.0), Some(90.0)), Ok(()));
        assert_eq!(check(Some(95.0), None), Ok(()));
        assert_eq!(
            check(Some(95.0), Some(90.0)).unwrap_err(),
            "`warn: 95` is above `fail: 90`, so that it would never warn"
        );
        assert!(check(None, Some(-1.0)).is_err());
    }

    #[test]
    fn could_not_look_is_unknown_but_an_end_is_an_end() {
        let finding = could_not_look("/", HostError::permanent("look at /", "gone")).unwrap();
        assert_eq!(finding.level, Level::Unknown);
        assert_eq!(finding.message, "could not look at /: gone");
        let end = HostError::new(HostErrorKind::Cancelled, "look", "cancelled");
        assert_eq!(
            could_not_look("/", end).unwrap_err().kind,
            StepErrorKind::Cancelled
        );
    }

    #[test]
    fn tenths() {
        assert_eq!(
            (tenth(79.96), tenth(79.94), tenth(33.333)),
            (80.0, 79.9, 33.3)
        );
    }
}

//! Lengths of time against `warn` and `fail`: waits, lags, means.

use crate::base::Duration;
use crate::event::Level;

/// From which length of time on something is worth a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Longer is a warning.
    pub warn: Option<Duration>,
    /// Longer is critical.
    pub fail: Option<Duration>,
}

impl Limits {
    /// Whether both can be reached.
    pub fn check(self) -> Result<(), String> {
        match (self.warn, self.fail) {
            (Some(warn), Some(fail)) if warn > fail => Err(format!(
                "`warn` ({warn}) is longer than `fail` ({fail}), so that it would never warn"
            )),
            _ => Ok(()),
        }
    }

    /// How much `seconds` weigh, and the limit that they exceed.
    pub fn judge(self, seconds: f64) -> (Level, Option<Duration>) {
        let over = |limit: Option<Duration>| limit.filter(|limit| seconds > limit.as_secs_f64());
        match (over(self.fail), over(self.warn)) {
            (Some(fail), _) => (Level::Critical, Some(fail)),
            (None, Some(warn)) => (Level::Warning, Some(warn)),
            (None, None) => (Level::Ok, None),
        }
    }
}

/// Seconds as a server counts them, for people: `34ms`, `2s`, `3m20s`, `1d2h`.
pub(super) fn shown(seconds: f64) -> String {
    // Nobody reads a wait of an hour to the millisecond.
    let seconds = seconds.max(0.0);
    let millis = match seconds {
        s if s < 10.0 => (s * 1000.0).round() as u64,
        s => (s.round() as u64).saturating_mul(1000),
    };
    Duration::from_millis(millis).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Limits, shown};
    use crate::base::Duration;
    use crate::event::Level;

    #[test]
    fn a_limit_is_exceeded_by_more_than_it() {
        let limits = Limits {
            warn: Some(Duration::from_secs(10)),
            fail: Some(Duration::from_secs(60)),
        };
        for (seconds, level) in [
            (0.0, Level::Ok),
            (10.0, Level::Ok),
            (10.001, Level::Warning),
            (60.0, Level::Warning),
            (60.5, Level::Critical),
        ] {
            assert_eq!(limits.judge(seconds).0, level, "{seconds}");
        }
        assert!(limits.check().is_ok());
        let turned = Limits {
            warn: limits.fail,
            fail: limits.warn,
        };
        assert!(turned.check().is_err());
    }

    #[test]
    fn people_read_lengths_of_time() {
        assert_eq!(shown(0.0342), "34ms");
        assert_eq!(shown(-1.0), "0s");
        assert_eq!(shown(200.4), "3m20s");
    }
}

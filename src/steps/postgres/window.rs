//! The hours in which something heavy may be done: by the wall clock of the machine that the engine runs
//! on, whatever clock the server has.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::base::Duration;
use crate::host::Scope;
use crate::step::{StepError, StepErrorKind};

/// A time of the day: `02:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(Time);

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no time of the day: write hours and minutes, as in \"02:00\"");
        // Five characters: `2:00` may be a slip for `02:00` or `20:00`.
        if text.len() != 5 {
            return Err(wrong());
        }
        Time::strptime("%H:%M", text).map(Self).map_err(|_| wrong())
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for TimeOfDay {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A time of the day, in quotes: \"02:00\"",
            "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The hours of a day, such as `{ from: "02:00", to: "05:00" }`: local time of this machine. It may reach
/// over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When it begins.
    pub from: TimeOfDay,
    /// When it ends; not part of it.
    pub to: TimeOfDay,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: TimeOfDay| time.0.strftime("%H:%M").to_string();
        write!(f, "{} to {}", time(self.from), time(self.to))
    }
}

impl Window {
    /// What is wrong with it.
    pub(super) fn check(self) -> Result<(), String> {
        match self.from == self.to {
            true => Err("`window` ends when it begins, so it is empty".to_owned()),
            false => Ok(()),
        }
    }

    /// How much of it is left; none outside of it.
    fn left_at(self, now: Timestamp, zone: &TimeZone) -> Option<Duration> {
        let local = now.to_zoned(zone.clone());
        let (time, from, to) = (local.time(), self.from.0, self.to.0);
        let inside = match from < to {
            true => from <= time && time < to,
            false => from <= time || time < to,
        };
        if !inside {
            return None;
        }
        // Where a clock goes through an hour twice or leaves it out, the difference of moments counts.
        let day = match time < to {
            true => local.date(),
            false => local.date().tomorrow().ok()?,
        };
        let end = day.to_datetime(to).to_zoned(zone.clone()).ok()?.timestamp();
        let left = std::time::Duration::try_from(end.duration_since(now)).ok()?;
        Some(left.into())
    }

    /// How much of it is left now.
    ///
    /// # Errors
    /// That it is not now: it may be at another time.
    pub(super) fn left(self, scope: &Scope) -> Result<Duration, StepError> {
        let (now, zone) = (scope.clock().wall(), TimeZone::system());
        self.left_at(now, &zone).ok_or_else(|| {
            let local = now.to_zoned(zone.clone());
            let message = format!(
                "nothing was done: here it is {}, and `window` is from {self}",
                local.strftime("%H:%M (%Z)")
            );
            let help = "run it within its window, or choose another one";
            StepError::new(StepErrorKind::Transient, message).with_help(help)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{TimeOfDay, Window};
    use crate::base::Duration;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    fn window(from: &str, to: &str) -> Window {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        Window { from, to }
    }

    fn left(window: Window, now: &str, zone: &str) -> Option<Duration> {
        let now: Timestamp = now.parse().unwrap();
        window.left_at(now, &TimeZone::get(zone).unwrap())
    }

    #[test]
    fn is_inside_from_its_begin_to_its_end() {
        let night = window("02:00", "05:00");
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(left(night, "2026-01-02T01:59:59Z", "UTC"), None);
        assert_eq!(left(night, "2026-01-02T02:00:00Z", "UTC"), hours(3));
        assert_eq!(left(night, "2026-01-02T05:00:00Z", "UTC"), None);
        assert_eq!(
            left(night, "2026-01-02T03:00:00Z", "Europe/Berlin"),
            hours(1)
        );
        let over = window("22:00", "02:00");
        assert_eq!(left(over, "2026-01-02T23:00:00Z", "UTC"), hours(3));
        assert_eq!(left(over, "2026-01-03T01:00:00Z", "UTC"), hours(1));
        assert_eq!(left(over, "2026-01-03T12:00:00Z", "UTC"), None);
    }

    #[test]
    fn an_hour_that_comes_twice_counts_twice() {
        // 2026-10-25, 03:00 summer time is 02:00 winter time.
        let night = window("01:00", "05:00");
        let begin = left(night, "2026-10-24T23:00:00Z", "Europe/Berlin");
        assert_eq!(begin, Some(Duration::from_secs(5 * 3600)));
    }

    #[test]
    fn reads_times_of_the_day_and_nothing_else() {
        for wrong in [
            "2:00", "24:00", "02:60", "0200", "02:0", "2am", "02:00:00", "",
        ] {
            assert!(wrong.parse::<TimeOfDay>().is_err(), "{wrong}");
        }
        assert_eq!(window("02:00", "23:59").to_string(), "02:00 to 23:59");
        assert!(window("02:00", "02:00").check().is_err());
    }
}

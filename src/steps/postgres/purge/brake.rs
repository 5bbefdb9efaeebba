//! Waiting while a standby is behind.
//!
//! `replay_lag` of `pg_stat_replication` says nothing of a standby that replays nothing at all, so lag
//! is measured here: a standby is as far behind as the oldest position in the WAL that we have seen and
//! that it has not replayed.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::base::{Duration, Instant};
use crate::event::Finding;
use crate::host::Scope;
use crate::host::connect::postgres::PgEffect;
use crate::host::reach::ReachError;

/// How often it is asked while it waits, and at most how often while it does not.
const POLL: Duration = Duration::from_millis(250);

/// The most positions that are remembered.
const MOST: usize = 10_000;

/// Standbys that stream. `state` is hidden from a login without the right to see it; what replays nothing
/// (pg_receivewal, a subscription) has no `replay_lsn`.
const STANDBYS: &str = "SELECT coalesce(nullif(application_name, ''), pid::text) AS name, \
       state IS NULL AS hidden, \
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8 AS written, \
       pg_wal_lsn_diff(replay_lsn, '0/0')::int8 AS replayed, \
       extract(epoch FROM replay_lag)::float8 AS lag_s \
     FROM pg_stat_replication WHERE state IS NULL OR replay_lsn IS NOT NULL AND state <> 'backup'";

#[derive(Debug, Deserialize)]
struct Standby {
    name: String,
    hidden: bool,
    written: i64,
    replayed: Option<i64>,
    lag_s: Option<f64>,
}

/// What holds batches back.
#[derive(Debug)]
pub(super) struct Brake {
    max_lag: Duration,
    /// Positions in the WAL, and when we saw them; the oldest first.
    seen: VecDeque<(i64, Instant)>,
    asked: Option<Instant>,
    hidden: bool,
}

impl Brake {
    pub fn new(max_lag: Duration) -> Self {
        Self {
            max_lag,
            seen: VecDeque::new(),
            asked: None,
            hidden: false,
        }
    }

    /// Waits until no standby is too far behind; says for how long it waited. `tell` is called with the
    /// name of the standby while it waits.
    pub async fn wait(
        &mut self,
        session: &PgEffect<'_>,
        scope: &Scope,
        tell: impl Fn(&str),
    ) -> Result<Duration, ReachError> {
        let clock = scope.clock();
        let began = clock.now();
        if self.asked.is_some_and(|asked| began.since(asked) < POLL) {
            return Ok(Duration::ZERO);
        }
        let mut waited = Duration::ZERO;
        loop {
            let standbys: Vec<Standby> =
                session.records(STANDBYS, &[], session.allow_all()).await?;
            let now = clock.now();
            self.asked = Some(now);
            let Some(behind) = self.behind(&standbys, now) else {
                return Ok(waited);
            };
            tell(behind);
            let pause = scope.within(session.allow_all(), clock.sleep(POLL));
            let action = || format!("wait for the standby {behind}");
            pause.await.map_err(|stopped| stopped.error(action()))?;
            waited = clock.now().since(began);
        }
    }

    /// The standby that is too far behind.
    fn behind<'s>(&mut self, standbys: &'s [Standby], now: Instant) -> Option<&'s str> {
        self.hidden |= standbys.iter().any(|standby| standby.hidden);
        let told = { standbys.iter() }.filter_map(|standby| Some((standby, standby.replayed?)));
        let told: Vec<(&Standby, i64)> = told.collect();
        let slowest = told.iter().map(|(_, replayed)| *replayed).min();
        let written = told.iter().map(|(standby, _)| standby.written).max();
        if let (Some(slowest), Some(written)) = (slowest, written) {
            while self.seen.front().is_some_and(|(at, _)| *at <= slowest) {
                self.seen.pop_front();
            }
            if self.seen.back().is_none_or(|(at, _)| *at < written) && self.seen.len() < MOST {
                self.seen.push_back((written, now));
            }
        }
        let late = |standby: &Standby, replayed: i64| {
            let oldest = self.seen.iter().find(|(at, _)| *at > replayed);
            let measured = oldest.map_or(Duration::ZERO, |(_, since)| now.since(*since));
            let told = match standby.written > replayed {
                true => standby.lag_s.unwrap_or(0.0),
                false => 0.0,
            };
            measured > self.max_lag || told > self.max_lag.as_secs_f64()
        };
        let found = told.into_iter().find(|(it, replayed)| late(it, *replayed));
        found.map(|(standby, _)| standby.name.as_str())
    }

    /// That it could not see how far some are.
    pub fn finding(&self, subject: &str) -> Option<Finding> {
        let message =
            "standbys do not show this login how far behind they are: it did not wait for them";
        let help = "make the login a member of `pg_read_all_stats`";
        self.hidden
            .then(|| Finding::warning(subject, message).with_help(help))
    }
}

#[cfg(test)]
mod tests {
    use super::{Brake, Standby};
    use crate::base::{Clock, Duration};

    fn standby(written: i64, replayed: i64) -> Standby {
        Standby {
            name: "s".to_owned(),
            hidden: false,
            written,
            replayed: Some(replayed),
            lag_s: None,
        }
    }

    #[test]
    fn a_standby_that_replays_nothing_is_behind_by_the_time_that_we_measure() {
        let mut brake = Brake::new(Duration::from_secs(10));
        let start = Clock::system().now();
        let at = |seconds| start.after(Duration::from_secs(seconds));
        assert_eq!(brake.behind(&[standby(100, 100)], at(0)), None);
        assert_eq!(brake.behind(&[standby(200, 100)], at(1)), None);
        assert_eq!(brake.behind(&[standby(300, 100)], at(11)), None);
        assert_eq!(brake.behind(&[standby(400, 100)], at(12)), Some("s"));
        // It has come past what was seen at 1, but not past what was seen at 11.
        assert_eq!(brake.behind(&[standby(400, 250)], at(13)), None);
        assert_eq!(brake.behind(&[standby(400, 250)], at(22)), Some("s"));
        assert_eq!(brake.behind(&[standby(400, 400)], at(90)), None);
        assert!(brake.finding("main").is_none());
    }

    #[test]
    fn what_the_server_measured_counts_too() {
        let mut brake = Brake::new(Duration::from_secs(10));
        let now = Clock::system().now();
        let told = |written, replayed| Standby {
            lag_s: Some(60.0),
            ..standby(written, replayed)
        };
        assert_eq!(brake.behind(&[told(200, 100)], now), Some("s"));
        // An old measure of one that has everything by now.
        assert_eq!(brake.behind(&[told(200, 200)], now), None);
        let hidden = Standby {
            hidden: true,
            replayed: None,
            ..standby(0, 0)
        };
        assert_eq!(brake.behind(&[hidden], now), None);
        assert!(brake.finding("main").is_some());
    }
}

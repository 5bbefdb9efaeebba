//! Time: a clock that counts suspension for every wait, wall time for people.
//!
//! Waits use CLOCK_BOOTTIME (design: "every wait has a deadline on our side, by a clock that counts
//! suspension"). Wall time never orders anything.

use std::future::Future;

use rustix::time::{ClockId, clock_gettime};

use super::Duration;
use super::timeline::Timeline;

/// A moment on the boot-time clock, in nanoseconds since boot, suspension included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// When the machine was started.
    pub(super) const BOOT: Self = Self(0);

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0)).into()
    }

    /// This moment and `duration` more.
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_std().as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// A moment after which waiting ends, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No deadline.
    pub const NEVER: Self = Self(None);

    /// At `instant`.
    pub fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// The earlier of the two.
    pub fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// The moment itself.
    pub fn instant(self) -> Option<Instant> {
        self.0
    }

    /// What is left of it on `clock`; `None` where there is no deadline.
    pub fn left(self, clock: &Clock) -> Option<Duration> {
        self.0.map(|at| at.since(clock.now()))
    }

    /// Whether it has passed on `clock`.
    pub fn passed(self, clock: &Clock) -> bool {
        self.0.is_some_and(|at| clock.now() >= at)
    }
}

/// The source of time: the machine's, or a virtual one in tests of playbooks.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Timeline>);

/// The longest single sleep: after a suspension, a wait ends at most this much late, because timers
/// of the runtime use CLOCK_MONOTONIC, which stands still while the machine sleeps.
const SLICE: std::time::Duration = std::time::Duration::from_secs(1);

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that shows a virtual time.
    pub(super) fn on(timeline: Timeline) -> Self {
        Self(Some(timeline))
    }

    /// Now, on the clock that counts suspension.
    pub fn now(&self) -> Instant {
        if let Some(timeline) = &self.0 {
            return timeline.now();
        }
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Instant(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Now, for people and for records.
    pub fn wall(&self) -> jiff::Timestamp {
        match &self.0 {
            Some(timeline) => timeline.wall(),
            None => jiff::Timestamp::now(),
        }
    }

    /// A deadline `duration` from now.
    pub fn deadline_in(&self, duration: Duration) -> Deadline {
        Deadline::at(self.now().after(duration))
    }

    /// Waits until `deadline`; for ever where there is none.
    pub async fn sleep_until(&self, deadline: Deadline) {
        if let Some(timeline) = &self.0 {
            return timeline.sleep_until(deadline).await;
        }
        let Some(at) = deadline.instant() else {
            return std::future::pending().await;
        };
        loop {
            let left = at.since(self.now()).as_std();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(SLICE)).await;
        }
    }

    /// Waits `duration`.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.deadline_in(duration)).await;
    }

    /// `future`'s value, or `None` if `deadline` passed first.
    pub async fn within<F: Future>(&self, deadline: Deadline, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            value = future => Some(value),
            () = self.sleep_until(deadline) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Deadline};
    use crate::base::Duration;

    #[test]
    fn deadlines_pass() {
        let clock = Clock::system();
        assert!(!Deadline::NEVER.passed(&clock));
        assert!(clock.deadline_in(Duration::ZERO).passed(&clock));
        let far = clock.deadline_in(Duration::from_secs(60));
        assert!(!far.passed(&clock));
        assert_eq!(far.min(Deadline::NEVER), far);
    }
}

//! Time that stands still until nothing else is left to do, and then jumps to the next deadline: for
//! tests of playbooks, where three days of waits pass in no time.
//!
//! It is its own executor, because only who polls everything knows when all of it waits. What waits
//! for anything else than its [`Clock`] would never be woken: there is no runtime, and no timer.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::clock::{Clock, Instant};
use super::{Deadline, Duration};

/// A virtual time, shared by all its clocks.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The wall time at its beginning.
    start: jiff::Timestamp,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    now: Instant,
    /// Who waits for which moment; among those of one moment, in the order in which they came.
    waiting: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

/// Why work on a timeline did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Whoever drives it was told to stop.
    Told,
    /// It would have gone on past the last moment that was allowed.
    TooLong,
    /// It waits for something that no time brings.
    Stuck,
}

impl Timeline {
    /// A time that begins at `start`.
    pub fn new(start: jiff::Timestamp) -> Self {
        Self(Arc::new(Shared {
            start,
            inner: Mutex::new(Inner {
                now: Instant::BOOT,
                waiting: BTreeMap::new(),
                next: 0,
            }),
        }))
    }

    /// A clock that shows it.
    pub fn clock(&self) -> Clock {
        Clock::on(self.clone())
    }

    /// How much of it has passed.
    pub fn elapsed(&self) -> Duration {
        self.now().since(Instant::BOOT)
    }

    /// Lets `duration` pass.
    pub fn pass(&self, duration: Duration) {
        let until = self.now().after(duration);
        self.advance(until);
    }

    /// Polls `work` to its end, and lets time pass whenever all of it waits, but not past `last`.
    /// After each poll it is asked whether to stop.
    ///
    /// # Errors
    /// Why it did not come to its end.
    pub fn run<F: Future>(
        &self,
        work: F,
        last: Duration,
        mut stop: impl FnMut() -> bool,
    ) -> Result<F::Output, Halt> {
        let last = Instant::BOOT.after(last);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut work = pin!(work);
        loop {
            while woken.0.swap(false, Ordering::AcqRel) {
                if let Poll::Ready(value) = work.as_mut().poll(&mut context) {
                    return Ok(value);
                }
                if stop() {
                    return Err(Halt::Told);
                }
            }
            match self.next() {
                None => return Err(Halt::Stuck),
                Some(at) if at > last => return Err(Halt::TooLong),
                Some(at) => self.advance(at),
            }
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.inner().now
    }

    pub(super) fn wall(&self) -> jiff::Timestamp {
        let passed = jiff::SignedDuration::try_from(self.elapsed().as_std());
        let now = passed.ok().and_then(|d| self.0.start.checked_add(d).ok());
        now.unwrap_or(jiff::Timestamp::MAX)
    }

    /// Waits until `deadline`; for ever where there is none.
    pub(super) fn sleep_until(&self, deadline: Deadline) -> Sleep {
        Sleep {
            timeline: self.clone(),
            at: deadline.instant(),
            number: None,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next moment that somebody waits for.
    fn next(&self) -> Option<Instant> {
        let inner = self.inner();
        inner.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    fn advance(&self, to: Instant) {
        let mut due = Vec::new();
        let mut inner = self.inner();
        inner.now = inner.now.max(to);
        while let Some(first) = inner.waiting.first_entry() {
            if first.key().0 > to {
                break;
            }
            due.push(first.remove());
        }
        drop(inner);
        due.into_iter().for_each(Waker::wake);
    }
}

/// Waits for a moment of a timeline.
#[derive(Debug)]
pub(super) struct Sleep {
    timeline: Timeline,
    at: Option<Instant>,
    /// Its place among those that wait, once it does.
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timeline = self.timeline.clone();
        let mut inner = timeline.inner();
        if inner.now >= at {
            return Poll::Ready(());
        }
        let number = *self.number.get_or_insert_with(|| {
            inner.next += 1;
            inner.next
        });
        inner.waiting.insert((at, number), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(at), Some(number)) = (self.at, self.number) {
            self.timeline.inner().waiting.remove(&(at, number));
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Halt, Timeline};
    use crate::base::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    fn timeline() -> Timeline {
        Timeline::new("2026-03-01T02:00:00Z".parse().unwrap())
    }

    #[test]
    fn days_of_waiting_pass_at_once() {
        let timeline = timeline();
        let clock = timeline.clock();
        let order = std::cell::RefCell::new(Vec::new());
        let wait = async |name, duration| {
            clock.sleep(duration).await;
            order.borrow_mut().push((name, clock.wall().to_string()));
        };
        let work = async {
            tokio::join!(
                wait("late", Duration::from_secs(3 * 86_400)),
                wait("soon", Duration::from_secs(1))
            );
        };
        assert_eq!(
            timeline.run(work, Duration::from_secs(9 * 86_400), || false),
            Ok(())
        );
        assert_eq!(
            order.into_inner(),
            [
                ("soon", "2026-03-01T02:00:01Z".to_owned()),
                ("late", "2026-03-04T02:00:00Z".to_owned())
            ]
        );
        assert_eq!(timeline.elapsed(), Duration::from_secs(3 * 86_400));
    }

    #[test]
    fn what_does_not_end_is_told() {
        let timeline = timeline();
        let clock = timeline.clock();
        let for_ever = async {
            loop {
                clock.sleep(Duration::from_secs(60)).await;
            }
        };
        assert_eq!(timeline.run(for_ever, DAY, || false), Err(Halt::TooLong));
        assert_eq!(timeline.elapsed(), DAY);
        let never = std::future::pending::<()>();
        assert_eq!(timeline.run(never, DAY, || false), Err(Halt::Stuck));
        let waits = clock.sleep(Duration::from_secs(1));
        assert_eq!(timeline.run(waits, DAY, || true), Err(Halt::Told));
    }

    #[test]
    fn who_no_longer_waits_is_forgotten() {
        let timeline = timeline();
        let clock = timeline.clock();
        let within = clock.within(clock.deadline_in(DAY), clock.sleep(Duration::from_secs(5)));
        assert_eq!(timeline.run(within, DAY, || false), Ok(Some(())));
        assert_eq!(timeline.next(), None);
    }
}

//! Waiting for a thing by asking it, again and again, until a deadline. Tests wait in no other way.

use std::thread;
use std::time::{Duration, Instant};

/// Longest pause between two questions.
const SLOWEST: Duration = Duration::from_millis(50);

/// Asks `probe` until it has an answer, and returns that. Fails the test after `limit`, with `what`
/// (as in "waited for …").
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    match try_until(limit, &mut probe) {
        Some(answer) => answer,
        None => panic!("waited {limit:?} for {what}, in vain"),
    }
}

/// The same, with `None` after `limit` where the caller has more to say.
pub fn try_until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(SLOWEST);
    }
}

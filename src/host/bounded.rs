//! Questions to the system that may never be answered, and pauses: each ends when it is told to.
//!
//! A call into a dead NFS server or a stopped FUSE daemon sleeps inside the kernel, where nothing
//! of ours can wake it. So such a question is asked on a thread of its own, which is left behind
//! when its time is up. It is a thread of its own rather than one of the runtime's, because the
//! runtime waits for its threads before the program can end, and nobody waits for this one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{HostError, HostErrorKind, Observe};
use crate::base::{Duration, EndReason};

/// How long the system is given to answer a question that it can answer at once, unless something
/// hangs.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long the system may take over one question of a long piece of work: a disk that has to spin up
/// is fine, a server that is gone is not.
pub const QUIET_FOR: Duration = Duration::from_secs(20);

/// How long a long piece of work that was told to end is waited for.
const OBEYS_WITHIN: Duration = Duration::from_secs(2);

/// What a long piece of work asked the system last, and how often it has asked: one that hangs in
/// the kernel is told by it from one that has much to do.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    count: AtomicU64,
    about: Mutex<PathBuf>,
}

impl Pulse {
    /// It asks about `path` now.
    pub fn asks_about(&self, path: &Path) {
        let mut about = self.0.about.lock().unwrap_or_else(PoisonError::into_inner);
        path.clone_into(&mut about);
        drop(about);
        self.goes_on();
    }

    /// It was answered.
    pub fn goes_on(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// What it asked about last.
    pub fn about(&self) -> PathBuf {
        let about = self.0.about.lock().unwrap_or_else(PoisonError::into_inner);
        about.clone()
    }
}

/// The stack of a thread that asks one question; the calls are shallow.
const STACK: usize = 512 << 10;

impl Observe {
    /// Runs `work`, which may hang in the kernel, for at most `limit`. `action` says what it is,
    /// as it follows "could not".
    ///
    /// # Errors
    /// Those of `work`; a transient one when there was no answer in time; and when the step was
    /// told to end.
    pub async fn bounded<T, F>(
        &self,
        action: &str,
        limit: Duration,
        work: F,
    ) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, HostError> + Send + 'static,
    {
        let (tell, answer) = tokio::sync::oneshot::channel();
        let ask = move || {
            // Nobody listens any more once the time was up.
            let _ = tell.send(work());
        };
        std::thread::Builder::new()
            .name("question".to_owned())
            .stack_size(STACK)
            .spawn(ask)
            .map_err(|e| HostError::io(action, &e))?;
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(answer) => answer,
                // The thread is gone without a word: it panicked, which is a defect of ours.
                Err(_) => Err(HostError::permanent(action, "the look itself broke off")),
            },
            reason = self.scope().cancel.told() => Err(told_to_end(action, reason)),
            () = self.scope().clock().sleep(limit) => {
                Err(HostError::transient(action, format!("no answer within {limit}")))
            }
        }
    }

    /// Runs `work`, which takes as long as it takes, and tells of its questions to the system by
    /// [`Observe::pulse`]. When one of them is not answered for `quiet`, or `work` was told to end
    /// and does not, it is left behind.
    ///
    /// # Errors
    /// A transient one when there was no answer; and when the step was told to end.
    pub async fn watched<T, F>(&self, quiet: Duration, work: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (tell, mut answer) = tokio::sync::oneshot::channel();
        let run = move || {
            // Nobody listens any more once it was left behind.
            let _ = tell.send(work());
        };
        std::thread::Builder::new()
            .name("look".to_owned())
            .spawn(run)
            .map_err(|e| HostError::io("start a thread", &e))?;
        let clock = self.scope().clock();
        let action = || format!("read {}", self.pulse().about().display());
        // The thread is gone without a word: it panicked, which is a defect of ours.
        let broke_off = |_| HostError::permanent(action(), "the look itself broke off");
        let (mut count, mut since) = (self.pulse().count(), clock.now());
        let reason = loop {
            tokio::select! {
                biased;
                done = &mut answer => return done.map_err(broke_off),
                reason = self.scope().cancel.told() => break reason,
                () = clock.sleep((quiet.as_std() / 8).into()) => {}
            }
            let now = self.pulse().count();
            if now != count {
                (count, since) = (now, clock.now());
            } else if clock.now().since(since) >= quiet {
                let cause = format!("no answer within {quiet}");
                return Err(HostError::transient(action(), cause));
            }
        };
        tokio::select! {
            biased;
            done = answer => done.map_err(broke_off),
            () = clock.sleep(OBEYS_WITHIN) => Err(told_to_end(&action(), reason)),
        }
    }

    /// Waits `duration`, between two samples.
    ///
    /// # Errors
    /// When the step was told to end.
    pub async fn pause(&self, duration: Duration) -> Result<(), HostError> {
        tokio::select! {
            biased;
            reason = self.scope().cancel.told() => {
                Err(told_to_end(&format!("sample for {duration}"), reason))
            }
            () = self.scope().clock().sleep(duration) => Ok(()),
        }
    }
}

fn told_to_end(action: &str, reason: EndReason) -> HostError {
    match reason {
        EndReason::Timeout => HostError::new(HostErrorKind::TimedOut, action, "its time was up"),
        EndReason::Cancelled => {
            HostError::new(HostErrorKind::Cancelled, action, "the run was cancelled")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use crate::base::{Duration, EndReason};
    use crate::host::{HostError, HostErrorKind, Observe, testing};

    /// A question that is not answered before `release` is dropped.
    fn hangs(release: mpsc::Receiver<()>) -> impl FnOnce() -> Result<(), HostError> + Send {
        move || {
            let _ = release.recv();
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_does_not_answer_is_left_behind() {
        let host = Observe::new(testing::scope().scope);
        let (_held, release) = mpsc::channel();
        let limit = Duration::from_millis(20);
        let error = host
            .bounded("look at /mnt/dead", limit, hangs(release))
            .await
            .unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Transient);
        assert_eq!(
            error.to_string(),
            "could not look at /mnt/dead: no answer within 20ms"
        );
    }

    #[tokio::test]
    async fn an_end_is_obeyed_at_once() {
        let test = testing::scope();
        let host = Observe::new(test.scope.clone());
        let (_held, release) = mpsc::channel();
        let far = Duration::from_secs(3600);
        let question = host.bounded("look", far, hangs(release));
        test.scope.cancel.end(EndReason::Timeout);
        assert_eq!(question.await.unwrap_err().kind, HostErrorKind::TimedOut);
        let pause = host.pause(far).await;
        assert_eq!(pause.unwrap_err().kind, HostErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn work_that_goes_on_is_waited_for_and_one_that_hangs_is_not() {
        let host = Observe::new(testing::scope().scope);
        let limit = Duration::from_millis(100);
        let pulse = host.pulse().clone();
        let busy = move || {
            for _ in 0..50 {
                pulse.asks_about(Path::new("/var/log/a.log"));
                std::thread::sleep(limit.as_std() / 10);
            }
        };
        host.watched(limit, busy).await.unwrap();
        let (_held, release) = mpsc::channel();
        let pulse = host.pulse().clone();
        let dead = move || {
            pulse.asks_about(Path::new("/mnt/dead/b.log"));
            let _ = hangs(release)();
        };
        let error = host.watched(limit, dead).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Transient);
        let expected = "could not read /mnt/dead/b.log: no answer within 100ms";
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn work_that_does_not_end_when_it_is_told_is_left_behind() {
        let test = testing::scope();
        let host = Observe::new(test.scope.clone());
        let (_held, release) = mpsc::channel();
        let far = Duration::from_secs(3600);
        let work = host.watched(far, hangs(release));
        test.scope.cancel.end(EndReason::Timeout);
        let error = work.await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn answers_come_through() {
        let host = Observe::new(testing::scope().scope);
        let far = Duration::from_secs(3600);
        assert_eq!(host.bounded("add", far, || Ok(1 + 1)).await.unwrap(), 2);
    }
}

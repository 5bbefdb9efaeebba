//! Questions to the system that may never be answered, and pauses: each ends when it is told to.
//!
//! A call into a dead NFS server or a stopped FUSE daemon sleeps inside the kernel, where nothing
//! of ours can wake it. So such a question is asked on a thread of its own, which is left behind
//! when its time is up. It is a thread of its own rather than one of the runtime's, because the
//! runtime waits for its threads before the program can end, and nobody waits for this one.

use super::{HostError, HostErrorKind, Observe};
use crate::base::{Duration, EndReason};

/// How long the system is given to answer a question that it can answer at once, unless something
/// hangs.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

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
    async fn answers_come_through() {
        let host = Observe::new(testing::scope().scope);
        let far = Duration::from_secs(3600);
        assert_eq!(host.bounded("add", far, || Ok(1 + 1)).await.unwrap(), 2);
    }
}

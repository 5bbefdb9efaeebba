//! What an engine reaches beside its journal and its clock: the steps' own code, and the people who
//! agree to steps or end a run.
//!
//! A run has the [`Machine`]. A test of a playbook has answers in its place; nothing else of the engine
//! differs.

use std::path::Path;

use serde_json::Value;

use super::Past;
use super::approval::{APPROVE, Consent};
use super::asked::{CANCEL, Cancellation};
use crate::base::{Clock, Duration, StepPath};
use crate::event::ApprovalAsk;
use crate::host::inbox::{self, Statement};
use crate::host::{Observe, Part, identity};
use crate::step::{AnyStep, LocalFuture, Means, Preview, RawOutcome, StepError};

/// How often it is looked whether somebody asks a run to end.
const POLL: Duration = Duration::from_millis(500);

/// One call of a step type.
#[derive(Clone)]
pub struct Call {
    /// The type.
    pub ty: &'static dyn AnyStep,
    /// The step or item.
    pub path: StepPath,
    /// Which part of it.
    pub part: Part,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Its configuration, evaluated.
    pub config: Value,
}

/// What an engine reaches of the world.
pub trait Outside {
    /// Looks, or does it.
    fn execute<'a>(
        &'a self,
        call: Call,
        means: Means<'a>,
    ) -> LocalFuture<'a, Result<RawOutcome, StepError>>;

    /// What it would do, found out by looking.
    fn preview<'a>(
        &'a self,
        call: Call,
        host: &'a Observe,
    ) -> LocalFuture<'a, Result<Preview, StepError>>;

    /// What was said so far about the question `ask` at `path`, to the run with this folder.
    fn consents<'a>(
        &'a self,
        folder: &'a Path,
        path: &'a StepPath,
        ask: &'a ApprovalAsk,
    ) -> LocalFuture<'a, Vec<Statement<Consent>>>;

    /// The groups that a user is in.
    fn groups_of(&self, user: &str) -> Vec<String>;

    /// Waits until somebody asks the run with this folder to end.
    fn asked_to_end<'a>(
        &'a self,
        clock: &'a Clock,
        folder: &'a Path,
    ) -> LocalFuture<'a, Statement<Cancellation>>;

    /// What was asked of an earlier part of the run, or was acted on, is over.
    fn forget_cancel(&self, folder: &Path);

    /// The wait before another attempt where it may be a random part of `delay`.
    fn part_of(&self, delay: Duration) -> Duration;

    /// Whether locks on servers are taken: in a test there is nobody who could hold them.
    fn locks_on_servers(&self) -> bool;

    /// Who runs the engine: the login that the system knows.
    fn user(&self) -> String;

    /// The machine's name.
    fn host(&self) -> String;
}

impl dyn Outside + '_ {
    /// Whether `user` is one of those who may agree: by name or by group.
    pub(super) fn may_approve(&self, from: &[String], user: &str) -> bool {
        let person = identity::person(user);
        from.is_empty()
            || from.iter().any(|name| name == person || name == user)
            || self
                .groups_of(person)
                .iter()
                .any(|group| from.contains(group))
    }

    /// Who began a run: whoever runs it now, where it is not gone on with.
    pub(super) fn requester(&self, past: Option<&Past>) -> String {
        past.map_or_else(|| self.user(), |past| past.state.user.clone())
    }
}

/// The machine that the engine runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Outside for Machine {
    fn execute<'a>(
        &'a self,
        call: Call,
        means: Means<'a>,
    ) -> LocalFuture<'a, Result<RawOutcome, StepError>> {
        call.ty.execute(call.config, means)
    }

    fn preview<'a>(
        &'a self,
        call: Call,
        host: &'a Observe,
    ) -> LocalFuture<'a, Result<Preview, StepError>> {
        call.ty.preview(call.config, host)
    }

    fn consents<'a>(
        &'a self,
        folder: &'a Path,
        path: &'a StepPath,
        _: &'a ApprovalAsk,
    ) -> LocalFuture<'a, Vec<Statement<Consent>>> {
        let said = inbox::heard::<Consent>(folder, &format!("{APPROVE}{path}."));
        let said = said.unwrap_or_default().into_iter().flatten().collect();
        Box::pin(std::future::ready(said))
    }

    fn groups_of(&self, user: &str) -> Vec<String> {
        identity::groups_of(user)
    }

    fn asked_to_end<'a>(
        &'a self,
        clock: &'a Clock,
        folder: &'a Path,
    ) -> LocalFuture<'a, Statement<Cancellation>> {
        Box::pin(async move {
            loop {
                clock.sleep(POLL).await;
                let said = inbox::heard::<Cancellation>(folder, CANCEL);
                let said = said.unwrap_or_default().into_iter().flatten().next();
                if let Some(statement) = said {
                    return statement;
                }
            }
        })
    }

    fn forget_cancel(&self, folder: &Path) {
        // At worst it is acted on again.
        let _ = inbox::forget(folder, CANCEL);
    }

    fn part_of(&self, delay: Duration) -> Duration {
        let millis = delay.as_millis();
        let random = getrandom::u64().unwrap_or(millis);
        Duration::from_millis(
            random
                .checked_rem(millis.saturating_add(1))
                .unwrap_or(millis),
        )
    }

    fn locks_on_servers(&self) -> bool {
        true
    }

    fn user(&self) -> String {
        identity::user_name()
    }

    fn host(&self) -> String {
        identity::host_name()
    }
}

#[cfg(test)]
mod tests {
    use super::{Machine, Outside as _};
    use crate::base::Duration;

    #[test]
    fn a_random_part_is_no_more_than_all() {
        for _ in 0..100 {
            assert!(Machine.part_of(Duration::from_millis(50)).as_millis() <= 50);
        }
        assert_eq!(Machine.part_of(Duration::ZERO), Duration::ZERO);
    }
}

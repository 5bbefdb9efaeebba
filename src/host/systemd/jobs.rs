//! systemd, to touch: jobs that start, stop, restart and reload units, awaited to their end.

use std::num::NonZeroUsize;

use futures_util::StreamExt as _;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

use super::unit::text;
use super::{
    ACTION, MANAGER, MANAGER_PATH, PATIENCE, PROPERTIES, Systemd, UNIT, connect, error_name, said,
};
use crate::base::Duration;
use crate::host::net::Stopped;
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, Scope};

const JOB: &str = "org.freedesktop.systemd1.Job";

/// How often it is asked whether a job is still there, whose end may have been told to nobody: systemd
/// forgets who listens when it is executed anew.
const DOUBT: Duration = Duration::from_secs(1);

/// How often such a question may be without an answer: systemd is away while it is executed anew.
const MOST_UNANSWERED: u32 = 5;

/// How long the last questions may take after the attempt was told to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How many ends of jobs wait to be read; a boot has a few hundred.
const QUEUE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// What a unit is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop it and start it; start it, where it does not run.
    Restart,
    /// Have it read its configuration anew.
    Reload,
}

impl Verb {
    /// As it follows "could not".
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
            Self::Restart => "RestartUnit",
            Self::Reload => "ReloadUnit",
        }
    }
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It is over, with this result: `done`, `canceled`, `timeout`, `failed`, `dependency`, `skipped`,
    /// …; empty where systemd did not tell us.
    Over(String),
    /// We were told to end before it had.
    Left {
        /// Why.
        stopped: Stopped,
        /// It had not begun, and was cancelled.
        cancelled: bool,
    },
}

/// A conversation with systemd that may touch.
#[derive(Debug)]
pub struct SystemdEffect<'a> {
    scope: &'a Scope,
    connection: Connection,
}

impl Effect {
    /// Opens a conversation with this machine's systemd, to change the state of units.
    ///
    /// # Errors
    /// When there is none, or it cannot be asked.
    pub async fn systemd(&self) -> Result<SystemdEffect<'_>, ReachError> {
        let scope = self.scope();
        let connection = connect(scope, scope.allow(PATIENCE)).await?;
        Ok(SystemdEffect { scope, connection })
    }
}

impl<'a> SystemdEffect<'a> {
    /// To look, for one round of questions.
    pub fn look(&self) -> Systemd<'a> {
        Systemd {
            scope: self.scope,
            connection: self.connection.clone(),
            allowance: self.scope.allow(PATIENCE),
        }
    }

    /// To look how things are when the attempt was told to end.
    pub fn look_last(&self) -> Systemd<'a> {
        Systemd {
            allowance: self.scope.allow(LAST_WORDS).despite_end(),
            ..self.look()
        }
    }

    /// Has `unit` do what `verb` says, and waits until the job is over. Whoever asks for what is being
    /// done already waits for the same job. When the attempt is told to end, a job that has not begun is
    /// cancelled.
    ///
    /// # Errors
    /// When systemd does not take it, or does not answer.
    pub async fn run(&self, verb: Verb, unit: &str) -> Result<JobEnd, ReachError> {
        let action = format!("{} {unit}", verb.word());
        // Before the job is there, so that its end cannot be missed.
        let mut ends = self.listen(&action).await?;
        self.hold(&action, unit).await?;
        let (job, systemd) = self.enqueue(&action, verb, unit).await?;
        let mut unanswered = 0;
        loop {
            let turn = self.scope.allow(DOUBT);
            match self
                .scope
                .within(turn, end_of(&mut ends, &job, &systemd))
                .await
            {
                Ok(Some(result)) => return Ok(JobEnd::Over(result)),
                Ok(None) => {
                    let cause = "systemd ended the conversation before the job was over";
                    return Err(ReachError::new(Obstacle::HungUp, action, cause));
                }
                Err(stopped @ Stopped::Told(_)) => {
                    let cancelled = self.withdraw(&job).await;
                    return Ok(JobEnd::Left { stopped, cancelled });
                }
                Err(Stopped::Late(_)) => match self.look().job_state(&job).await {
                    Ok(Some(_)) => unanswered = 0,
                    Ok(None) => {
                        // Its end may have come in between.
                        let last = self.scope.allow(Duration::from_millis(100));
                        let told = end_of(&mut ends, &job, &systemd);
                        let result = self.scope.within(last, told).await.ok().flatten();
                        return Ok(JobEnd::Over(result.unwrap_or_default()));
                    }
                    // The next turn is told so too.
                    Err(error) if matches!(error.obstacle, Obstacle::Ended(_)) => {}
                    Err(error) if unanswered == MOST_UNANSWERED => return Err(error),
                    Err(_) => unanswered += 1,
                },
            }
        }
    }

    /// The ends of jobs, from now on.
    async fn listen(&self, action: &str) -> Result<MessageStream, ReachError> {
        let rule = removals().map_err(|error| said(action, &error))?;
        let looking = self.look();
        // Who listens already is told so, which is as good.
        let subscribed = looking.call(action, MANAGER_PATH, MANAGER, "Subscribe", &());
        let _ = subscribed.await?;
        let stream = MessageStream::for_match_rule(rule, &self.connection, Some(QUEUE));
        match self.scope.within(looking.allowance, stream).await {
            Ok(stream) => stream.map_err(|error| said(action, &error)),
            Err(stopped) => Err(stopped.error(action)),
        }
    }

    /// Keeps systemd from forgetting how the unit ended, as it does of one that is inactive, for as long
    /// as this conversation lasts. Without it less can be said of what went wrong.
    async fn hold(&self, action: &str, unit: &str) -> Result<(), ReachError> {
        let looking = self.look();
        let body = (unit,);
        let held = looking.call(action, MANAGER_PATH, MANAGER, "RefUnit", &body);
        held.await.map(|_| ())
    }

    /// The job, and the name by which systemd signs on this connection.
    async fn enqueue(
        &self,
        action: &str,
        verb: Verb,
        unit: &str,
    ) -> Result<(OwnedObjectPath, String), ReachError> {
        // As systemctl does: what waits to be done to the contrary gives way.
        let body = (unit, "replace");
        if let Some(reason) = self.scope.cancel.state().reason() {
            return Err(Stopped::Told(reason).error(action));
        }
        let asking = Systemd {
            allowance: self.scope.allow(PATIENCE).despite_end(),
            ..self.look()
        };
        let call = asking.call(action, MANAGER_PATH, MANAGER, verb.method(), &body);
        let mut call = std::pin::pin!(call);
        let answer = match self.scope.within(self.scope.allow_all(), &mut call).await {
            Ok(answer) => answer,
            // It is asked already. Whoever does not wait for the job cannot cancel it, nor tell of it.
            Err(_) => {
                let last = self.scope.allow(LAST_WORDS).despite_end();
                let late = self.scope.within(last, call).await;
                late.unwrap_or_else(|stopped| Err(stopped.error(action)))
            }
        };
        let message = match answer {
            Ok(answer) => answer.map_err(|error| refused(action, &error))?,
            Err(silent) => return Err(in_doubt(silent)),
        };
        let job = message.body().deserialize();
        let job: OwnedObjectPath = job.map_err(|error| said(action, &error))?;
        Ok((job, signer(&message)))
    }

    /// Cancels a job that has not begun; whether it did so.
    async fn withdraw(&self, job: &OwnedObjectPath) -> bool {
        let looking = self.look_last();
        let waits = matches!(looking.job_state(job).await, Ok(Some(state)) if state == "waiting");
        if !waits {
            return false;
        }
        let answer = looking.call(ACTION, job.as_str(), JOB, "Cancel", &()).await;
        matches!(answer, Ok(Ok(_)))
    }
}

impl Systemd<'_> {
    /// How far a job is (`waiting`, `running`); none where there is no such job any more.
    async fn job_state(&self, job: &OwnedObjectPath) -> Result<Option<String>, ReachError> {
        let answer = self
            .call(ACTION, job.as_str(), PROPERTIES, "GetAll", &(JOB,))
            .await?;
        match answer.and_then(|message| message.body().deserialize()) {
            Ok(job) => Ok(Some(text(&job, "State"))),
            Err(error) if error_name(&error).is_some_and(|n| n.ends_with(".UnknownObject")) => {
                Ok(None)
            }
            Err(error) => Err(said(ACTION, &error)),
        }
    }

    /// The unit that this very process belongs to, if it is one's.
    ///
    /// # Errors
    /// When it does not answer, or not as it should.
    pub async fn own_unit(&self) -> Result<Option<String>, ReachError> {
        let action = "ask systemd which unit this run belongs to";
        // Zero is whoever asks.
        let answer = self
            .call(action, MANAGER_PATH, MANAGER, "GetUnitByPID", &(0_u32,))
            .await?;
        let path: OwnedObjectPath = match answer.and_then(|message| message.body().deserialize()) {
            Ok(path) => path,
            Err(error) if error_name(&error).is_some_and(|n| n.ends_with(".NoUnitForPID")) => {
                return Ok(None);
            }
            // Without an answer, what is about to be stopped may be this very run.
            Err(error) => return Err(said(action, &error)),
        };
        let unit = self.properties(action, path.as_str(), UNIT).await?;
        Ok(Some(text(&unit, "Id")))
    }
}

/// What matches the ends of jobs.
fn removals() -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .path(MANAGER_PATH)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()
}

fn signer(message: &zbus::Message) -> String {
    let header = message.header();
    header.sender().map(ToString::to_string).unwrap_or_default()
}

/// The result of `job`, as soon as one of `ends` says that it is over; none where the conversation ends.
async fn end_of(ends: &mut MessageStream, job: &OwnedObjectPath, systemd: &str) -> Option<String> {
    while let Some(message) = ends.next().await {
        if let Some(result) = message.ok().and_then(|m| ended(&m, job, systemd)) {
            return Some(result);
        }
    }
    None
}

/// The result of `job`, where `message` says that it is over. Anybody on a bus can send what looks so.
fn ended(message: &zbus::Message, job: &OwnedObjectPath, systemd: &str) -> Option<String> {
    if signer(message) != systemd {
        return None;
    }
    let body = message.body();
    let removed: (u32, OwnedObjectPath, String, String) = body.deserialize().ok()?;
    (removed.1 == *job).then_some(removed.3)
}

/// It was asked, and did not say whether it takes the job.
fn in_doubt(silent: ReachError) -> ReachError {
    ReachError {
        obstacle: Obstacle::InDoubt,
        cause: format!("{}; whether systemd does it is not known", silent.cause),
        help: Some("look at its jobs: `systemctl list-jobs`".to_owned()),
        ..silent
    }
}

/// What systemd, or the bus, says of a job that it does not take.
fn refused(action: &str, error: &zbus::Error) -> ReachError {
    let name = error_name(error).unwrap_or_default();
    let refused = said(action, error);
    match name.rsplit('.').next().unwrap_or_default() {
        "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => ReachError {
            obstacle: Obstacle::Forbidden,
            cause: format!("this user may not ({})", refused.cause),
            help: Some(
                "run as root, or let the user do so by a polkit rule for \
                 `org.freedesktop.systemd1.manage-units`"
                    .to_owned(),
            ),
            ..refused
        },
        _ => ReachError {
            obstacle: Obstacle::Rejected,
            ..refused
        },
    }
}

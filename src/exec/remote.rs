//! Locks on a server: taken in a session of their own, watched while the run goes on, and what happens
//! where one is lost: nothing goes on without it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::scheduler::{Engine, connections};
use super::secrets::Secrets;
use crate::base::{Cancel, Clock, Deadline, RunId, StepId, StepPath};
use crate::compile::{Program, World, run_value};
use crate::event::{EffectClass, JournalError, Redactor, RunStatus, Section, Transient};
use crate::host::connect::Conn;
use crate::host::connect::postgres::{PgHolder, PgLock, PgTaken};
use crate::host::targets::Targets;
use crate::host::{HostError, Observe, Part, RunFolder, Scope, Shared};

/// What the sessions of locks are called after: `rb/<run>/lock`.
const NAME: &str = "lock";

/// A lock on a server, sought or held.
#[derive(Debug)]
pub struct Remote {
    key: String,
    connection: String,
    lock: PgLock,
    redactor: Arc<Redactor>,
}

/// What is needed to seek the lock of a run before there is an engine for it.
pub struct Seek<'a> {
    /// What is to be run.
    pub program: &'a Program,
    /// The run's id.
    pub run: &'a RunId,
    /// The parameters' values.
    pub params: &'a Map<String, Value>,
    /// The values of the secrets.
    pub secrets: &'a Secrets,
    /// The key of keyed digests.
    pub digest_key: &'a [u8],
    /// The source of time.
    pub clock: &'a Clock,
    /// The state folder.
    pub state: &'a Path,
}

impl Seek<'_> {
    /// A session for the lock `key` in the database of `connection`. Nothing is locked yet.
    ///
    /// # Errors
    /// When the connection has no value or cannot be used.
    pub async fn open(&self, key: &str, connection: &str) -> Result<Remote, HostError> {
        Remote::open(self.shared(connection)?, key, connection).await
    }

    /// Ends the sessions of the run that are left on the server of `connection`, and says which there
    /// were, and which database it is (redacted).
    ///
    /// # Errors
    /// When the connection has no value or cannot be used, or they do not end.
    pub async fn end_strays(&self, connection: &str) -> Result<(Vec<String>, Value), HostError> {
        let shared = self.shared(connection)?;
        let redactor = Arc::clone(&shared.redactor);
        let observe = observe(shared)?;
        let ended = observe.end_postgres_strays(&Conn::named(connection)).await;
        let (sessions, identity) = ended.map_err(|error| redacted(&redactor, error))?;
        let mut identity = json!(identity);
        redactor.value(&mut identity);
        Ok((sessions, identity))
    }

    /// What a scope needs before there is an engine.
    fn shared(&self, connection: &str) -> Result<Arc<Shared>, HostError> {
        let action = || format!("use connection `{connection}`");
        let wrong = |why: String| HostError::permanent(action(), why);
        let secrets: Map<String, Value> = { self.secrets.iter() }
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let playbook = &self.program.playbook().name.value;
        let run = run_value(self.run, playbook, RunStatus::Running, self.clock.wall());
        let world = World::new(self.program, self.params.clone(), Some(secrets), run)
            .map_err(|error| wrong(error.to_string()))?;
        let values = self.secrets.iter().map(|(_, value)| value);
        let redactor =
            Redactor::new(values, self.digest_key).map_err(|error| wrong(error.to_string()))?;
        let (transients, _) = tokio::sync::mpsc::channel::<Transient>(1);
        let shared = Shared {
            run: self.run.clone(),
            clock: self.clock.clone(),
            redactor: Arc::new(redactor),
            connections: connections(self.program, &world)
                .map_err(|error| wrong(error.to_string()))?,
            environment: std::collections::HashMap::default(),
            base_dir: self.program.info().base_dir.clone(),
            folder: Arc::new(RunFolder::detached(self.state.to_owned())),
            transients,
            targets: Targets::nobody(),
            follow_output: false,
        };
        Ok(Arc::new(shared))
    }
}

/// The means to look, in the name of the run's lock.
fn observe(shared: Arc<Shared>) -> Result<Observe, HostError> {
    let path = StepId::new(NAME)
        .map(StepPath::step)
        .ok_or_else(|| HostError::permanent("use a connection of the run", "it has no name"))?;
    let scope = Scope {
        shared,
        path,
        part: Part::Step,
        attempt: 1,
        deadline: Deadline::NEVER,
        cancel: Cancel::new(),
        durable: false,
        logs: std::sync::Mutex::default(),
    };
    Ok(Observe::new(Arc::new(scope)))
}

fn redacted(redactor: &Redactor, error: HostError) -> HostError {
    HostError {
        action: redactor.text(&error.action).into_owned(),
        cause: redactor.text(&error.cause).into_owned(),
        ..error
    }
}

impl Remote {
    async fn open(shared: Arc<Shared>, key: &str, connection: &str) -> Result<Self, HostError> {
        let redactor = Arc::clone(&shared.redactor);
        let observe = observe(shared)?;
        let conn = Conn::named(connection);
        let lock = observe.postgres_lock(&conn, key).await;
        let lock = lock.map_err(|error| redacted(&redactor, error))?;
        Ok(Self {
            key: key.to_owned(),
            connection: connection.to_owned(),
            lock,
            redactor,
        })
    }

    /// Takes the lock, if nobody holds it.
    ///
    /// # Errors
    /// When the server did not say.
    pub async fn try_take(&self) -> Result<PgTaken, HostError> {
        Ok(self.lock.try_take().await?)
    }

    /// The lock, for people: `` `nightly` on `main` (shop at 10.0.0.1:5432 as app) ``.
    pub fn name(&self) -> String {
        let place = self.redactor.text(self.lock.shown());
        format!("`{}` on `{}` ({place})", self.key, self.connection)
    }

    /// What ended a run whose lock it was.
    fn loss(&self, why: &str) -> String {
        let Self {
            key, connection, ..
        } = self;
        format!("the loss of the lock `{key}` on `{connection}`: {why}")
    }

    /// What is said of it once it is lost.
    pub(super) fn gone(&self, why: &str) -> String {
        let Self {
            key, connection, ..
        } = self;
        format!("the lock `{key}` on `{connection}` was lost: {why}")
    }

    /// Asks the server whether it is still held.
    ///
    /// # Errors
    /// Why it is not, or why nobody knows.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.lock.check().await
    }

    /// Waits until it is lost, and says why.
    pub(super) async fn lost(&self) -> String {
        self.lock.lost().await
    }

    /// Gives it back.
    pub(super) async fn release(&self) {
        self.lock.release().await;
    }
}

/// Who holds a lock, for people.
pub fn said(holder: Option<&PgHolder>) -> String {
    holder.map_or_else(|| "somebody".to_owned(), ToString::to_string)
}

impl Engine<'_> {
    /// A session for the lock of a step.
    pub(super) async fn seek(&self, key: &str, connection: &str) -> Result<Remote, HostError> {
        Remote::open(Arc::clone(&self.shared), key, connection).await
    }

    /// Whether `holder` is this run itself, which holds `key` as a whole.
    pub(super) fn holds_whole(&self, key: &str, holder: Option<&PgHolder>) -> bool {
        let own = holder.and_then(PgHolder::run) == Some(self.shared.run.as_str());
        own && self.whole.as_ref().is_some_and(|whole| whole.key == key)
    }

    /// Waits until what the run has locked as a whole is lost, and says so; for ever where it has
    /// locked nothing on a server.
    pub(super) async fn whole_lost(&self) -> String {
        match &self.whole {
            Some(whole) => whole.loss(&whole.lost().await),
            None => std::future::pending().await,
        }
    }

    /// Whether a section must not go on without the run's lock, and the run has it as far as is known.
    pub(super) fn needs_lock(&self, section: Section) -> bool {
        section == Section::Main && !self.verdict.borrow().is_unlocked()
    }

    /// Asks whether the run still holds its lock, before something is changed. Where it does not, the
    /// run is told to end.
    pub(super) async fn ask_lock(
        &self,
        section: Section,
        effect: EffectClass,
    ) -> Result<(), JournalError> {
        if let Some(whole) = &self.whole
            && self.needs_lock(section)
            && effect != EffectClass::Read
            && let Err(why) = whole.check().await
        {
            self.unlocked(&whole.loss(&why))?;
        }
        Ok(())
    }
}

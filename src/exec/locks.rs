//! The locks of a run: of the whole, before it begins, and of single steps.

use serde_json::{Map, Value};

use super::ended::End;
use super::remote::{Remote, said};
use super::scheduler::Engine;
use crate::base::{Duration, StepPath};
use crate::compile::{Local, Program, World};
use crate::event::{JournalError, Section, SkipKind};
use crate::expr::{Evaluated, RootSource};
use crate::host::HostError;
use crate::host::connect::postgres::PgTaken;
use crate::host::lock::{Lock as Held, Taken};
use crate::model::{Lock, OnConflict, Step};

/// How often it is looked whether a lock on a server is free.
pub const REMOTE_POLL: Duration = Duration::from_millis(500);

/// What a run locks as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The lock's name.
    pub key: String,
    /// The connection where it is taken too.
    pub connection: Option<String>,
    /// What happens where another run holds it.
    pub on_conflict: OnConflict,
}

/// What a run of `program` locks as a whole, where it does.
///
/// # Errors
/// When a variable or the key has no value.
pub fn whole(program: &Program, params: &Map<String, Value>) -> Result<Option<Whole>, String> {
    let playbook = program.playbook();
    let Some(lock) = &playbook.lock else {
        return Ok(None);
    };
    let locked = |key| Whole {
        key,
        connection: connection_of(lock),
        on_conflict: lock.on_conflict,
    };
    let Some(key) = &lock.key else {
        let info = program.info();
        let home = match &info.project {
            Some(project) => project.parent().unwrap_or(project),
            None => &info.base_dir,
        };
        let key = format!("{}/{}", home.display(), playbook.name.value);
        return Ok(Some(locked(key)));
    };
    let mut run = Map::new();
    run.insert("playbook".to_owned(), playbook.name.value.clone().into());
    let world = World::new(program, params.clone(), None, run).map_err(|e| e.to_string())?;
    match key.eval(&world).map_err(|e| e.to_string())? {
        Evaluated::Known(key) => Ok(Some(locked(key.to_string()))),
        Evaluated::Unknown(unknown) => {
            let why = unknown.why;
            Err(format!(
                "the key of `lock` is not known before the run: {why}"
            ))
        }
    }
}

/// The lock of a step.
pub(super) struct HeldLock {
    /// Its name.
    pub key: String,
    remote: Option<Remote>,
    #[expect(dead_code, reason = "held until it is dropped")]
    local: Held,
}

impl HeldLock {
    /// What is held of it on a server.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Whether it is still held.
    pub async fn check(&self) -> Result<(), String> {
        match &self.remote {
            Some(remote) => remote.check().await.map_err(|why| remote.gone(&why)),
            None => Ok(()),
        }
    }

    /// Gives it back, first where it was taken last.
    pub async fn release(self) {
        if let Some(remote) = &self.remote {
            remote.release().await;
        }
    }
}

/// What came of a step's `lock:`.
pub(super) enum StepLock {
    /// It has none.
    None,
    /// It is held.
    Held(Box<HeldLock>),
    /// The step ends with it.
    End(Box<End>),
}

impl Engine<'_> {
    /// Takes the lock of a step, waiting where it says so.
    pub(super) async fn lock_of(
        &self,
        step: &Step,
        section: Section,
        path: &StepPath,
        local: &Local<'_>,
    ) -> Result<StepLock, JournalError> {
        let Some(lock) = &step.lock else {
            return Ok(StepLock::None);
        };
        let key = match key_of(lock, local) {
            Ok(key) => key,
            Err(message) => {
                let end = self.failed_before(step, path, message)?;
                return Ok(StepLock::End(Box::new(end)));
            }
        };
        let local = loop {
            let holder = match self.locks.try_take(&key) {
                Ok(Taken::Held(local)) => break local,
                Ok(Taken::Busy(holder)) => holder,
                Err(error) => {
                    let end = self.failed_before(step, path, error.to_string())?;
                    return Ok(StepLock::End(Box::new(end)));
                }
            };
            // Another step of this very run is waited for in any case.
            let own = holder
                .as_ref()
                .is_some_and(|holder| self.locks.is_me(holder));
            if lock.on_conflict == OnConflict::Fail && !own {
                let who = holder.map_or_else(|| "somebody".to_owned(), |h| h.to_string());
                let message = format!("the lock `{key}` is held by {who}");
                let end = self.failed_before(step, path, message)?;
                return Ok(StepLock::End(Box::new(end)));
            }
            let told = self.cancel_of(section).clone();
            tokio::select! {
                biased;
                _ = told.told() => {
                    return self.ended_waiting(path);
                }
                () = self.locks.wait(&self.clock) => {}
            }
        };
        let connection = lock.connection.as_ref();
        let Some(connection) = connection.filter(|_| self.outside.locks_on_servers()) else {
            let remote = None;
            return Ok(StepLock::Held(Box::new(HeldLock { key, remote, local })));
        };
        let told = self.cancel_of(section).clone();
        tokio::select! {
            biased;
            _ = told.told() => self.ended_waiting(path),
            taken = self.take_remote(&key, &connection.value, lock.on_conflict) => match taken {
                Ok(remote) => Ok(StepLock::Held(Box::new(HeldLock { key, remote, local }))),
                Err(message) => {
                    let end = self.failed_before(step, path, message)?;
                    Ok(StepLock::End(Box::new(end)))
                }
            },
        }
    }

    /// The lock of a step on a server; none where the run itself holds it.
    async fn take_remote(
        &self,
        key: &str,
        connection: &str,
        on_conflict: OnConflict,
    ) -> Result<Option<Remote>, String> {
        let told = |error: HostError| match &error.help {
            Some(help) => format!("{error}; {help}"),
            None => error.to_string(),
        };
        let remote = self.seek(key, connection).await.map_err(told)?;
        loop {
            let holder = match remote.try_take().await.map_err(told)? {
                PgTaken::Held => return Ok(Some(remote)),
                PgTaken::Busy(holder) => holder,
            };
            if self.holds_whole(key, holder.as_ref()) {
                return Ok(None);
            }
            if on_conflict == OnConflict::Fail {
                let (lock, who) = (remote.name(), said(holder.as_ref()));
                return Err(format!("the lock {lock} is held by {who}"));
            }
            self.clock.sleep(REMOTE_POLL).await;
        }
    }

    fn ended_waiting(&self, path: &StepPath) -> Result<StepLock, JournalError> {
        let reason = "the run ended while it waited for its lock".to_owned();
        let end = self.skip(path, SkipKind::Stopped, reason.clone(), Some(reason))?;
        Ok(StepLock::End(Box::new(end)))
    }
}

pub(super) fn connection_of(lock: &Lock) -> Option<String> {
    { lock.connection.as_ref() }.map(|name| name.value.clone())
}

fn key_of(lock: &Lock, scope: &dyn RootSource) -> Result<String, String> {
    let Some(key) = &lock.key else {
        return Err("its `lock` has no `key`".to_owned());
    };
    match key.eval(scope) {
        Ok(Evaluated::Known(key)) => Ok(key.to_string()),
        Ok(Evaluated::Unknown(unknown)) => Err(format!(
            "the key of its `lock` is not known: {}",
            unknown.why
        )),
        Err(error) => Err(format!("the key of its `lock` has no value: {error}")),
    }
}

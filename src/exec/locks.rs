//! The locks of a run: of the whole, before it begins, and of single steps.

use serde_json::{Map, Value};

use super::leaf::End;
use super::scheduler::Engine;
use crate::base::StepPath;
use crate::compile::{Local, Program, World};
use crate::event::{JournalError, Section, SkipKind};
use crate::expr::{Evaluated, RootSource};
use crate::host::lock::{Lock as Held, Taken};
use crate::model::{Lock, OnConflict, Step};

/// What a run of `program` locks as a whole, where it does, and what it does where another run holds
/// that.
///
/// # Errors
/// When a variable or the key has no value.
pub fn whole_key(
    program: &Program,
    params: &Map<String, Value>,
) -> Result<Option<(String, OnConflict)>, String> {
    let playbook = program.playbook();
    let Some(lock) = &playbook.lock else {
        return Ok(None);
    };
    let Some(key) = &lock.key else {
        let info = program.info();
        let home = match &info.project {
            Some(project) => project.parent().unwrap_or(project),
            None => &info.base_dir,
        };
        let key = format!("{}/{}", home.display(), playbook.name.value);
        return Ok(Some((key, lock.on_conflict)));
    };
    let mut run = Map::new();
    run.insert("playbook".to_owned(), playbook.name.value.clone().into());
    let world = World::new(program, params.clone(), None, run).map_err(|e| e.to_string())?;
    match key.eval(&world).map_err(|e| e.to_string())? {
        Evaluated::Known(key) => Ok(Some((key.to_string(), lock.on_conflict))),
        Evaluated::Unknown(unknown) => {
            let why = unknown.why;
            Err(format!(
                "the key of `lock` is not known before the run: {why}"
            ))
        }
    }
}

/// What came of a step's `lock:`.
pub(super) enum StepLock {
    /// It has none.
    None,
    /// It is held, under this key.
    Held(String, Held),
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
        loop {
            let holder = match self.locks.try_take(&key) {
                Ok(Taken::Held(held)) => return Ok(StepLock::Held(key, held)),
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
                    let reason = "the run ended while it waited for its lock".to_owned();
                    let end = self.skip(path, SkipKind::Stopped, reason.clone(), Some(reason))?;
                    return Ok(StepLock::End(Box::new(end)));
                }
                () = self.locks.wait(&self.clock) => {}
            }
        }
    }
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

//! What a run locks as a whole, before anything of it is recorded: within the machine first, and then
//! on a server.

use serde_json::{Map, Value};

use super::{Held, Refusal, Setup};
use crate::base::{Deadline, RunId};
use crate::cli::exit;
use crate::cli::output::Output;
use crate::exec::{self, REMOTE_POLL, Remote, Seek, Whole, said};
use crate::host::connect::postgres::PgTaken;
use crate::host::lock::{Holder, Lock, Locks, Taken};
use crate::host::{HostError, identity};
use crate::model::OnConflict;

impl Setup<'_> {
    /// The locks of this machine for `run`.
    pub(super) fn locks(&self, run: &RunId) -> Locks {
        let me = Holder {
            key: String::new(),
            run: run.clone(),
            playbook: self.program.playbook().name.value.clone(),
            user: identity::user_name(),
            pid: std::process::id(),
            since: self.clock.wall(),
            state: self.state.path().to_owned(),
        };
        Locks::new(&self.state, me)
    }

    /// The locks of this machine for `run`, and what it locks as a whole, which is held from now on.
    pub(in crate::cli) async fn lock(
        &mut self,
        out: &Output,
        run: &RunId,
        params: &Map<String, Value>,
    ) -> Result<(Locks, Option<Held>), Refusal> {
        let mut locks = self.locks(run);
        let wanted = exec::whole(self.program, params)
            .map_err(|error| Refusal::new(exit::USAGE, format!("{error}; nothing ran"), None))?;
        let Some(whole) = wanted else {
            return Ok((locks, None));
        };
        let timeout = self.how.timeout;
        let timeout = timeout.or(self.program.playbook().timeout.as_ref().map(|t| t.value));
        let Self { clock, signals, .. } = self;
        let deadline = timeout.map_or(Deadline::NEVER, |limit| clock.deadline_in(limit));
        let early = |code, why: &str| {
            let message = format!("{why} before it had its lock; nothing ran");
            Err(Refusal::new(code, message, None))
        };
        let taking = Taking {
            out,
            locks: &locks,
            whole: &whole,
            waits: self.how.wait || whole.on_conflict == OnConflict::Wait,
            seek: Seek {
                program: self.program,
                run,
                params,
                secrets: &self.secrets,
                digest_key: &self.digest_key,
                clock,
                state: self.state.path(),
            },
        };
        let held = tokio::select! {
            biased;
            held = taking.all() => held?,
            signal = signals.next() => {
                let why = format!("told to end by {}", signal.name());
                return early(signal.exit_code(), &why);
            }
            () = clock.sleep_until(deadline) => {
                return early(exit::DEADLINE, "the run's deadline passed");
            }
        };
        locks.holds_whole(&whole.key);
        Ok((locks, Some(held)))
    }
}

/// What is needed to take the lock of a run.
struct Taking<'a> {
    out: &'a Output,
    locks: &'a Locks,
    whole: &'a Whole,
    waits: bool,
    seek: Seek<'a>,
}

impl Taking<'_> {
    async fn all(&self) -> Result<Held, Refusal> {
        let local = self.local().await?;
        let remote = match &self.whole.connection {
            Some(connection) => Some(self.remote(connection).await?),
            None => None,
        };
        Ok(Held {
            key: self.whole.key.clone(),
            local,
            remote,
        })
    }

    async fn local(&self) -> Result<Lock, Refusal> {
        let key = &self.whole.key;
        let mut told = false;
        loop {
            let holder = match self.locks.try_take(key).map_err(Refusal::host)? {
                Taken::Held(local) => return Ok(local),
                Taken::Busy(holder) => holder,
            };
            let who = holder.map_or_else(|| "somebody".to_owned(), |holder| holder.to_string());
            self.busy(&mut told, &format!("`{key}`"), &who)?;
            self.locks.wait(self.seek.clock).await;
        }
    }

    async fn remote(&self, connection: &str) -> Result<Remote, Refusal> {
        let remote = self.seek.open(&self.whole.key, connection).await;
        let remote = remote.map_err(unlooked)?;
        let mut told = false;
        loop {
            let holder = match remote.try_take().await.map_err(unlooked)? {
                PgTaken::Held => return Ok(remote),
                PgTaken::Busy(holder) => holder,
            };
            self.busy(&mut told, &remote.name(), &said(holder.as_ref()))?;
            self.seek.clock.sleep(REMOTE_POLL).await;
        }
    }

    /// Somebody else holds it: says so once where it is waited for.
    fn busy(&self, told: &mut bool, lock: &str, who: &str) -> Result<(), Refusal> {
        if !self.waits {
            return Err(Refusal::new(
                exit::BUSY,
                format!("the lock {lock} is held by {who}; nothing ran"),
                Some("`--wait` waits for it".to_owned()),
            ));
        }
        if !std::mem::replace(told, true) {
            let line = format!("waiting for the lock {lock}, held by {who}");
            self.out.note_line(&line);
        }
        Ok(())
    }
}

/// Whether somebody holds a lock could not be found out: as with a secret that cannot be read, nothing
/// runs.
fn unlooked(error: HostError) -> Refusal {
    let message = format!("could not take the lock of the run: {error}; nothing ran");
    Refusal::new(exit::USAGE, message, error.help)
}

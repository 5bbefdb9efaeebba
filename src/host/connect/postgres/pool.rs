//! The sessions of a run with one database: opened when they are needed, lent to one step at a time,
//! and closed when nobody has wanted them for a while.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::identity::PgIdentity;
use super::session::Session;
use crate::base::{Clock, Duration, Instant};
use crate::host::Scope;
use crate::host::connect::Kept;

/// For how long a session that nobody wants stays open: it takes a place of the server's.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// After how long without a word it is asked first whether it is still there.
const DOUBT: Duration = Duration::from_secs(1);

/// How long somebody waits for a session that another step uses before one more is opened.
const SOON: Duration = Duration::from_millis(30);

/// How long the answer to that may take.
const DOUBT_LIMIT: Duration = Duration::from_secs(2);

/// How long a polite end may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// How often it is looked for sessions that nobody wants.
const SWEEP: Duration = Duration::from_secs(10);

/// What a session may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To look.
    Look,
    /// To touch.
    Act,
    /// In need, with the reserve's login.
    ReserveLook,
    /// In need, with the reserve's login, to touch.
    ReserveAct,
}

#[derive(Debug)]
struct Idle {
    session: Arc<Session>,
    identity: PgIdentity,
    usable: Use,
    since: Instant,
}

/// The sessions of a run with one database.
#[derive(Debug)]
pub struct Pool {
    idle: Mutex<Vec<Idle>>,
    /// Told when a session was given back.
    back: Notify,
    size: usize,
    places: Arc<Semaphore>,
    sweeping: Mutex<bool>,
    clock: Clock,
}

impl Pool {
    pub(super) fn new(size: usize, clock: Clock) -> Self {
        Self {
            idle: Mutex::default(),
            back: Notify::new(),
            size,
            places: Arc::new(Semaphore::new(size)),
            sweeping: Mutex::default(),
            clock,
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more session, once there is one.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed, so it cannot fail.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// A session that nobody uses; where others use some, one of those if it is given back at once: to
    /// open one takes the server longer than most answers do.
    pub(super) async fn take_soon(
        &self,
        scope: &Scope,
        usable: Use,
    ) -> Option<(Arc<Session>, PgIdentity)> {
        let until = self.clock.deadline_in(SOON);
        loop {
            let mut back = std::pin::pin!(self.back.notified());
            back.as_mut().enable();
            if let Some(found) = self.take(scope, usable).await {
                return Some(found);
            }
            // One of the places is the asker's own.
            if self.size - self.places.available_permits().min(self.size) <= 1 {
                return None;
            }
            tokio::select! {
                () = back => {}
                () = self.clock.sleep_until(until) => return None,
            }
        }
    }

    /// A session that nobody uses.
    async fn take(&self, scope: &Scope, usable: Use) -> Option<(Arc<Session>, PgIdentity)> {
        loop {
            let found = {
                let mut idle = self.idle();
                let at = idle.iter().rposition(|idle| idle.usable == usable)?;
                idle.swap_remove(at)
            };
            if !found.session.is_idle() {
                continue;
            }
            if self.clock.now().since(found.since) > DOUBT {
                let allowance = scope.allow(DOUBT_LIMIT);
                let answer = found.session.client.batch_execute("");
                if !matches!(scope.within(allowance, answer).await, Ok(Ok(()))) {
                    continue;
                }
            }
            return Some((found.session, found.identity));
        }
    }

    /// Makes room for one more, whose place is taken already: those that nobody uses count as well, and
    /// one of another use may be in the way. It is closed.
    pub(super) async fn make_room(&self, scope: &Scope) {
        loop {
            let too_many = {
                let mut idle = self.idle();
                match idle.len() > self.places.available_permits() {
                    true => idle.remove(0),
                    false => return,
                }
            };
            if let Some(session) = Arc::into_inner(too_many.session) {
                session.close(scope).await;
            }
        }
    }

    fn put(self: &Arc<Self>, session: Arc<Session>, identity: PgIdentity, usable: Use) {
        let since = self.clock.now();
        self.idle().push(Idle {
            session,
            identity,
            usable,
            since,
        });
        self.back.notify_one();
        let mut sweeping = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *sweeping, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.clock.clone()));
        }
    }

    /// Takes out what nobody has wanted for `limit`.
    fn forgotten(&self, limit: Duration) -> Vec<Session> {
        let now = self.clock.now();
        let mut idle = self.idle();
        let (old, fresh): (Vec<Idle>, Vec<Idle>) = { std::mem::take(&mut *idle).into_iter() }
            .partition(|idle| now.since(idle.since) >= limit);
        *idle = fresh;
        old.into_iter()
            .filter_map(|idle| Arc::into_inner(idle.session))
            .collect()
    }
}

impl Kept for Pool {
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async {
            for session in self.forgotten(Duration::ZERO) {
                tokio::select! {
                    () = session.let_go() => {}
                    () = self.clock.sleep(CLOSE_LIMIT) => {}
                }
            }
        })
    }
}

/// Ends what nobody wants, until there is nothing left.
async fn sweep(pool: Weak<Pool>, clock: Clock) {
    loop {
        clock.sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        for session in pool.forgotten(IDLE_LIMIT) {
            tokio::spawn(session.let_go());
        }
        let mut sweeping = pool.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.idle().is_empty() {
            *sweeping = false;
            return;
        }
    }
}

/// A session that is lent to one step.
#[derive(Debug)]
pub(super) struct Lease {
    session: Arc<Session>,
    home: Option<Home>,
    /// Its place among the sessions of the run, for as long as it is open or in use.
    place: Option<OwnedSemaphorePermit>,
}

/// Where a session goes back to.
#[derive(Debug)]
pub(super) struct Home {
    pub pool: Arc<Pool>,
    pub identity: PgIdentity,
    pub usable: Use,
}

/// A session that was found or opened.
pub(super) struct Taken {
    pub lease: Lease,
    pub identity: PgIdentity,
    pub reserve: bool,
}

impl Lease {
    /// Of a session that no pool has.
    pub fn alone(session: Session) -> Self {
        Self {
            session: Arc::new(session),
            home: None,
            place: None,
        }
    }

    /// Of a session that goes back.
    pub fn of(session: Arc<Session>, home: Home, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            session,
            home: Some(home),
            place,
        }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What was done in it may have left something behind: it does not go back.
    pub fn keep_apart(&mut self) {
        self.home = None;
    }

    /// Ends the session, or gives it back.
    pub async fn close(mut self, scope: &Scope) {
        let (session, alone) = (Arc::clone(&self.session), self.home.is_none());
        // Somebody else opens one when this one is gone, and not before.
        let place = self.place.take();
        drop(self);
        if alone && let Some(session) = Arc::into_inner(session) {
            session.close(scope).await;
        }
        drop(place);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(home) = self.home.take()
            && self.session.is_idle()
        {
            let session = Arc::clone(&self.session);
            home.pool.put(session, home.identity, home.usable);
        }
    }
}

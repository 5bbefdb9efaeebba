//! Who waits for whom, put together from what the server says of each session.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Blocked, Outputs, Root};
use crate::steps::postgres::text::one_line;

/// A session as the server describes it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Seen {
    pub pid: i32,
    pub user: Option<String>,
    pub database: Option<String>,
    pub application: Option<String>,
    pub backend: Option<String>,
    pub state: Option<String>,
    pub transaction_s: Option<f64>,
    pub query: Option<String>,
    pub waited_s: Option<f64>,
    pub lock: Option<String>,
    pub mode: Option<String>,
    pub relation: Option<String>,
    pub blocked_by: Option<Vec<i32>>,
}

/// Who waits for whom, and who is at the root.
pub(super) fn chains(seen: &[Seen]) -> Outputs {
    let mut blocked: Vec<Blocked> = seen.iter().filter_map(Seen::blocked).collect();
    // Those of whom it is not known how long they wait come last.
    blocked.sort_by(|a, b| descending(a.waited_s, b.waited_s).then(a.pid.cmp(&b.pid)));
    let waiting: BTreeSet<i32> = blocked.iter().map(|it| it.pid).collect();
    let mut ahead_of: BTreeMap<i32, Vec<&Blocked>> = BTreeMap::new();
    for waiter in &blocked {
        for &blocker in &waiter.blocked_by {
            ahead_of.entry(blocker).or_default().push(waiter);
        }
    }
    let roots = seen.iter().filter(|it| !waiting.contains(&it.pid));
    let mut roots: Vec<Root> = { roots.filter(|it| ahead_of.contains_key(&it.pid)) }
        .map(|it| it.root(&ahead_of, &blocked))
        .collect();
    roots.sort_by(|a, b| {
        let by_number = b.blocks_in_all.cmp(&a.blocks_in_all);
        by_number
            .then(descending(a.longest_wait_s, b.longest_wait_s))
            .then(a.pid.cmp(&b.pid))
    });
    Outputs {
        longest_wait_s: blocked.first().and_then(|it| it.waited_s),
        blocked,
        roots,
    }
}

/// The sessions behind no root: they wait for one another in a circle, or for such. The longest wait first.
pub(super) fn without_root(found: &Outputs) -> Vec<&Blocked> {
    let mut behind: BTreeSet<i32> = found.roots.iter().map(|root| root.pid).collect();
    loop {
        let before = behind.len();
        for waiter in &found.blocked {
            if waiter.blocked_by.iter().any(|pid| behind.contains(pid)) {
                behind.insert(waiter.pid);
            }
        }
        if behind.len() == before {
            break;
        }
    }
    let blocked = found.blocked.iter();
    blocked.filter(|it| !behind.contains(&it.pid)).collect()
}

fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    let or_least = |wait: Option<f64>| wait.unwrap_or(f64::NEG_INFINITY);
    or_least(b).total_cmp(&or_least(a))
}

impl Seen {
    fn blocked(&self) -> Option<Blocked> {
        let mut blocked_by = self.blocked_by.clone().unwrap_or_default();
        // Those of a parallel query can be named more than once.
        blocked_by.sort_unstable();
        blocked_by.dedup();
        // Between the look at the locks and the question who is in the way it got its lock.
        if blocked_by.is_empty() {
            return None;
        }
        let mode = self.mode.as_deref().unwrap_or("a lock");
        let waits_for = match (self.lock.as_deref(), &self.relation) {
            // What it waits for is the end of a transaction that has changed a row it wants.
            (Some("transactionid"), Some(relation)) => {
                format!("the end of a transaction (rows of {relation})")
            }
            (Some("transactionid"), None) => "the end of a transaction".to_owned(),
            (Some("tuple"), Some(relation)) => format!("{mode} on a row of {relation}"),
            (Some(lock), Some(relation)) => format!("{mode} on {lock} {relation}"),
            (Some(lock), None) => format!("{mode} on {lock}"),
            (None, _) => mode.to_owned(),
        };
        Some(Blocked {
            pid: self.pid,
            user: self.user.clone(),
            database: self.database.clone(),
            application: self.application.clone().unwrap_or_default(),
            backend: self.backend.clone(),
            state: self.state.clone(),
            waited_s: self.waited_s.map(|wait| wait.max(0.0)),
            waits_for,
            query: self.query.as_deref().map(one_line),
            blocked_by,
        })
    }

    fn root(&self, ahead_of: &BTreeMap<i32, Vec<&Blocked>>, blocked: &[Blocked]) -> Root {
        let mut behind: BTreeSet<i32> = BTreeSet::new();
        let mut open = vec![self.pid];
        while let Some(pid) = open.pop() {
            for waiter in ahead_of.get(&pid).into_iter().flatten() {
                if behind.insert(waiter.pid) {
                    open.push(waiter.pid);
                }
            }
        }
        let mut holds_up: Vec<String> = Vec::new();
        let behind: Vec<&Blocked> = { blocked.iter() }
            .filter(|it| behind.contains(&it.pid))
            .collect();
        for waiter in &behind {
            if !holds_up.contains(&waiter.waits_for) {
                holds_up.push(waiter.waits_for.clone());
            }
        }
        Root {
            pid: self.pid,
            user: self.user.clone(),
            database: self.database.clone(),
            application: self.application.clone().unwrap_or_default(),
            backend: self.backend.clone(),
            state: self.state.clone(),
            transaction_s: self.transaction_s.map(|age| age.max(0.0)),
            query: self.query.as_deref().map(one_line),
            blocks_directly: ahead_of.get(&self.pid).map_or(0, Vec::len),
            blocks_in_all: behind.len(),
            longest_wait_s: behind.first().and_then(|it| it.waited_s),
            holds_up,
        }
    }
}

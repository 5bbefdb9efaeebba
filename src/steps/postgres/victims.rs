//! Sessions that are to be ended, or whose statements are: the fields by which an author selects them.
//!
//! `postgres.cancel` and `postgres.terminate` have this in common. Who matches, and who is never touched,
//! is in `found`; how it is done is in `deed`.

mod deed;
mod found;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::deed::Outputs;

use crate::base::Duration;
use crate::host::connect::Conn;
use crate::host::connect::postgres::{PgValue, Postgres};
use crate::host::net::is_network;
use crate::step::{Description, Partial};

/// What is done to a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Its statement is cancelled; the session stays.
    Cancel,
    /// The session is ended.
    Terminate,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It runs a statement.
    Active,
    /// It does nothing, outside of a transaction.
    Idle,
    /// It does nothing within a transaction, whose locks it holds.
    IdleInTransaction,
    /// The same, after an error.
    IdleInTransactionAborted,
}

impl State {
    /// As `pg_stat_activity` has it.
    fn as_server(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle in transaction",
            Self::IdleInTransactionAborted => "idle in transaction (aborted)",
        }
    }
}

/// A configuration type with the fields by which sessions are selected, and a method `wanted`.
macro_rules! selecting {
    (
        $(#[$doc:meta])* $name:ident of $act:expr;
        state: $state:expr;
        $($(#[$more_doc:meta])* $more:ident: $ty:ty,)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The server. Where all its connections are taken, the connection's `reserve` is used.
            pub connection: Conn<Postgres>,
            $($(#[$more_doc])* pub $more: $ty,)*
            /// Only what has been in its state for longer; of a session that runs a statement: what has
            /// run it for longer.
            pub older_than: Option<Duration>,
            /// Only sessions whose transaction has been open for longer.
            pub transaction_older_than: Option<Duration>,
            /// Only sessions that call themselves so (`application_name`); `*` and `?` stand for any
            /// characters and one.
            pub application: Option<Vec<String>>,
            /// Only sessions of these users.
            pub user: Option<Vec<String>>,
            /// Only sessions of these databases; by default, of the connection's own.
            pub database: Option<Vec<String>>,
            /// Only sessions from these addresses or networks (`10.0.0.0/8`); `local` is the Unix socket.
            pub client: Option<Vec<String>>,
            /// Only sessions at the root: others wait for a lock of theirs, and they wait for nobody
            /// themselves. Who stands between a root and others only waits too, and of sessions that
            /// wait for one another in a circle none is a root: PostgreSQL ends one of them itself.
            #[serde(default)]
            pub blocking: bool,
            /// Only these process ids.
            pub pids: Option<Vec<i32>>,
            /// If there are more victims than this, none is touched.
            #[serde(default = "crate::steps::postgres::victims::fifty")]
            #[schemars(range(min = 1, max = 10_000))]
            pub max: u32,
            /// How long it waits until each victim is gone.
            #[serde(default = "crate::steps::postgres::victims::ten_seconds")]
            pub timeout: Duration,
        }

        impl $name {
            fn wanted(&self) -> crate::steps::postgres::victims::Wanted<'_> {
                let state: fn(&Self) -> Option<Vec<crate::steps::postgres::victims::State>> = $state;
                crate::steps::postgres::victims::Wanted {
                    act: $act,
                    connection: &self.connection,
                    state: state(self),
                    older_than: self.older_than,
                    transaction_older_than: self.transaction_older_than,
                    application: self.application.as_deref(),
                    user: self.user.as_deref(),
                    database: self.database.as_deref(),
                    client: self.client.as_deref(),
                    blocking: self.blocking,
                    pids: self.pids.as_deref(),
                    max: self.max,
                    timeout: self.timeout,
                }
            }
        }
    };
}
pub(super) use selecting;

pub(super) fn fifty() -> u32 {
    50
}

pub(super) fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// Which sessions are wanted: all of it must hold.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub act: Act,
    pub connection: &'a Conn<Postgres>,
    pub state: Option<Vec<State>>,
    pub older_than: Option<Duration>,
    pub transaction_older_than: Option<Duration>,
    pub application: Option<&'a [String]>,
    pub user: Option<&'a [String]>,
    pub database: Option<&'a [String]>,
    pub client: Option<&'a [String]>,
    pub blocking: bool,
    pub pids: Option<&'a [i32]>,
    pub max: u32,
    pub timeout: Duration,
}

impl Wanted<'_> {
    /// What the types of the fields cannot say.
    pub fn check(&self) -> Result<(), String> {
        let lists = [
            ("application", self.application.map(<[_]>::is_empty)),
            ("user", self.user.map(<[_]>::is_empty)),
            ("database", self.database.map(<[_]>::is_empty)),
            ("client", self.client.map(<[_]>::is_empty)),
        ];
        if let Some((name, _)) = lists.iter().find(|(_, empty)| *empty == Some(true)) {
            return Err(format!(
                "`{name}` is an empty list, so nothing would be selected"
            ));
        }
        if self.state.as_deref().is_some_and(<[State]>::is_empty) {
            return Err("`state` is an empty list, so nothing would be selected".to_owned());
        }
        // What runs is what a cancellation is about: it selects nothing.
        let by_state = self.state.is_some() && self.act == Act::Terminate;
        let narrows = by_state
            || self.older_than.is_some()
            || self.transaction_older_than.is_some()
            || self.application.is_some()
            || self.user.is_some()
            || self.client.is_some()
            || self.blocking
            || self.pids.is_some();
        if !narrows {
            let state = match self.act {
                Act::Cancel => "",
                Act::Terminate => "`state`, ",
            };
            return Err(format!(
                "it would take every session of the database: select by {state}`older_than`, \
                 `transaction_older_than`, `application`, `user`, `client`, `blocking` or `pids`"
            ));
        }
        let wrong = { self.client.iter().copied().flatten() }.find(|text| !is_client(text));
        if let Some(text) = wrong {
            return Err(format!(
                "`client` has `{text}`, which is no address, no network and not `local`"
            ));
        }
        if self.max == 0 {
            return Err("`max` is at least 1".to_owned());
        }
        Ok(())
    }

    /// "could not … the session".
    fn verb(&self) -> &'static str {
        match self.act {
            Act::Cancel => "cancel",
            Act::Terminate => "end",
        }
    }

    /// The parameters of a query that begins with what matches.
    fn parameters(&self) -> Vec<PgValue> {
        let seconds = |limit: Option<Duration>| limit.map(Duration::as_secs_f64);
        let patterns = self
            .application
            .map(|globs| globs.iter().map(|glob| like(glob)).collect::<Vec<_>>());
        let state = self.state.as_ref().map(|states| {
            let states = states.iter().map(|state| state.as_server());
            states.collect::<Vec<_>>()
        });
        let is_local = |text: &&String| *text == "local";
        let local = self
            .client
            .is_some_and(|all| all.iter().any(|text| text == "local"));
        let networks = self.client.map(|all| {
            let networks = all.iter().filter(|text| !is_local(text));
            networks.collect::<Vec<_>>()
        });
        [
            json!(self.database),
            json!(self.user),
            json!(patterns),
            json!(self.pids),
            json!(self.blocking),
            json!(state),
            json!(seconds(self.older_than)),
            json!(seconds(self.transaction_older_than)),
            json!(networks),
            json!(local),
        ]
        .iter()
        .map(PgValue::of)
        .collect()
    }
}

/// `what`, and by what they are selected.
pub(super) fn described(what: &str, config: &Partial) -> Description {
    let connection = config.text("connection").unwrap_or_default();
    let selected = [
        "state",
        "older_than",
        "transaction_older_than",
        "application",
        "user",
        "database",
        "client",
        "blocking",
        "pids",
    ];
    let selected = { selected.iter() }
        .filter_map(|key| config.text(key).map(|value| format!("{key} {value}")));
    let line = Description::line(format!("{what} at `{connection}`"));
    selected.fold(line, Description::detail)
}

/// A pattern with `*` and `?` as one of `LIKE`.
fn like(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len());
    for c in glob.chars() {
        match c {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    pattern
}

/// `local`, an address, or a network.
fn is_client(text: &str) -> bool {
    text == "local" || is_network(text)
}

#[cfg(test)]
mod tests {
    use super::{is_client, like};

    #[test]
    fn patterns_are_those_of_like() {
        assert_eq!(like("app-*"), "app-%");
        assert_eq!(like("50%_a?\\"), "50\\%\\_a_\\\\");
    }

    #[test]
    fn clients_are_addresses_and_networks() {
        for right in ["local", "10.0.0.1", "10.0.0.0/8", "::1", "fe80::/10"] {
            assert!(is_client(right), "{right}");
        }
        for wrong in ["", "db.example.org", "10.0.0.0/33", "10.0.0.0/x"] {
            assert!(!is_client(wrong), "{wrong}");
        }
    }
}

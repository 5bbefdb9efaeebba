//! What keeps us from talking to a Redis server, told by the library's errors and the server's own.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::RedisError;

use crate::host::reach::{Obstacle, ReachError};
use crate::host::tls::handshake_cause;

/// What an error of the library means.
pub(super) fn explain(action: &str, error: &RedisError) -> ReachError {
    if let Some(code) = error.code() {
        return explain_answer(action, code, error.detail());
    }
    if error.is_connection_dropped() {
        let cause = "the server closed the connection";
        let help = "it turns us away at the door: look at its log for protected mode, `maxclients`, \
                    or a port that speaks TLS (`rediss://`)";
        return ReachError::new(Obstacle::HungUp, action, cause).with_help(help);
    }
    // The library keeps what it did not make itself in an `Arc`.
    let inner = error.source().and_then(|e| e.downcast_ref::<Inner>());
    if let Some(io) = inner.and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return match io.get_ref().and_then(|e| e.downcast_ref()) {
            Some(tls) => ReachError::new(Obstacle::Tls, action, handshake_cause(tls)),
            None => ReachError::io(action, io),
        };
    }
    let cause = format!("what it answers is not Redis: {error}");
    ReachError::new(Obstacle::Garbled, action, cause)
}

/// What an answer that is an error means.
pub(super) fn explain_answer(action: &str, code: &str, said: Option<&str>) -> ReachError {
    let said = said.unwrap_or_default();
    let (obstacle, help) = meaning(code, said);
    let mut error = ReachError::new(obstacle, action, format!("{code} {said}").trim());
    error.help = help.map(str::to_owned);
    error
}

type Inner = Arc<dyn Error + Send + Sync>;

/// What an error of the server's means, and what to do about it. The codes are the first words of
/// its errors (`shared.*err` in `server.c`).
fn meaning(code: &str, said: &str) -> (Obstacle, Option<&'static str>) {
    // It closes the connection after this, whatever was asked.
    if said.contains("max number of clients") {
        let help = "all connections are taken: look at `CLIENT LIST` and `maxclients`";
        return (Obstacle::NotReady, Some(help));
    }
    match code {
        "NOAUTH" => (
            Obstacle::Denied,
            Some("it asks for a login: write it into the URL, as in `redis://:password@host`"),
        ),
        "WRONGPASS" => (
            Obstacle::Denied,
            Some("look at the user and the password in the URL of the connection"),
        ),
        "NOPERM" => (
            Obstacle::Forbidden,
            Some("let the login run the command: `ACL SETUSER`"),
        ),
        "DENIED" => (
            Obstacle::Denied,
            Some("it is in protected mode: give it a password, or let it listen on loopback only"),
        ),
        "LOADING" => (
            Obstacle::NotReady,
            Some(
                "it loads its data: wait, and look at `loading_eta_seconds` of `INFO persistence`",
            ),
        ),
        "MASTERDOWN" => (
            Obstacle::NotReady,
            Some("its link to the master is down, and `replica-serve-stale-data` is off"),
        ),
        "CLUSTERDOWN" => (Obstacle::NotReady, Some("look at `CLUSTER INFO`")),
        "BUSY" => (
            Obstacle::NotReady,
            Some("a script runs and runs: `SCRIPT KILL` ends one that has written nothing"),
        ),
        "MISCONF" => (
            Obstacle::NotReady,
            Some("it cannot save its data, and refuses writes: look at its log and its disk"),
        ),
        "OOM" => (
            Obstacle::NotReady,
            Some(
                "its memory is full (`maxmemory`), and its `maxmemory-policy` removes nothing that could \
                 make room: free memory or raise the limit",
            ),
        ),
        "NOREPLICAS" => (
            Obstacle::NotReady,
            Some("fewer replicas follow it than `min-replicas-to-write` asks for"),
        ),
        "READONLY" => (
            Obstacle::Rejected,
            Some("it is a replica: let the URL name the master"),
        ),
        "MOVED" | "ASK" | "CROSSSLOT" => (
            Obstacle::Rejected,
            Some(
                "it is a node of a Redis Cluster, and the key is kept by another one: clusters are not \
                 supported; to look at the key, let the URL name that node",
            ),
        ),
        _ => (Obstacle::Rejected, None),
    }
}

#[cfg(test)]
mod tests {
    use super::meaning;
    use crate::host::reach::Obstacle;

    #[test]
    fn tells_a_login_from_a_server() {
        for (code, said, obstacle) in [
            ("NOAUTH", "Authentication required.", Obstacle::Denied),
            (
                "WRONGPASS",
                "invalid username-password pair",
                Obstacle::Denied,
            ),
            (
                "NOPERM",
                "this user has no permissions",
                Obstacle::Forbidden,
            ),
            (
                "LOADING",
                "Redis is loading the dataset",
                Obstacle::NotReady,
            ),
            ("MASTERDOWN", "Link with MASTER is down", Obstacle::NotReady),
            ("ERR", "max number of clients reached", Obstacle::NotReady),
            ("ERR", "unknown command", Obstacle::Rejected),
            ("OOM", "command not allowed", Obstacle::NotReady),
            ("READONLY", "You can't write", Obstacle::Rejected),
        ] {
            assert_eq!(meaning(code, said).0, obstacle, "{code}");
        }
    }
}

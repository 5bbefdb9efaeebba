//! What errors of the library and of the server mean, for people and for what is done next.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::{ErrorPosition, SqlState};

use super::sql::Sql;
use crate::host::reach::{Obstacle, ReachError};
use crate::host::tls::Tls;

/// What an error of the library means.
pub(super) fn explain(
    action: String,
    error: &tokio_postgres::Error,
    tls: Option<&Tls>,
) -> ReachError {
    if let Some(rejected) = tls.and_then(|tls| tls.rejection(&action)) {
        return rejected;
    }
    if let Some(db) = error.as_db_error() {
        let (obstacle, help) = meaning(db.code());
        let detail = db.detail().map(|text| format!(": {text}"));
        let (said, code) = (db.message(), db.code().code());
        let cause = format!("{said} (SQLSTATE {code}){}", detail.unwrap_or_default());
        let error = ReachError::new(obstacle, action, cause);
        return match help {
            Some(help) => error.with_help(help),
            None => error,
        };
    }
    if error.is_closed() {
        let cause = "the server closed the connection";
        return ReachError::new(Obstacle::HungUp, action, cause);
    }
    match error.source() {
        Some(source) => match source.downcast_ref::<io::Error>() {
            Some(io) => match tls {
                Some(tls) => tls.error(&action, io),
                None => ReachError::io(action, io),
            },
            None => in_words(action, &source.to_string()),
        },
        None => ReachError::new(Obstacle::Garbled, action, error.to_string()),
    }
}

/// What an error of a statement means: to lack a right here is not to be turned away.
pub(super) fn refused(
    action: String,
    error: &tokio_postgres::Error,
    sql: Option<&Sql>,
) -> ReachError {
    let mut refused = explain(action, error, None);
    if let Some(ErrorPosition::Original(at)) = error.as_db_error().and_then(|db| db.position())
        && let Some(place) = sql.and_then(|sql| sql.place(*at))
    {
        refused.cause = format!("{}, at {place}", refused.cause);
    }
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return refused;
    }
    ReachError {
        obstacle: Obstacle::Forbidden,
        help: Some("give the login the right to ask for it: `GRANT`".to_owned()),
        ..refused
    }
}

/// What the library says in words alone (`connect_tls.rs`, `connect_raw.rs`).
fn in_words(action: String, said: &str) -> ReachError {
    match said {
        "server does not support TLS" => ReachError::new(
            Obstacle::Tls,
            action,
            "the server offers no TLS, and the connection asks for it",
        )
        .with_help(
            "turn on `ssl` on the server; or, where the way there is trusted, write \
             `sslmode=disable` in the URL",
        ),
        "password missing" => ReachError::new(
            Obstacle::Denied,
            action,
            "the server asks for a password, and the URL has none",
        ),
        _ => ReachError::new(Obstacle::Garbled, action, said),
    }
}

/// What a server's own error means for a session, and what to do about it: PostgreSQL, "Error
/// Codes".
fn meaning(state: &SqlState) -> (Obstacle, Option<&'static str>) {
    let code = state.code();
    match code {
        "28P01" => (
            Obstacle::Denied,
            Some("look at the user and the password in the URL of the connection"),
        ),
        "3D000" => (
            Obstacle::Denied,
            Some("look at the name of the database in the URL of the connection"),
        ),
        "53300" => (
            Obstacle::Exhausted,
            Some(
                "all connections are taken: name a superuser's login as `reserve` of the connection, \
                 and look at `postgres.activity`",
            ),
        ),
        // Starting up, shutting down, in recovery without `hot_standby`.
        "57P03" => (
            Obstacle::NotReady,
            Some("it is starting, stopping or recovering: look at the server's log"),
        ),
        // Ended by an administrator, or because another process crashed.
        "57P01" | "57P02" => (Obstacle::NotReady, None),
        // Invalid authorization, and a missing right to connect.
        _ if code.starts_with("28") || code == "42501" => (
            Obstacle::Denied,
            Some("let the login in: `pg_hba.conf`, and the role's rights on the database"),
        ),
        // Insufficient resources.
        _ if code.starts_with("53") => (Obstacle::NotReady, None),
        // No lock in time, a deadlock, a row that somebody has changed (where transactions are serializable).
        "55P03" | "40P01" | "40001" => (Obstacle::Locked, None),
        _ => (Obstacle::Rejected, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{in_words, meaning};
    use crate::host::reach::Obstacle;
    use tokio_postgres::error::SqlState;

    #[test]
    fn tells_a_login_from_a_server() {
        for (code, obstacle) in [
            ("28P01", Obstacle::Denied),
            ("28000", Obstacle::Denied),
            ("3D000", Obstacle::Denied),
            ("42501", Obstacle::Denied),
            ("53300", Obstacle::Exhausted),
            ("57P03", Obstacle::NotReady),
            ("53100", Obstacle::NotReady),
            ("55P03", Obstacle::Locked),
            ("40P01", Obstacle::Locked),
            ("42P01", Obstacle::Rejected),
            ("XX000", Obstacle::Rejected),
        ] {
            assert_eq!(meaning(&SqlState::from_code(code)).0, obstacle, "{code}");
        }
        let error = in_words("connect".to_owned(), "server does not support TLS");
        assert_eq!(error.obstacle, Obstacle::Tls);
    }
}

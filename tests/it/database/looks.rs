//! What the types that only look see of a server that has something to show.

mod locks;
mod ready;
mod replication;
mod server;

use std::process::Command;

use serde_json::Value;

use super::sql;
use crate::support::postgres::Postgres;
use crate::support::process::{self, Running};
use crate::support::run::Ran;
use crate::support::wait;

/// How long anything may take, on a machine that is busy compiling.
const SOON: std::time::Duration = std::time::Duration::from_secs(30);

/// A step of what ran.
#[track_caller]
fn step(ran: &Ran, id: &str) -> Value {
    sql::step(ran, id)
}

/// The findings of a step, as `level: message (help)`, one a line.
#[track_caller]
fn findings(ran: &Ran, id: &str) -> String {
    let step = step(ran, id);
    let findings = step["findings"].as_array().expect("findings");
    let line = |finding: &Value| {
        let text = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        format!(
            "{}: {} ({})\n",
            text("level"),
            text("message"),
            text("help")
        )
    };
    findings.iter().map(line).collect()
}

/// A session that says these statements one after the other and then does nothing, until it is dropped.
fn session(url: &str, statements: &[&str]) -> Running {
    let mut command = Command::new(process::program("psql", "postgresql-client"));
    command.args(["-X", "-At", "-d", url]);
    for statement in statements {
        command.args(["-c", statement]);
    }
    command.args(["-c", "\\! sleep 600"]);
    Running::start(command, b"")
}

/// The process on the server of the session that called itself `application`, once it is in `state`.
#[track_caller]
fn backend(server: &Postgres, application: &str, is: &str) -> i32 {
    let ask = format!(
        "SELECT pid FROM pg_stat_activity WHERE application_name = '{application}' AND {is}"
    );
    wait::until(&format!("{application} to be {is}"), SOON, || {
        server.psql(&ask).parse().ok()
    })
}

/// The URL of a session that calls itself `application`.
fn called(url: &str, application: &str) -> String {
    format!("{url}?application_name={application}")
}

//! The weekly maintenance beside a load: whoever uses the database meanwhile waits for no lock for long.

use std::fs;

use super::shipped;
use crate::support::process::Running;
use crate::support::run::LIMIT;
use crate::support::session::Session;
use crate::support::shop::{LIVE_SESSIONS, Shop};
use crate::support::wait;

/// How long a statement of the load waits for a lock at most, as our own do: one that would wait longer
/// fails, and pgbench gives its client up.
const LOCK_TIMEOUT: &str = "-c lock_timeout=5000";

/// What the platform does with the tables that are maintained. A transaction takes some time, so that
/// whoever wants a lock on its tables waits.
const PLATFORM: &str = r#"\set id random(1, 40000)
BEGIN;
UPDATE events SET kind = md5(random()::text) WHERE id = :id * 10;
INSERT INTO audit_logs (created_at, actor, action) VALUES (now(), 'load', 'x');
UPDATE "UserData" SET "eMail" = 'x' WHERE "Id" = :id % 1000;
INSERT INTO user_sessions VALUES (gen_random_uuid(), now() + interval '1 day');
\sleep 50 ms
COMMIT;
"#;

const CLIENTS: u64 = 4;

/// How many clients pgbench has not given up.
fn clients(shop: &Shop) -> u64 {
    shop.count("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")
}

#[test]
fn nobody_waits_long_for_the_weekly_maintenance() {
    let shop = Shop::filled(10);
    let run = shipped("weekly-db-maintenance.yaml", &shop);
    let script = run.folder().join("platform.sql");
    fs::write(&script, PLATFORM).expect("a script can be written");
    let clients_asked = CLIENTS.to_string();
    let mut load = shop.bench(&[
        "-n",
        "-c",
        &clients_asked,
        "-T",
        "600",
        "-b",
        "tpcb-like@1",
        "-f",
        &format!("{}@1", script.display()),
    ]);
    load.env("PGOPTIONS", LOCK_TIMEOUT);
    let load = Running::start(load, b"");
    let written = || shop.count("SELECT count(*) FROM audit_logs WHERE actor = 'load'");
    wait::until("a load", LIMIT, || {
        (clients(&shop) == CLIENTS && written() > 0).then_some(())
    });

    let before = written();
    let ran = run
        .args(["run", "weekly-db-maintenance.yaml", "--wait", "--yes"])
        .run();
    ran.expect_code(0);
    assert!(written() > before, "the load went on meanwhile");
    assert_eq!(clients(&shop), CLIENTS, "{}", load.stderr_so_far());
    assert!(
        !load.stderr_so_far().contains("aborted"),
        "{}",
        load.stderr_so_far()
    );
    let expired = "SELECT count(*) FROM user_sessions WHERE expires_at < now()";
    assert_eq!(shop.count(expired), 0);
    let live = shop.count("SELECT count(*) FROM user_sessions");
    assert!(live > LIVE_SESSIONS, "{live}");

    // What would be seen if somebody had to wait: the seed's REINDEX holds such a lock while it runs.
    let holder = Session::holding(&shop.url(), "LOCK TABLE events IN SHARE MODE");
    wait::until("a client to be given up", LIMIT, || {
        (clients(&shop) < CLIENTS).then_some(())
    });
    assert!(
        load.stderr_so_far().contains("due to lock timeout"),
        "{}",
        load.stderr_so_far()
    );
    holder.let_go();
}

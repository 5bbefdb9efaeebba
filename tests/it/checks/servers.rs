//! Servers that hang, are something else than expected, or do not let us ask.

use super::Checks;
use crate::support::certificates::{Authority, Subject};
use crate::support::http::{HttpServer, Reply};
use crate::support::net::BlackHole;
use crate::support::postgres::{self, Postgres};
use crate::support::redis::{self, Redis};

/// The head of a playbook with these connections, each from the environment variable of its name.
pub(super) fn connections(kind: &str, names: &[&str]) -> String {
    let mut head = "secrets:\n".to_owned();
    for name in names {
        head.push_str(&format!("  {name}: {{ env: URL_{name} }}\n"));
    }
    head.push_str("connections:\n");
    for name in names {
        head.push_str(&format!(
            "  {name}: {{ {kind}: {{ url: '${{{{ secrets.{name} }}}}' }} }}\n"
        ));
    }
    head
}

#[test]
fn a_postgres_that_nobody_can_use_is_critical() {
    let (shared, hanging) = (
        Postgres::shared(),
        Postgres::start(&postgres::Options::default()),
    );
    let standby = hanging.standby();
    shared.create_role("known", "right1");
    let hole = BlackHole::open();
    let urls = [
        ("good", shared.url_as("known", "right1", "postgres")),
        ("role", shared.url_as("unheard", "right1", "postgres")),
        ("password", shared.url_as("known", "wrong1", "postgres")),
        ("database", shared.url_as("known", "right1", "unheard_of")),
        ("hanging", hanging.url("postgres")),
        ("standby", standby.url("postgres")),
        ("hole", format!("postgres://x@127.0.0.1:{}/x", hole.port())),
    ];
    let mut checks = Checks::new(&connections("postgres", &urls.each_ref().map(|url| url.0)));
    let mut expect = |level, config: &str| {
        checks.expect(level, format!("postgres.ping: {{ connection: {config} }}"));
    };
    expect("ok", "good, expect: primary");
    expect("critical", "role");
    expect("critical", "password");
    expect("critical", "database");
    expect("critical", "hanging, timeout: 1s");
    expect("critical", "hole, timeout: 1s");
    expect("ok", "standby, expect: standby");
    expect("ok", "standby");
    expect("critical", "standby, expect: primary");
    hanging.pause();
    let ran = checks.run(|run| {
        urls.iter()
            .fold(run, |run, (name, url)| run.env(format!("URL_{name}"), url))
    });
    hanging.resume();
    assert!(ran.stdout.contains("unheard_of"), "{ran}");
    for password in ["right1", "wrong1"] {
        assert!(!ran.stdout.contains(password), "{ran}");
        assert!(!ran.stderr.contains(password), "{ran}");
    }
}

#[test]
fn a_redis_is_only_ok_for_what_it_was_asked() {
    let hanging = Redis::start(&redis::Options::default());
    let orphan = Redis::start(&redis::Options::default());
    let hole = BlackHole::open();
    orphan.cli(&["REPLICAOF", "127.0.0.1", &hole.port().to_string()]);
    let guarded = Redis::start(&redis::Options::default());
    let allow = |user: &str, commands: &[&str]| {
        let password = format!(">{user}1");
        guarded.cli(&[&["ACL", "SETUSER", user, "on", &password], commands].concat());
        format!("redis://{user}:{user}1@127.0.0.1:{}", guarded.port())
    };
    let urls = [
        ("hanging", hanging.url()),
        ("orphan", orphan.url()),
        ("noinfo", allow("noinfo", &["+ping"])),
        ("noping", allow("noping", &["+info"])),
        ("hole", format!("redis://127.0.0.1:{}", hole.port())),
    ];
    let mut checks = Checks::new(&connections("redis", &urls.each_ref().map(|url| url.0)));
    let mut expect = |level, config: &str| {
        checks.expect(level, format!("redis.ping: {{ connection: {config} }}"));
    };
    expect("critical", "hanging, timeout: 1s");
    expect("critical", "hole, timeout: 1s");
    // It serves what it has, which is stale.
    expect("warning", "orphan");
    expect("warning", "orphan, expect: replica");
    expect("critical", "orphan, expect: master");
    expect("ok", "noinfo");
    expect("unknown", "noinfo, expect: master");
    expect("unknown", "noping");
    hanging.pause();
    let ran = checks.run(|run| {
        urls.iter()
            .fold(run, |run, (name, url)| run.env(format!("URL_{name}"), url))
    });
    hanging.resume();
    assert!(ran.stdout.contains("NOPERM"), "{ran}");
}

#[test]
fn what_http_did_not_see_is_not_ok() {
    let server = HttpServer::start();
    let (hole, long) = (BlackHole::open(), "x".repeat((1 << 20) + 1) + " needle");
    server
        .route("/ok", Reply::text("ok"))
        .route("/moved", Reply::redirect("/ok"))
        .route("/long", Reply::text(&long))
        .route("/raw", Reply::raw(b"220 mail.example.org ESMTP\r\n"))
        .route("/reset", Reply::text("0123456789").reset_after(5));
    let strange = HttpServer::tls_by(&Authority::new("nobody's"), &Subject::default());
    strange.route("/", Reply::text("ok"));
    let ca = Authority::shared().file();
    let mut checks = Checks::new("");
    let mut expect = |level, url: String, more: &str| {
        checks.expect(level, format!("http.check: {{ url: '{url}'{more} }}"));
    };
    expect("ok", server.url("/ok"), ", method: HEAD");
    expect("ok", server.url("/ok"), ", body_matches: '^ok$'");
    expect("critical", server.url("/ok"), ", status: [204]");
    expect("critical", server.url("/moved"), "");
    expect("ok", server.url("/moved"), ", follow_redirects: 1");
    expect("critical", server.url("/raw"), "");
    expect("critical", server.url("/reset"), "");
    expect(
        "critical",
        format!("http://127.0.0.1:{}/", hole.port()),
        ", timeout: 1s",
    );
    expect(
        "critical",
        strange.url("/"),
        &format!(", ca_file: '{}'", ca.display()),
    );
    // Beyond what is read nobody knows what stands there.
    expect("ok", server.url("/long"), ", body_contains: xxx");
    expect("unknown", server.url("/long"), ", body_contains: needle");
    expect("unknown", "http://nowhere.invalid/".to_owned(), "");
    checks.run(|run| run);
}

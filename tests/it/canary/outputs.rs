//! What the engine puts out while and after the secrets are printed, used, and shown in errors.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{COUNT, PRINT, Search, secrets};
use crate::support::postgres::Postgres;
use crate::support::process;
use crate::support::run::{PROGRAM, Ran, Runbook};
use crate::support::wait;

const FORMATS: &[&str] = &["text", "json", "jsonl", "junit", "github", "markdown"];

/// Every way out that a secret could take, once it was read.
fn playbook() -> String {
    let mut text = "runbook: v1\nname: canaries\nsecrets:\n".to_owned();
    for number in 0..COUNT {
        writeln!(text, "  s{number}: {{ env: S{number} }}").unwrap();
    }
    text.push_str("  url: { env: PG_URL }\n  redis: { env: REDIS_URL }\n");
    text.push_str("connections:\n  pg: { postgres: { url: '${{ secrets.url }}' } }\n  cache: { redis: { url: '${{ secrets.redis }}' } }\n");
    text.push_str("steps:\n  - id: print\n    exec.script:\n      env:\n        BOTH: '1'\n");
    for number in 0..COUNT {
        writeln!(text, "        S{number}: '${{{{ secrets.s{number} }}}}'").unwrap();
    }
    write!(
        text,
        "      script: |
        python3 print.py {COUNT} 1
        printf 'leak=%s\\nlist=%s,%s\\n' \"$S0\" \"$S2\" \"$S10\" >> \"$RUNBOOK_OUTPUT\"
        printf 'long=%0100d%s\\n' 0 \"$S11\" >> \"$RUNBOOK_OUTPUT\"
"
    )
    .unwrap();
    text.push_str(r#"
  - id: big
    exec.script:
      env: { S: "${{ secrets.s11 }}" }
      script: 'head -c 1048560 /dev/zero | tr "\0" x; printf "%s\n" "$S"'
  - id: fails
    on_error: continue
    name: It is ${{ steps.print.outputs.values.leak }}
    exec.script: { env: { S: "${{ secrets.s11 }}" }, script: 'printf "%0290d%s" 0 "$S" >&2; exit 3' }
  - id: wraps
    on_error: continue
    exec.script: { env: { S: "${{ secrets.s11 }}" }, script: 'printf "%s" "$S" | base64 >&2; exit 3' }
  - { id: http, on_error: continue, http.check: { url: "http://u:${{ secrets.s0 }}@127.0.0.1:9/?q=${{ secrets.s10 }}" } }
  - { id: pg, on_error: continue, postgres.ping: { connection: pg } }
  - { id: cache, on_error: continue, redis.ping: { connection: cache } }
  - { id: logs, on_error: continue, log.scan: { path: app.log, pattern: x, max: 0 } }
  - id: asks
    approval: { kind: confirm, message: "Really ${{ steps.print.outputs.values.leak }}?" }
    lock: { key: "key-${{ steps.print.outputs.values.leak }}" }
    flow.set: { values: { copy: "${{ steps.print.outputs.values.leak }}" } }
  - id: each
    foreach: { in: "steps.print.outputs.values.list | split(',')", as: item }
    exec.command: { argv: [echo, "${{ item }}"] }
  - id: asserts
    on_error: continue
    flow.assert: { that: ["steps.print.outputs.values.long == 'no'"], message: "not ${{ steps.print.outputs.values.leak }}" }
  - id: verified
    verify: { exec.command: { argv: [echo, "${{ steps.print.outputs.values.leak }}"] }, expect: "'x' in probe.outputs.stdout" }
    on_error: continue
    exec.command: { argv: [printf, "%s", "${{ steps.print.outputs.values.leak }}"] }
  - { id: waits, exec.command: { argv: [sh, -c, 'touch here; until [ -e go ]; do sleep 0.02; done'] } }
finally:
  - id: bye
    exec.script: { env: { V: "${{ steps.print.outputs.values.leak if steps.print.status == 'succeeded' else 'x' }}" }, script: 'echo "$V"' }
reports:
"#);
    for format in FORMATS
        .iter()
        .filter(|format| !["jsonl", "github"].contains(format))
    {
        writeln!(text, "  - {{ format: {format}, path: 'report.{format}' }}").unwrap();
    }
    text
}

/// With all that it needs. The database's name and the user are part of the secret.
fn runbook(secrets: &[String]) -> Runbook {
    let postgres = Postgres::shared();
    let database = format!("db{}", secrets[10]);
    let mut log = String::new();
    for secret in secrets {
        writeln!(log, "{}x{secret}", "x".repeat(480)).unwrap();
    }
    let run = Runbook::new()
        .limit(Duration::from_secs(120))
        .file("print.py", fs::read(PRINT).unwrap())
        .file("app.log", log);
    with_env(
        run,
        &postgres.url_as("postgres", &secrets[10], &database),
        secrets,
    )
}

/// The run with all secrets in its environment, by themselves and in the addresses of servers.
fn with_env(run: Runbook, postgres: &str, secrets: &[String]) -> Runbook {
    let redis = format!("redis://:{}@127.0.0.1:9/", secrets[10]);
    let run = run.env("PG_URL", postgres).env("REDIS_URL", redis);
    let all = secrets.iter().enumerate();
    all.fold(run, |run, (number, secret)| {
        run.env(format!("S{number}"), secret)
    })
}

/// Fails if `text` shows one of them.
#[track_caller]
fn expect_none(search: &Search, what: &str, text: &[u8]) {
    let shown = search.shown(text);
    if let Some(number) = shown.first() {
        let text = String::from_utf8_lossy(text).into_owned();
        let tag = super::tag(*number);
        let around = text.find(&tag).map(|at| {
            text[..at + 10]
                .chars()
                .rev()
                .take(300)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<String>()
        });
        panic!("{what} shows {shown:?}, {tag}: {around:?}");
    }
}

/// Every file below `folder` but the copy of the playbook, which is as its author wrote it.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// The command lines of the engine and of what it has started.
fn command_lines(engine: u32) -> Vec<u8> {
    let mut lines = fs::read(format!("/proc/{engine}/cmdline")).unwrap_or_default();
    for child in process::children(engine) {
        lines.extend(command_lines(child));
    }
    lines
}

#[test]
fn nothing_that_the_engine_puts_out_shows_a_secret() {
    let (secrets, search) = (secrets(), Search::new());
    let run = |args: &[&str]| {
        runbook(&secrets)
            .env("RUNBOOK_LOG", "trace")
            .args(args)
            .playbook(&playbook())
    };
    let started = run(&["run", "-v", "-y"]).start();
    let here = started.folder().join("here");
    let waits = wait::try_until(Duration::from_secs(60), || here.exists().then_some(()));
    if waits.is_none() {
        panic!("the last step did not come\n{}", started.finish());
    }
    let lines = command_lines(started.pid().as_raw_pid().unsigned_abs());
    fs::write(started.folder().join("go"), "").unwrap();
    let ran = started.finish();
    ran.expect_code(0);
    assert!(
        lines.windows(4).any(|four| four == b"here"),
        "the step's own was not seen"
    );
    expect_none(&search, "a command line", &lines);
    expect_none(&search, "stdout of run -v", ran.stdout.as_bytes());
    expect_none(&search, "stderr of run -v", ran.stderr.as_bytes());
    // What it was about did happen.
    for told in [
        "It is ***",
        "not ***",
        "***…",
        "does not exist",
        "127.0.0.1:9",
    ] {
        assert!(ran.stdout.contains(told), "{told}\n{ran}");
    }

    let next = |args: &[&str]| with_secrets(&ran, &secrets).args(args).run();
    let mut searched = 0;
    for args in [
        vec!["logs", "last"],
        vec!["logs", "last", "print"],
        vec!["history"],
        vec!["history", "--format", "json"],
        vec!["audit", "show", "last"],
        vec!["audit", "verify"],
        vec!["show", "playbook.yaml"],
        vec!["graph", "playbook.yaml"],
        vec!["plan", "playbook.yaml", "-o", "plan.json"],
        vec!["plan", "playbook.yaml", "--format", "json"],
        vec!["run", "--dry-run", "-v", "playbook.yaml"],
    ] {
        let said = next(&args);
        expect_none(
            &search,
            &format!("stdout of {args:?}"),
            said.stdout.as_bytes(),
        );
        expect_none(
            &search,
            &format!("stderr of {args:?}"),
            said.stderr.as_bytes(),
        );
        assert!(!said.stdout.is_empty(), "{args:?} says nothing\n{said}");
        searched += 1;
    }
    for format in FORMATS {
        let said = next(&["status", "last", "-v", "--format", format]);
        expect_none(
            &search,
            &format!("status as {format}"),
            said.stdout.as_bytes(),
        );
        let said = next(&["run", "-v", "-y", "--format", format, "playbook.yaml"]);
        expect_none(&search, &format!("run as {format}"), said.stdout.as_bytes());
        expect_none(
            &search,
            &format!("run as {format}, stderr"),
            said.stderr.as_bytes(),
        );
        searched += 2;
    }
    // At a terminal, where it draws.
    let typed = format!("{} run -v -y playbook.yaml", PROGRAM);
    let drawn = with_secrets(&ran, &secrets)
        .instead(["script", "-qefc", &typed, "typescript"])
        .env("TERM", "xterm")
        .run();
    drawn.expect_code(0);
    expect_none(&search, "the terminal", drawn.stdout.as_bytes());
    assert!(drawn.stdout.contains("\u{1b}["), "it was drawn\n{drawn}");

    let mut paths = Vec::new();
    files(ran.folder(), &mut paths);
    paths.retain(|path| {
        !path.ends_with("app.log")
            && !path.ends_with("playbook.yaml")
            && !path.ends_with("print.py")
    });
    for path in &paths {
        expect_none(
            &search,
            &path.display().to_string(),
            &fs::read(path).unwrap(),
        );
    }
    for there in [
        "journal.jsonl",
        "ledger.jsonl",
        "print.1.out",
        "print.1.err",
        "plan.json",
        "report.junit",
        "report.markdown",
    ] {
        assert!(
            paths.iter().any(|path| path.ends_with(there)),
            "{there}: {paths:#?}"
        );
    }
    println!("{searched} verbs, {} files", paths.len());
}

fn with_secrets(ran: &Ran, secrets: &[String]) -> Runbook {
    let postgres = Postgres::shared();
    let next = ran.then().limit(Duration::from_secs(120));
    let url = postgres.url_as("postgres", &secrets[10], &format!("db{}", secrets[10]));
    with_env(next, &url, secrets)
}

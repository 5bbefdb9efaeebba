//! What the kernel sees of a run: a dry-run touches nothing, an intent is on disk before its effect,
//! and what cannot be recorded does not happen.

use std::path::Path;

use crate::support::process;
use crate::support::run::{Ran, Runbook};

const PLAYBOOK: &str = "\
runbook: v1
name: traced
secrets: { url: { env: URL }, word: { command: [sh, -c, 'touch secret; echo a-long-word'] } }
connections: { main: { postgres: { url: \"${{ secrets.url }}\" } } }
order: parallel
steps:
  - { id: a, exec.command: { argv: [touch, made] } }
  - { id: b, exec.script: { env: { W: \"${{ secrets.word }}\" }, script: touch made } }
  - { id: c, http.check: { url: 'http://127.0.0.1:9/' }, on_error: continue }
  - { id: d, postgres.ping: { connection: main }, on_error: continue }
  - { id: e, log.scan: { path: app.log, pattern: ERROR }, on_error: continue }
  - { id: f, host.disk: {}, on_error: continue }
  - { id: g, service.check: { unit: demo }, on_error: continue }
reports:
  - { format: markdown, path: report.md }
";

/// The lines of a trace of a run with these arguments.
fn traced(args: &[&str], calls: &str, playbook: &str) -> (Ran, Vec<String>) {
    process::program("strace", "strace");
    let trace = format!("trace={calls}");
    let ran = Runbook::new()
        .under([
            "strace", "-f", "-y", "-s", "300", "-e", &trace, "-o", "trace",
        ])
        .env("URL", "postgres://u@127.0.0.1:9/d")
        .args(args)
        .playbook(playbook)
        .run();
    let lines = ran.read("trace").lines().map(str::to_owned).collect();
    (ran, lines)
}

/// Calls by which something outside of the process changes, or hears of it.
const TOUCHING: &str = "execve,connect,socket,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,flock,fsync,fdatasync,openat,kill";

fn touches(line: &str) -> bool {
    let call = line.split_whitespace().nth(1).unwrap_or_default();
    if call.starts_with("openat(") {
        return ["O_WRONLY", "O_RDWR", "O_CREAT"]
            .iter()
            .any(|flag| line.contains(flag));
    }
    [
        "execve(",
        "connect(",
        "socket(",
        "mkdir",
        "rename",
        "unlink",
        "flock(",
        "fsync(",
        "fdatasync(",
        "kill(",
    ]
    .iter()
    .any(|name| call.starts_with(name))
}

#[test]
fn a_dry_run_touches_nothing() {
    let (ran, lines) = traced(&["run", "--dry-run"], TOUCHING, PLAYBOOK);
    ran.expect_code(0);
    let touching: Vec<_> = lines.iter().filter(|line| touches(line)).collect();
    // The program itself, started by strace.
    assert_eq!(touching.len(), 1, "{touching:#?}");
    assert!(touching[0].contains("execve("), "{touching:#?}");

    // The same trace of a run is full of it.
    let (_, lines) = traced(&["run"], TOUCHING, PLAYBOOK);
    for call in [
        "execve(",
        "connect(",
        "mkdir",
        "openat(",
        "flock(",
        "fdatasync(",
    ] {
        let found = lines
            .iter()
            .any(|line| touches(line) && line.contains(call));
        assert!(found, "no {call} in a run");
    }
}

#[test]
fn validation_looks_at_nothing_but_the_files_named() {
    let (ran, lines) = traced(&["validate"], "open,openat,openat2", PLAYBOOK);
    ran.expect_code(0);
    let opened = { lines.iter() }
        .filter(|line| !line.contains("ENOENT"))
        .filter_map(|line| line.split('"').nth(1));
    let of_loader = |path: &&str| path.contains(".so") || path.starts_with("/proc/self/");
    let opened: Vec<&str> = opened.filter(|path| !of_loader(path)).collect();
    assert!(opened.contains(&"playbook.yaml"), "{lines:#?}");
    assert!(
        opened.iter().all(|path| *path == "playbook.yaml"),
        "{opened:#?}"
    );
}

#[test]
fn an_intent_is_on_disk_before_its_effect() {
    let playbook = "\
runbook: v1
name: durable
steps:
  - { id: a, exec.command: { argv: [touch, made-a] } }
  - { id: b, exec.command: { argv: [touch, made-b] } }
  - { id: c, exec.command: { argv: [touch, made-c] } }
";
    let (ran, lines) = traced(
        &["run"],
        "execve,write,pwrite64,writev,fsync,fdatasync",
        playbook,
    );
    ran.expect_code(0);
    let at = |what: &dyn Fn(&str) -> bool| lines.iter().position(|line| what(line));
    let journal = |line: &str| line.contains("journal.jsonl");
    for step in ["a", "b", "c"] {
        let effect =
            at(&|line| line.contains("execve(") && line.contains(&format!("\"made-{step}\"")));
        let effect = effect.unwrap_or_else(|| panic!("{step} never started: {lines:#?}"));
        let intent = at(&|line| {
            journal(line)
                && line.contains("write")
                && line.contains("step.start")
                && line.contains(&format!("\\\"path\\\":\\\"{step}\\\""))
        });
        let intent = intent.unwrap_or_else(|| panic!("no intent of {step}: {lines:#?}"));
        let synced = lines[intent..effect]
            .iter()
            .any(|line| journal(line) && line.contains("sync("));
        assert!(intent < effect && synced, "{step}: {intent} {effect}");
    }
    let syncs = lines
        .iter()
        .filter(|line| journal(line) && line.contains("sync("))
        .count();
    assert!(syncs <= 2 * 3 + 2, "{syncs} syncs of the journal");
}

#[test]
fn what_cannot_be_recorded_does_not_happen() {
    let playbook = "\
runbook: v1
name: full
steps:
  - { id: a, exec.command: { argv: [touch, made-a] } }
  - { id: b, exec.command: { argv: [touch, made-b] } }
  - { id: c, exec.command: { argv: [touch, made-c] } }
";
    let mut failed = 0;
    for when in 1..=12 {
        for inject in ["fdatasync:error=EIO", "fsync:error=ENOSPC"] {
            let inject = format!("inject={inject}:when={when}");
            let ran = Runbook::new()
                .under(["strace", "-f", "-o", "/dev/null", "-e", &inject])
                .arg("run")
                .playbook(playbook)
                .run();
            if ran.code == 0 {
                continue;
            }
            failed += 1;
            ran.expect_code(5);
            // What was not recorded as begun has not begun.
            let journals =
                process::output("grep", &["-rhs", "step.start", &runs(ran.state())]).stdout;
            for step in ["a", "b", "c"] {
                let made = ran.folder().join(format!("made-{step}")).exists();
                let recorded = journals.contains(&format!("\"path\":\"{step}\""));
                assert!(recorded || !made, "{inject}: {step}\n{ran}");
            }
            let next = ran.then().arg("run").playbook(playbook).run();
            assert_eq!(next.code, 0, "{inject}\n{next}");
        }
    }
    assert!(failed >= 6, "only {failed} of the failures were met");
}

fn runs(state: &Path) -> String {
    state.join("runs").display().to_string()
}

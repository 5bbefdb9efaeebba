//! What a test of a playbook cannot reach, and what cannot hurt it.

use std::collections::BTreeSet;

use super::{ONE_COMMAND, cases};
use crate::pure::trace::CHANGING;
use crate::support::process;
use crate::support::run::Runbook;

#[test]
fn the_kernel_sees_nothing_but_the_files_named() {
    process::program("strace", "strace");
    let playbook = "\
runbook: v1
name: traced
secrets: { url: { env: URL }, word: { command: [sh, -c, 'touch secret; echo a-long-word'] } }
connections: { main: { postgres: { url: \"${{ secrets.url }}\" } }, cache: { redis: { url: \"${{ secrets.url }}\" } } }
lock: {}
order: parallel
steps:
  - { id: a, exec.command: { argv: [touch, made] }, verify: { exec.command: { argv: [ls] }, expect: true } }
  - { id: b, exec.script: { env: { W: \"${{ secrets.word }}\" }, script: touch made }, lock: { key: x } }
  - { id: c, http.check: { url: 'http://127.0.0.1:9/' } }
  - { id: d, postgres.ping: { connection: main } }
  - { id: e, log.scan: { path: app.log, pattern: ERROR } }
  - { id: f, host.disk: {} }
  - { id: g, service.check: { unit: demo } }
  - { id: h, redis.ping: { connection: cache } }
  - { id: i, flow.wait: { for: 30d } }
  - { id: j, exec.command: { argv: [touch, made] }, approval: { kind: approve, from: [dba] }, undo: { exec.command: { argv: [rm, made] } } }
reports:
  - { format: markdown, path: report.md }
";
    let tests = "\
tests:
  - name: answered
    answers: { a: { crash: during }, b: {}, c: {}, d: {}, e: {}, f: {}, g: {}, h: {}, j: {}, a.verify: {} }
    approvals: { j: { by: alice, groups: [dba] } }
    expect: { status: succeeded, duration: 30d }
  - name: without an answer to anything
    approvals: { j: { by: dba } }
    expect: { status: failed }
";
    let ran = cases(playbook, tests)
        .under([
            "strace",
            "-f",
            "-y",
            "-s",
            "300",
            "-e",
            "trace=all",
            "-o",
            "trace",
        ])
        .env("URL", "postgres://u@127.0.0.1:9/d")
        .run();
    let told = &ran.expect_code(1).stdout;
    assert!(told.contains("✓ answered"), "{ran}");
    assert!(told.contains("`e` (log.scan) got to run"), "{ran}");
    let trace = ran.read("trace");
    let mut opened = BTreeSet::new();
    for line in trace.lines() {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let call_name = call.split('(').next().unwrap_or_default();
        let outside = [
            "connect",
            "socket",
            "socketpair",
            "flock",
            "fsync",
            "fdatasync",
            "kill",
            "clone",
            "clone3",
            "fork",
            "vfork",
            "creat",
            "timer_create",
            "nanosleep",
            "clock_nanosleep",
            "timerfd_create",
            "epoll_create1",
        ];
        let reached = outside.contains(&call_name) || CHANGING.contains(&call_name);
        assert!(!reached, "{line}");
        if call_name == "execve" {
            assert!(line.contains("\"test\", \"playbook.test.yaml\""), "{line}");
        }
        if call_name.starts_with("open") {
            for flag in ["O_WRONLY", "O_RDWR", "O_CREAT"] {
                assert!(!line.contains(flag), "{line}");
            }
            opened.insert(line.split('"').nth(1).unwrap_or_default().to_owned());
        }
    }
    let of_loader = |path: &String| {
        path.contains(".so")
            || path.starts_with("/proc/self/")
            || path.starts_with("/sys/fs/cgroup")
    };
    opened.retain(|path| !of_loader(path));
    let named = ["playbook.test.yaml", "playbook.yaml"].map(str::to_owned);
    assert_eq!(opened, BTreeSet::from(named));
    for file in ["made", "secret", "report.md", "state"] {
        assert!(!ran.folder().join(file).exists(), "{file}");
    }

    // The same trace of a real run is full of it.
    let real = ran
        .then()
        .under([
            "strace",
            "-f",
            "-o",
            "real",
            "-e",
            "trace=execve,connect,mkdir,flock",
        ])
        .env("URL", "postgres://u@127.0.0.1:9/d")
        .args(["run", "--timeout", "5s", "playbook.yaml"])
        .run();
    let trace = real.read("real");
    for call in ["execve(", "connect(", "mkdir", "flock("] {
        assert!(trace.contains(call), "no {call} in a run: {real}");
    }
}

#[test]
fn hostile_files_are_refused() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut bomb = String::from("x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for n in 1..12 {
        let of = vec![format!("*x{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("x{n}: &x{n} [{of}]\n"));
    }
    let head = "runbook-test: v1\nplaybook: playbook.yaml\n";
    let texts = [
        format!("{head}tests: {deep}\n"),
        format!("{head}{bomb}tests: []\n"),
        format!("{head}tests: &a [*a]\n"),
        format!("{head}tests: []\ntests: []\n"),
        format!("{head}tests: {{}}\n"),
        format!("{head}tests: [{{ name: a, answers: [], expect: [] }}]\n"),
        format!("{head}tests: [{{ name: a, answers: {{ a: {{ after: -1s }} }}, expect: {{}} }}]\n"),
        format!(
            "{head}tests: [{{ name: a, answers: {{ a: {{ after: 99999999999999999999d }} }}, expect: {{}} }}]\n"
        ),
        "runbook-test: v2\nplaybook: playbook.yaml\ntests: []\n".to_owned(),
        "runbook-test: v1\n".to_owned(),
        "runbook-test: v1\n\u{0}".to_owned(),
    ];
    for text in texts {
        let ran = Runbook::new()
            .file("playbook.yaml", ONE_COMMAND)
            .file("a.test.yaml", &text)
            .arg("test")
            .run();
        ran.expect_code(2);
        assert!(ran.stdout.contains("error[RB"), "{ran}");
        assert!(!ran.stderr.contains("panicked"), "{ran}");
    }
}

#[test]
fn secrets_have_the_values_of_the_test_alone() {
    let playbook = "\
runbook: v1
name: secrets
secrets: { given: { env: GIVEN }, other: { file: /no/such/file }, told: { command: [touch, made] } }
steps:
  - { id: a, exec.command: { argv: [a], env: { A: \"${{ secrets.given }}\", B: \"${{ secrets.other }}\", C: \"${{ secrets.told }}\" } } }
";
    let tests = "\
tests:
  - name: values
    secrets: { given: postgres://test }
    answers: { a: { outputs: { stdout: the url is postgres://test } } }
    expect:
      calls: { a: { with: { env: { A: postgres://test, B: test-secret-other, C: test-secret-told } } } }
";
    let ran = cases(playbook, tests).env("GIVEN", "the-real-one").run();
    ran.expect_code(0);
    assert!(!ran.folder().join("made").exists(), "{ran}");
}

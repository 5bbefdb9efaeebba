//! Plans: they look and do not touch, and what is saved is what runs, or nothing does.

use crate::support::process;
use crate::support::run::{Ran, Runbook};

const PLAYBOOK: &str = "\
runbook: v1
name: weekly
params: { word: { type: string, default: hello } }
secrets: { token: { env: TOKEN } }
steps:
  - id: rows
    effect: read
    exec.script: { script: 'echo \"list=$(cat list)\" >> \"$RUNBOOK_OUTPUT\"' }
  - id: purge
    exec.script: { env: { L: '${{ steps.rows.outputs.values.list }}' }, script: 'echo purge $L >> oracle' }
  - { id: never, when: params.word == 'other', exec.script: { script: 'echo never >> oracle' } }
  - id: each
    foreach: { in: \"steps.rows.outputs.values.list | split(' ')\", as: item }
    exec.script: { env: { I: '${{ item }}' }, script: 'echo item $I >> oracle' }
  - id: maybe
    when: steps.purge.outputs.exit_code == 0
    exec.script: { env: { T: '${{ secrets.token }}' }, script: 'echo maybe >> oracle' }
  - { id: drop, effect: destroy, exec.script: { script: 'echo drop >> oracle' } }
";

const SECRET: &str = "s3cr3t-Canary/42";

/// A plan of the playbook, saved as `plan.json`.
fn plan(text: &str, args: &[&str]) -> Ran {
    let runbook = Runbook::new().env("TOKEN", SECRET).file("list", "a b");
    let runbook = runbook.file("playbook.yaml", text);
    let args = ["plan", "playbook.yaml", "-o", "plan.json"]
        .iter()
        .chain(args);
    runbook.args(args).run()
}

fn go(ran: &Ran, args: &[&str]) -> Ran {
    ran.then().env("TOKEN", SECRET).args(args).run()
}

fn oracle(ran: &Ran) -> String {
    let text = std::fs::read_to_string(ran.folder().join("oracle")).unwrap_or_default();
    text.lines().collect::<Vec<_>>().join(" ")
}

fn write(ran: &Ran, name: &str, text: &str) {
    std::fs::write(ran.folder().join(name), text).unwrap();
}

const DONE: &str = "purge a b item a item b maybe drop";

#[test]
fn a_plan_looks_and_touches_nothing() {
    let planned = plan(PLAYBOOK, &["--detailed-exitcode"]);
    planned.expect_code(10);
    assert_eq!(oracle(&planned), "");
    for told in [
        "rows     looked",
        "~ purge    opaque",
        "never    skipped",
        "each[1]  opaque",
        "~ maybe    may run",
        "! drop     opaque",
        "asks for a confirmation",
        "1 step looked at",
    ] {
        assert!(planned.stdout.contains(told), "{told}: {planned}");
    }
    let history = go(&planned, &["history", "--format", "json"]).json();
    assert_eq!(history["runs"].as_array().unwrap().len(), 0);
    let json = go(&planned, &["plan", "playbook.yaml", "--format", "json"]).json();
    let steps = json["steps"].as_array().unwrap();
    let of = |path: &str| steps.iter().find(|step| step["path"] == path).unwrap();
    assert_eq!(of("rows")["looked"]["outputs"]["values"]["list"], "a b");
    assert_eq!(of("purge")["preview"]["kind"], "opaque");
    assert_eq!(of("maybe")["decision"], "may_run");
    assert_eq!(of("never")["decision"], "skip");
    for folder in [planned.folder(), planned.state()] {
        let found = process::output("grep", &["-rF", "s3cr3t-Canary", folder.to_str().unwrap()]);
        assert_eq!(found.code, 1, "{}", found.stdout);
    }
    // Nothing is left of what processes wrote meanwhile.
    let left = std::fs::read_dir(planned.state().join("plans")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn its_exit_status_tells_whether_there_is_something_to_do() {
    let looks = "runbook: v1\nname: looks\nsteps:\n  - { id: a, effect: read, exec.command: { argv: ['true'] } }\n";
    plan(looks, &["--detailed-exitcode"]).expect_code(0);
    plan(PLAYBOOK, &[]).expect_code(0);
    let bad = plan(
        &looks.replace("'true'", "'false'"),
        &["--detailed-exitcode"],
    );
    bad.expect_code(1);
    assert!(bad.stdout.contains("exited with status 1"), "{bad}");
}

#[test]
fn a_check_of_what_would_be_mended_first_fails_no_plan() {
    let text = "runbook: v1\nname: mend\nsteps:\n  \
                - { id: mend, exec.command: { argv: [touch, mended] } }\n  \
                - { id: check, effect: read, exec.command: { argv: [test, -e, mended] } }\n  \
                - { id: after, exec.command: { argv: [touch, after] } }\n";
    let planned = plan(text, &["--detailed-exitcode"]);
    planned.expect_code(10);
    let told = "check  looked      failed now, before `mend`: `test` exited with status 1";
    assert!(planned.stdout.contains(told), "{planned}");
    assert!(!planned.stdout.contains("skipped"), "{planned}");
    go(&planned, &["run", "--plan", "plan.json"]).expect_code(0);

    // What fails before anything is changed is a failure.
    let first = text.replace("id: mend, exec", "id: mend, effect: read, exec");
    let first = first.replace("touch, mended", "test, -e, mended");
    plan(&first, &[]).expect_code(1);
    // One that a run survives is none.
    let allowed = first.replace("effect: read", "effect: read, on_error: continue");
    let allowed = plan(&allowed, &[]);
    allowed.expect_code(0);
    assert!(allowed.stdout.contains("failed (allowed)"), "{allowed}");
}

#[test]
fn what_was_planned_is_what_runs() {
    let planned = plan(PLAYBOOK, &[]);
    // What it destroys has been seen.
    let ran = go(&planned, &["run", "--plan", "plan.json"]);
    ran.expect_code(0);
    assert_eq!(oracle(&ran), DONE);
    go(&ran, &["audit", "verify"]).expect_code(0);
}

#[test]
fn where_the_world_has_moved_nothing_runs() {
    type Change = fn(&Ran);
    let changes: [(&str, Change, &[&str]); 5] = [
        (
            "`purge` would do something else",
            |ran| write(ran, "list", "a c"),
            &[],
        ),
        (
            "`each[2]` would change something",
            |ran| write(ran, "list", "a b c"),
            &[],
        ),
        ("`each[1]` was planned", |ran| write(ran, "list", "a"), &[]),
        (
            "the playbook was edited",
            |ran| {
                write(
                    ran,
                    "playbook.yaml",
                    &PLAYBOOK.replace("echo drop", "echo everything"),
                )
            },
            &[],
        ),
        ("parameter `word` was", |_| {}, &["-p", "word=other"]),
    ];
    for (told, change, args) in changes {
        let planned = plan(PLAYBOOK, &[]);
        change(&planned);
        let ran = go(&planned, &[&["run", "--plan", "plan.json"], args].concat());
        assert!([2, 3].contains(&ran.code), "{told}: {ran}");
        assert!(ran.stderr.contains(told), "{told}: {ran}");
        assert_eq!(oracle(&ran), "", "{told}");
    }
    let planned = plan(PLAYBOOK, &[]);
    for (content, code) in [("", 2), ("{}", 2), ("[1, 2]", 2)] {
        write(&planned, "plan.json", content);
        go(&planned, &["run", "--plan", "plan.json"]).expect_code(code);
    }
    go(&planned, &["run", "--plan", "nothing.json"]).expect_code(2);
    assert_eq!(oracle(&planned), "");
}

#[test]
fn a_step_that_is_not_as_planned_once_it_is_its_turn_does_not_run() {
    let text = "\
runbook: v1
name: moves
steps:
  - { id: first, exec.script: { script: 'echo first >> oracle; echo 2 > list' } }
  - { id: look, effect: read, exec.command: { argv: [cat, list] } }
  - { id: second, exec.script: { env: { L: '${{ steps.look.outputs.stdout }}' }, script: 'echo second $L >> oracle' } }
  - { id: third, exec.script: { script: 'echo third >> oracle' } }
finally:
  - { id: bye, exec.script: { script: 'echo bye >> oracle' } }
";
    let planned = plan(text, &[]);
    let ran = go(&planned, &["run", "--plan", "plan.json"]);
    ran.expect_code(3);
    assert_eq!(oracle(&ran), "first bye");
    assert!(
        ran.stdout.contains("something else than was planned"),
        "{ran}"
    );
    go(&ran, &["audit", "verify"]).expect_code(0);
}

#[test]
fn a_plan_says_how_long_it_took_before() {
    let playbook = "\
runbook: v1
name: slow
steps:
  - { id: a, exec.script: { script: 'sleep 0.3' } }
  - { id: b, needs: [], exec.script: { script: 'sleep 0.1' } }
  - { id: c, needs: [a, b], when: steps.a.changed, exec.script: { script: 'sleep 0.2' } }
";
    let json = |ran: &Ran| {
        let plan = ran
            .then()
            .args(["plan", "playbook.yaml", "--format", "json"])
            .run();
        plan.expect_code(0);
        plan.json()["estimate"].clone()
    };
    let planned = plan(playbook, &[]);
    assert!(!planned.stdout.contains("about "), "{planned}");
    assert!(json(&planned).is_null());
    for _ in 0..3 {
        go(&planned, &["run", "playbook.yaml"]).expect_code(0);
    }
    let estimate = json(&planned);
    assert_eq!(estimate["runs"], 3);
    let took = |id: &str| estimate["steps"][id].as_u64().unwrap();
    assert!(
        took("a") >= 300 && took("b") >= 100 && took("c") >= 200,
        "{estimate}"
    );
    // `b` goes on beside `a`, and `c` comes after both.
    assert_eq!(
        estimate["total_ms"].as_u64().unwrap(),
        took("a").max(took("b")) + took("c")
    );
    // A step that was never run is named.
    let longer = playbook.to_owned() + "  - { id: d, exec.script: { script: 'true' } }\n";
    write(&planned, "playbook.yaml", &longer);
    let text = go(&planned, &["plan", "playbook.yaml"]).stdout.clone();
    assert!(
        text.contains(", as the last 3 runs; and `d`, of which nothing is known\n"),
        "{text}"
    );
}

#[test]
fn of_nothing_there_is_nothing_to_do() {
    let text = "runbook: v1\nname: none\nparams: { all: { type: list, default: [] } }\nsteps:\n  \
                - id: each\n    foreach: { in: params.all, as: one }\n    effect: destroy\n    \
                approval: { kind: approve }\n    exec.command: { argv: [rm, \"${{ one }}\"] }\n";
    let planned = plan(text, &["--detailed-exitcode"]);
    planned.expect_code(0);
    for told in ["each  no change   nothing to do: 0 items", "0 to destroy"] {
        assert!(planned.stdout.contains(told), "{told}: {planned}");
    }
    assert!(!planned.stdout.contains("asks for"), "{planned}");
    let dry = go(&planned, &["run", "playbook.yaml", "--dry-run"]);
    dry.expect_code(0);
    assert!(!dry.stdout.contains("DESTROYS"), "{dry}");
    assert!(dry.stdout.contains("0 destroy"), "{dry}");
    let ran = go(&planned, &["run", "playbook.yaml", "-y"]);
    ran.expect_code(0);
    assert!(!ran.stdout.contains("asks for"), "{ran}");

    // All of them are agreed to at once.
    let some = plan(&text.replace("default: []", "default: [a, b]"), &[]);
    some.expect_code(0);
    assert_eq!(
        some.stdout.matches("asks for an approval").count(),
        1,
        "{some}"
    );
    assert!(some.stdout.contains("2 to destroy"), "{some}");
}

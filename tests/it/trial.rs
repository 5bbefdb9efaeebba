//! `runbook test`: what the cases in `tests/trial/` come to, as it is printed; what is shipped.
//!
//! `UPDATE=1 cargo test trial` writes the printed texts anew; read them before you keep them.

mod outside;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::process;
use crate::support::run::{Ran, Runbook};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    all.sort();
    assert!(!all.is_empty(), "nothing in {folder}");
    all
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn is_test(path: &Path) -> bool {
    name(path).ends_with(".test.yaml")
}

/// A folder with everything in `tests/trial/`.
fn trial() -> Runbook {
    let files = yaml_files("tests/trial");
    files.iter().fold(Runbook::new(), |run, path| {
        run.file(name(path), std::fs::read(path).unwrap())
    })
}

/// One playbook with one test file, and these cases.
fn cases(playbook: &str, tests: &str) -> Runbook {
    Runbook::new()
        .file("playbook.yaml", playbook)
        .file(
            "playbook.test.yaml",
            format!("runbook-test: v1\nplaybook: playbook.yaml\n{tests}"),
        )
        .args(["test", "playbook.test.yaml"])
}

const ONE_COMMAND: &str = "\
runbook: v1
name: one
steps:
  - { id: a, exec.command: { argv: [touch, made] } }
";

#[test]
fn cases_come_out_as_recorded() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in yaml_files("tests/trial")
        .iter()
        .filter(|path| is_test(path))
    {
        let ran = trial().args(["test", name(path)]).run();
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        assert!(!ran.state().exists(), "{ran}");
        let told = format!("{}{}exit {}\n", ran.stderr, ran.stdout, ran.code);
        let expected = path.with_extension("out");
        if update {
            std::fs::write(&expected, &told).unwrap();
        } else {
            let recorded = std::fs::read_to_string(&expected).unwrap_or_default();
            if recorded != told {
                wrong.push(format!(
                    "{}: expected\n{recorded}\nbut it says\n{told}",
                    name(path)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_shipped_is_tested() {
    let mut tested = BTreeSet::new();
    for path in yaml_files("playbooks")
        .iter()
        .chain(&yaml_files("examples"))
    {
        if !is_test(path) {
            continue;
        }
        let ran = Runbook::new()
            .args(["test", "--min-coverage", "100", "--format", "json"])
            .arg(path)
            .run();
        let told = ran.expect_code(0).json();
        assert!(told["passed"].as_u64() > Some(2), "{ran}");
        tested.insert(name(path).replace(".test.yaml", ".yaml"));
    }
    for path in yaml_files("playbooks") {
        let name = name(&path);
        let untested = !is_test(&path) && name != "runbook.yaml" && !tested.contains(name);
        assert!(!untested, "playbooks/{name} has no test beside it");
    }
    assert!(tested.contains("retry.yaml"), "{tested:?}");
}

#[test]
fn a_test_comes_to_what_a_run_comes_to() {
    let playbook = "\
runbook: v1
name: pure
params: { wait: { type: duration, default: 20ms } }
steps:
  - { id: set, flow.set: { values: { n: 3, list: [1, 2] } } }
  - { id: pause, flow.wait: { for: \"${{ params.wait }}\" }, timeout: 10s }
  - { id: each, foreach: { in: steps.set.outputs.values.list, as: one }, when: one > 1, flow.set: { values: { one: \"${{ one }}\" } } }
  - { id: wrong, flow.assert: { that: [steps.set.outputs.values.n == 4] }, on_error: continue }
  - { id: stop, flow.assert: { that: [steps.wrong.status == 'succeeded'] } }
  - { id: never, flow.set: { values: {} } }
finally:
  - { id: last, flow.set: { values: { status: \"${{ run.status }}\" } } }
";
    let tested = cases(playbook, "tests: [{ name: x, expect: { exit: 1 } }]\n")
        .args(["--format", "json"])
        .run();
    let tested_steps = &tested.expect_code(0).json()["files"][0]["tests"][0]["steps"];
    let real = tested
        .then()
        .args(["run", "--format", "json", "playbook.yaml"])
        .run();
    let real = real.expect_code(1).json();
    let of = |step: &Value, keys: [&str; 5]| keys.map(|key| step[key].clone());
    let keys = ["path", "status", "outputs", "error", "reason"];
    let told = |steps: &Value| -> Vec<[Value; 5]> {
        let steps = steps.as_array().unwrap().iter();
        steps
            .filter(|step| step["path"] != "pause")
            .map(|step| of(step, keys))
            .collect()
    };
    assert_eq!(told(tested_steps).len(), 8);
    assert_eq!(told(tested_steps), told(&real["steps"]));
}

#[test]
fn what_failed_is_told_to_machines() {
    let tests = "\
tests:
  - { name: good, answers: { a: { after: 90s } }, expect: { duration: 1m30s } }
  - name: bad <&>
    answers: { a: { fails: \"it <broke> & \\u001b[31m\" } }
    expect: { exit: 0 }
";
    let ran = cases(ONE_COMMAND, tests)
        .args([
            "--format",
            "json",
            "--report",
            "junit=report.xml",
            "--report",
            "text=report.txt",
        ])
        .run();
    let told = ran.expect_code(1).json();
    assert_eq!(told["schema_version"], 1);
    assert_eq!(
        (&told["passed"], &told["failed"], &told["invalid"]),
        (&1.into(), &1.into(), &0.into())
    );
    let tests = &told["files"][0]["tests"];
    assert_eq!(tests[0]["duration_ms"], 90_000);
    assert_eq!(tests[0]["steps"][0]["duration_ms"], 90_000);
    let failure = &tests[1]["failures"][0];
    assert_eq!(failure["code"], "RB901");
    assert_eq!(failure["file"], "playbook.test.yaml");
    assert_eq!(
        (&failure["line"], &failure["column"]),
        (&7.into(), &21.into())
    );
    let coverage = &told["files"][0]["coverage"];
    assert_eq!(
        (&coverage["percent"], &coverage["all"]),
        (&100.into(), &3.into())
    );

    let junit = ran.read("report.xml");
    assert!(
        junit.contains("tests=\"2\" skipped=\"0\" failures=\"1\" errors=\"0\""),
        "{junit}"
    );
    assert!(
        junit.contains("name=\"good\" classname=\"playbook.test.yaml\" time=\"90.000\""),
        "{junit}"
    );
    assert!(
        junit.contains("bad &lt;&amp;&gt;") && !junit.contains('\u{1b}'),
        "{junit}"
    );
    let text = ran.read("report.txt");
    assert!(
        text.contains("2 tests: 1 passed, 1 failed\n") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[test]
fn a_file_that_is_not_valid_is_an_error_of_its_own() {
    let ran = cases(ONE_COMMAND, "tests: [{ name: a, expect: { status: done } }]\n")
        .file("fine.test.yaml", "runbook-test: v1\nplaybook: playbook.yaml\ntests: [{ name: b, answers: { a: {} }, expect: {} }]\n")
        .args(["fine.test.yaml", "--format", "junit"])
        .run();
    ran.expect_code(2);
    assert!(
        ran.stdout
            .contains("tests=\"2\" skipped=\"0\" failures=\"0\" errors=\"1\""),
        "{ran}"
    );
    assert!(ran.stdout.contains("name=\"the file is valid\""), "{ran}");
    // What is wrong with the playbook is told with its own place.
    let ran = cases(
        "runbook: v1\nname: x\nsteps: [{ id: a, exec.comand: {} }]\n",
        "tests: [{ name: a, expect: {} }]\n",
    )
    .run();
    ran.expect_code(2);
    assert!(ran.stdout.contains("--> playbook.yaml:3:"), "{ran}");
    for (playbook, says) in [
        ("gone.yaml", "gone.yaml"),
        ("playbook.test.yaml", "this is a test file, not a playbook"),
        (".", "is a folder"),
    ] {
        let text = format!(
            "runbook-test: v1\nplaybook: {playbook}\ntests: [{{ name: a, expect: {{}} }}]\n"
        );
        let ran = Runbook::new()
            .file("playbook.test.yaml", text)
            .arg("test")
            .run();
        ran.expect_code(2);
        assert!(ran.stdout.contains(says), "{ran}");
        assert!(ran.stdout.contains("--> playbook.test.yaml:"), "{ran}");
    }
}

#[test]
fn some_cases_alone_and_how_much_they_cover() {
    let playbook = "\
runbook: v1
name: ways
params: { go: { type: boolean, default: true } }
steps:
  - { id: a, when: params.go, exec.command: { argv: [a] } }
";
    let tests = "\
defaults: { answers: { a: {} } }
tests:
  - { name: it goes, expect: {} }
  - { name: it does not go, params: { go: false }, expect: { steps: { a: skipped } } }
";
    let all = || cases(playbook, tests);
    let ran = all().args(["--min-coverage", "80"]).run();
    assert!(
        ran.expect_code(0)
            .stdout
            .contains("coverage 80 %: 1 of 1 step, 3 of 4 branches"),
        "{ran}"
    );
    assert!(ran.stdout.contains("never: the run fails"), "{ran}");
    let ran = all().args(["--min-coverage", "81"]).run();
    ran.expect_code(1);
    assert!(
        ran.stderr
            .contains("covers 80 % of playbook.yaml, and 81 % are wanted"),
        "{ran}"
    );
    // A part of the cases says nothing of what all of them cover.
    let ran = all()
        .args(["--run", "does not", "--min-coverage", "81"])
        .run();
    let told = &ran.expect_code(0).stdout;
    assert!(
        told.contains("it does not go") && !told.contains("it goes"),
        "{ran}"
    );
    assert!(!told.contains("coverage"), "{ran}");
    let ran = all().args(["--run", "nothing like it"]).run();
    assert!(
        ran.expect_code(2)
            .stderr
            .contains("no case with `nothing like it`"),
        "{ran}"
    );
    // The steps of what passed are told on demand.
    let shows = |ran: &Ran| ran.stdout.contains("+0ms  a  0ms  succeeded");
    assert!(!shows(&all().run()));
    assert!(shows(&all().arg("-v").run()));
    let quiet = all().arg("-q").run();
    assert_eq!(quiet.expect_code(0).stdout, "2 tests: 2 passed\n");
}

#[test]
fn a_test_is_no_playbook() {
    let ran = cases(
        ONE_COMMAND,
        "tests: [{ name: a, answers: { a: {} }, expect: {} }]\n",
    )
    .run();
    ran.expect_code(0);
    let says = |args: &[&str], code: i32| ran.then().args(args).run().expect_code(code).clone();
    let valid = says(&["validate", "playbook.test.yaml"], 0);
    assert_eq!(valid.stdout, "1 test file is valid\n");
    let valid = says(&["validate"], 0);
    assert_eq!(valid.stdout, "1 playbook and 1 test file are valid\n");
    let list = says(&["list", "--format", "json"], 0).json();
    assert_eq!(list["playbooks"].as_array().unwrap().len(), 1);
    for verb in ["run", "show", "plan", "graph"] {
        let told = says(&[verb, "playbook.test.yaml"], 2);
        assert!(
            told.stderr.contains("`runbook test` plays it"),
            "{verb}: {}",
            told.stderr
        );
    }
    let none = Runbook::new().arg("test").run();
    assert!(
        none.expect_code(2)
            .stderr
            .contains("there is no test file here"),
        "{none}"
    );
    // Nor is a playbook a test.
    let told = says(&["test", "playbook.yaml"], 2);
    assert!(
        told.stdout
            .contains("the first key is not `runbook-test: v1`"),
        "{}",
        told.stdout
    );
}

#[test]
fn the_schema_of_tests_takes_what_is_good_and_refuses_what_is_not() {
    let schema = std::fs::read(root().join("schemas/test.schema.json")).unwrap();
    let schema = serde_json::from_slice(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let read =
        |path: &Path| -> Value { serde_yaml::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let mut taken = 0;
    for folder in ["playbooks", "examples", "tests/trial"] {
        for path in yaml_files(folder).iter().filter(|path| is_test(path)) {
            if name(path) == "invalid.test.yaml" {
                continue;
            }
            if let Err(error) = validator.validate(&read(path)) {
                panic!("{}: {}: {error}", path.display(), error.instance_path());
            }
            taken += 1;
        }
    }
    assert!(taken > 6, "{taken}");
    let case = |case: Value| serde_json::json!({ "runbook-test": "v1", "playbook": "a.yaml", "tests": [case] });
    let refused = |what: &str, value: Value| {
        let mut whole = serde_json::json!({ "name": "a", "expect": {} });
        whole[what] = value;
        assert!(!validator.is_valid(&case(whole)), "{what} is taken");
    };
    assert!(validator.is_valid(&case(serde_json::json!({ "name": "a", "expect": {} }))));
    assert!(!validator.is_valid(&case(serde_json::json!({ "name": "a" }))));
    refused("anwsers", serde_json::json!({}));
    refused("answers", serde_json::json!({ "a": { "crash": "now" } }));
    refused("answers", serde_json::json!({ "a.undone": {} }));
    refused("approvals", serde_json::json!({ "a": "maybe" }));
    refused("expect", serde_json::json!({ "status": "running" }));
    refused(
        "expect",
        serde_json::json!({ "steps": { "a": { "attemps": 2 } } }),
    );
    refused(
        "expect",
        serde_json::json!({ "calls": { "a": { "time": 2 } } }),
    );
}

/// The blocks of a page in a language, without their fences.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = page.split(&fence).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn what_the_page_shows_is_so() {
    let page = std::fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let [playbook, tests] = &blocks(&page, "yaml")[..] else {
        panic!("a playbook and its tests")
    };
    let ran = Runbook::new()
        .file("purge.yaml", playbook)
        .file("purge.test.yaml", tests)
        .args(["test", "purge.test.yaml"])
        .run();
    let shown = &blocks(&page, "text")[0];
    let told = ran.expect_code(1).stdout.as_str();
    assert_eq!(*shown, format!("$ runbook test purge.test.yaml\n{told}"));
}

#[test]
fn what_a_step_with_a_list_took_back_is_told_of_its_items() {
    let playbook = "\
runbook: v1
name: each
steps:
  - id: each
    foreach: { in: 'range(3)', as: n }
    exec.command: { argv: [touch, \"${{ n }}\"] }
    undo: { exec.command: { argv: [rm, \"${{ n }}\"] } }
  - { id: fails, exec.command: { argv: ['false'] } }
";
    let test = "\
runbook-test: v1
playbook: each.yaml
tests:
  - name: taken back
    answers: { each: {}, each.undo: {}, fails: { fails: no } }
    expect: { status: failed, steps: { each: { undo: succeeded } } }
  - name: not all of it
    answers: { each: {}, each.undo: {}, \"each[1].undo\": { fails: gone }, fails: { fails: no } }
    expect: { status: failed, steps: { each: { undo: failed } } }
";
    let ran = Runbook::new()
        .file("each.yaml", playbook)
        .file("each.test.yaml", test)
        .args(["test", "each.test.yaml"])
        .run();
    ran.expect_code(0);
}

#[test]
fn junit_is_xml_whatever_a_case_is_called() {
    let files = [
        (
            "p.yaml",
            "runbook: v1\nname: p\nsteps:\n  - { id: a, flow.set: { values: { x: 1 } } }\n",
        ),
        (
            "p.test.yaml",
            "runbook-test: v1\nplaybook: p.yaml\ntests:\n  - { name: \"odd \\uFFFE <&> \\uFFFF\", expect: { status: succeeded } }\n",
        ),
    ];
    let run = files
        .iter()
        .fold(Runbook::new(), |run, (name, text)| run.file(name, text));
    let ran = run.args(["test", "p.test.yaml", "--format", "junit"]).run();
    ran.expect_code(0);
    std::fs::write(ran.folder().join("j.xml"), &ran.stdout).unwrap();
    let parse = "import xml.etree.ElementTree as e, sys; print(e.parse(sys.argv[1]).getroot().tag)";
    let xml = ran.folder().join("j.xml");
    let parsed = process::output("/usr/bin/python3", &["-c", parse, xml.to_str().unwrap()]);
    assert_eq!(parsed.expect_code(0).stdout, "testsuites\n");
}

#[test]
fn a_case_that_is_gone_on_with_for_ever_ends() {
    let playbook = "runbook: v1\nname: p\nsteps:\n  - { id: b, exec.command: { argv: [ls] } }\n";
    let test = "runbook-test: v1\nplaybook: p.yaml\ntests:\n  - name: x\n    answers: { b: { unknown: true, fails: eh } }\n    resolve: { b: not-done }\n    expect: { status: failed }\n";
    let run = Runbook::new()
        .file("p.yaml", playbook)
        .file("p.test.yaml", test);
    let ran = run.args(["test", "p.test.yaml"]).run();
    ran.expect_code(1);
    assert!(ran.stdout.contains("gone on with 100 times"), "{ran}");
}

#[test]
fn finally_has_ten_minutes_of_its_own_after_the_deadline() {
    let playbook = "\
runbook: v1
name: late
timeout: 1h
steps:
  - { id: slow, exec.command: { argv: [sleep, '7200'] } }
finally:
  - { id: tidy, exec.command: { argv: [tidy] } }
  - { id: tell, exec.command: { argv: [tell] } }
";
    let case = |name: &str, after: &str, expect: &str| {
        let answers =
            format!("{{ slow: {{ after: 2h }}, tidy: {{ after: {after} }}, tell: {{}} }}");
        format!(
            "  - name: {name}\n    answers: {answers}\n    expect: {{ status: timed_out, exit: 124, {expect} }}\n"
        )
    };
    let test = format!(
        "runbook-test: v1\nplaybook: late.yaml\ntests:\n{}{}",
        case(
            "in time",
            "9m",
            "duration: 1h9m, steps: { slow: timed_out, tidy: succeeded, tell: succeeded }"
        ),
        case(
            "too late",
            "30m",
            "duration: 1h10m, steps: { slow: timed_out, tidy: timed_out, tell: skipped }"
        ),
    );
    let run = Runbook::new()
        .file("late.yaml", playbook)
        .file("late.test.yaml", test);
    let ran = run.args(["test", "late.test.yaml"]).run();
    ran.expect_code(0);
}

//! Every verb of the program: what it prints, and how it ends.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::run::{Ran, Runbook};

const PLAYBOOK: &str = "runbook: v1
name: tour
description: What the verbs show
params:
  word: { type: string, default: from-default, from_env: TOUR_WORD }
steps:
  - { id: say, name: Say a word, effect: read, exec.command: { argv: [echo, \"${{ params.word }}\"] } }
  - { id: keep, flow.set: { values: { word: \"${{ steps.say.outputs.stdout }}\" } } }
  - { id: never, when: \"params.word == 'nobody'\", exec.command: { argv: [touch, marker] } }
";

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// A run of the playbook, with these arguments.
#[track_caller]
fn ran(args: &[&str]) -> Ran {
    let ran = Runbook::new()
        .arg("run")
        .playbook(PLAYBOOK)
        .args(args)
        .run();
    ran.expect_code(0);
    ran
}

#[track_caller]
fn says(args: &[&str], code: i32, told: &[&str]) -> Ran {
    let ran = Runbook::new()
        .file("playbook.yaml", PLAYBOOK)
        .args(args)
        .run();
    ran.expect_code(code);
    for text in told {
        assert!(ran.stdout.contains(text), "no `{text}`\n{ran}");
    }
    assert!(!ran.stderr.contains("panicked"), "{ran}");
    assert!(!ran.folder().join("marker").exists(), "{ran}");
    ran
}

#[test]
fn a_playbook_is_looked_at() {
    let dry = says(
        &["run", "--dry-run", "playbook.yaml"],
        0,
        &["Dry run of tour: nothing is looked at", "say ", "3 steps: "],
    );
    assert!(!dry.state().exists(), "a dry-run keeps nothing\n{dry}");
    let dry = says(
        &["run", "--dry-run", "--format=json", "playbook.yaml"],
        0,
        &[],
    );
    assert_eq!(dry.json()["steps"][2]["path"], "never");
    assert_eq!(dry.json()["dry_run"], true);
    says(&["validate", "playbook.yaml"], 0, &["1 playbook is valid"]);
    says(&["validate"], 0, &["1 playbook is valid"]);
    says(&["list"], 0, &["playbook.yaml  What the verbs show"]);
    let list = says(&["list", "--format", "json"], 0, &[]).json();
    assert_eq!(
        list["playbooks"],
        json!([{
            "path": "playbook.yaml", "name": "tour", "description": "What the verbs show",
            "steps": 3, "errors": 0
        }])
    );
    says(
        &["show", "playbook.yaml"],
        0,
        &[
            "word  string, default \"from-default\", from TOUR_WORD",
            "exec.command",
            "Say a word",
        ],
    );
    let show = says(&["show", "playbook.yaml", "--format=json"], 0, &[]).json();
    assert_eq!(show["steps"][1]["needs"], json!(["say"]));
    assert_eq!(show["params"]["word"]["type"], "string");
    for (format, begins) in [
        ("text", "● say"),
        ("mermaid", "flowchart"),
        ("dot", "digraph"),
        ("svg", "<svg"),
    ] {
        let drawn = says(
            &["graph", "playbook.yaml", "--format", format],
            0,
            &[begins, "say", "keep", "never"],
        );
        assert_eq!(drawn.stderr, "", "{drawn}");
    }
    let ran = says(&["graph", "playbook.yaml", "--format", "png"], 2, &[]);
    assert!(ran.stderr.contains("png"), "{ran}");
}

#[test]
fn the_program_tells_about_itself() {
    says(&["steps"], 0, &["exec.command ", "postgres.", "log.scan "]);
    says(&["steps", "host"], 0, &["host.disk "]);
    says(
        &["steps", "exec.command"],
        0,
        &[
            "exec.command\n",
            "Configuration\n",
            "argv",
            "Outputs\n",
            "stdout",
        ],
    );
    let step = says(&["steps", "exec.command", "--format=json"], 0, &[]).json();
    assert!(step["config"]["properties"]["argv"].is_object(), "{step}");
    let ran = says(&["steps", "exec.comand"], 2, &[]);
    assert!(ran.stderr.contains("did you mean `exec.command`?"), "{ran}");
    for kind in ["playbook", "project", "test"] {
        let schema = says(&["schema", kind], 0, &[]).json();
        assert_eq!(schema, shipped_schema(kind));
    }
    says(
        &["explain", "RB303"],
        0,
        &["RB303: steps that wait for each other\n\n"],
    );
    says(&["explain"], 0, &["RB101  ", "RB803  "]);
    let ran = says(&["explain", "RB999"], 2, &[]);
    assert!(
        ran.stderr.contains("there is no diagnostic `RB999`"),
        "{ran}"
    );
    for (shell, holds) in [
        ("bash", "complete -F _runbook"),
        ("zsh", "#compdef runbook"),
        ("fish", "complete -c runbook"),
    ] {
        says(&["completion", shell], 0, &[holds, "validate"]);
    }
    says(
        &["doctor"],
        0,
        &["ok        runbook", "state folder", "fsync"],
    );
    let doctor = says(&["doctor", "--format=json"], 0, &[]).json();
    assert_eq!(doctor["findings"][0]["subject"], "runbook");
    says(&[], 2, &[]);
    says(
        &["--help"],
        0,
        &["Exit status:", "124       the run's deadline passed"],
    );
}

#[test]
fn a_run_is_told_afterwards() {
    let first = ran(&["-p", "word=first"]);
    let second = first
        .then()
        .args(["run", "playbook.yaml", "-p", "word=second"])
        .run();
    second.expect_code(0);
    let verb = |args: &[&str]| second.then().args(args).run();

    let history = verb(&["history", "--format=json"]).json();
    assert_eq!(keys(&history), ["schema_version", "runs"]);
    let runs = history["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert_eq!(
            keys(run),
            [
                "id",
                "playbook",
                "status",
                "started_at",
                "ended_at",
                "duration_ms",
                "exit_code"
            ]
        );
        assert_eq!(
            (&run["playbook"], &run["status"]),
            (&json!("tour"), &json!("succeeded"))
        );
        assert_eq!(run["exit_code"], 0);
    }
    let id = |at: usize| runs[at]["id"].as_str().unwrap();
    assert!(
        runs[0]["started_at"].as_str() > runs[1]["started_at"].as_str(),
        "newest first"
    );
    let text = verb(&["history"]);
    let lines: Vec<&str> = text.expect_code(0).stdout.lines().collect();
    assert!(
        lines[0].contains(id(0)) && lines[1].contains(id(1)),
        "{text}"
    );
    assert_eq!(verb(&["history", "-n", "1"]).stdout.lines().count(), 1);
    let none = verb(&["history", "--playbook", "tuor"]);
    assert_eq!(none.expect_code(0).stdout, "");
    assert!(
        none.stderr.contains("no run of playbook `tuor` in "),
        "{none}"
    );
    assert!(none.stderr.contains("did you mean `tour`?"), "{none}");
    verb(&["history", "-n", "0"]).expect_code(2);

    let status = verb(&["status", "--format=json"]).json();
    assert_eq!(status["run"]["id"], id(0));
    assert_eq!(status["run"]["params"]["word"], "second");
    let steps = status["steps"].as_array().unwrap();
    for step in steps {
        for key in [
            "id", "path", "status", "attempts", "findings", "outputs", "reason",
        ] {
            assert!(step.get(key).is_some(), "no {key} in {step}");
        }
    }
    assert_eq!(steps[0]["outputs"]["stdout"], "second");
    assert_eq!(
        (&steps[1]["status"], &steps[1]["attempts"]),
        (&json!("succeeded"), &json!(1))
    );
    assert_eq!(
        (&steps[2]["status"], &steps[2]["attempts"]),
        (&json!("skipped"), &json!(0))
    );
    assert!(steps[2]["reason"].is_string(), "{status}");

    // A run is called by its id, the beginning that it shares with no other, or `last`.
    let shared = id(0)
        .chars()
        .zip(id(1).chars())
        .take_while(|(a, b)| a == b)
        .count();
    let prefix = &id(1)[..=shared];
    let status = verb(&["status", prefix, "--format=json"]).json();
    assert_eq!(
        (&status["run"]["id"], &status["run"]["params"]["word"]),
        (&json!(id(1)), &json!("first"))
    );
    assert_eq!(
        verb(&["logs", "last", "say"]).expect_code(0).stdout,
        "second\n"
    );
    assert_eq!(verb(&["logs", prefix]).expect_code(0).stdout, "first\n");
    for (word, told) in [
        (&id(0)[..shared], "may mean 2 runs"),
        ("zzzz", "no run is called `zzzz`"),
    ] {
        let ran = verb(&["status", word]);
        assert!(ran.expect_code(2).stderr.contains(told), "{ran}");
        assert!(
            ran.stderr.contains("`runbook history` lists the runs"),
            "{ran}"
        );
    }
    let ran = verb(&["logs", "last", "sya"]);
    assert!(
        ran.expect_code(2).stderr.contains("did you mean `say`?"),
        "{ran}"
    );

    let verified = verb(&["audit", "verify"]);
    assert!(
        verified
            .expect_code(0)
            .stdout
            .ends_with("verified: the ledger and 2 runs\n"),
        "{verified}"
    );
    let verified = verb(&["audit", "verify", "last", "--format=json"]).json();
    assert_eq!(
        (&verified["ok"], &verified["runs"][0]["id"]),
        (&json!(true), &json!(id(0)))
    );
    let shown = verb(&["audit", "show"]);
    assert!(
        shown.expect_code(0).stdout.contains("  run.start "),
        "{shown}"
    );
    let records = verb(&["audit", "show", "last", "--format=json"]).jsonl();
    assert_eq!(records.len(), shown.stdout.lines().count());
    assert_eq!(verb(&["audit", "verify", "zzzz"]).code, 2);
}

#[test]
fn a_run_is_told_in_every_format() {
    let text = ran(&[]);
    assert!(
        text.stdout.contains("tour") && text.stdout.contains("say"),
        "{text}"
    );
    let json = ran(&["--format=json"]).json();
    assert_eq!(
        (&json["run"]["status"], &json["steps"][0]["id"]),
        (&json!("succeeded"), &json!("say"))
    );
    let events = ran(&["--format=jsonl"]).jsonl();
    assert_eq!(events[0]["kind"], "run.start");
    assert!(events.iter().all(|event| event["schema_version"] == 1));
    let markdown = ran(&["--format=markdown"]);
    assert!(
        markdown.stdout.starts_with("# ") && markdown.stdout.contains("tour"),
        "{markdown}"
    );
    let reports = ran(&[
        "--report",
        "json=r.json",
        "--report",
        "markdown=sub/r.md",
        "--report=junit=r.xml",
    ]);
    let report: Value = serde_json::from_str(&reports.read("r.json")).unwrap();
    assert_eq!(report["run"]["playbook"], "tour");
    assert!(reports.read("sub/r.md").starts_with("# "));
    assert!(reports.read("r.xml").starts_with("<?xml"));
    let refused = says(&["run", "playbook.yaml", "--report", "pdf=x"], 2, &[]);
    assert!(
        refused
            .stderr
            .starts_with("error[RB803]: `pdf` is not a format"),
        "{refused}"
    );
}

#[test]
fn parameters_have_an_order() {
    let sources: [(&str, &dyn Fn(Runbook) -> Runbook); 4] = [
        ("command-line", &|run| run.args(["-p", "word=command-line"])),
        ("file", &|run| {
            run.file("params.yaml", "word: file\n")
                .args(["--params-file", "params.yaml"])
        }),
        ("own", &|run| run.env("RUNBOOK_PARAM_WORD", "own")),
        ("from-env", &|run| run.env("TOUR_WORD", "from-env")),
    ];
    for first in 0..=sources.len() {
        let run = Runbook::new()
            .args(["run", "--format=json"])
            .playbook(PLAYBOOK);
        let given = sources[first..]
            .iter()
            .fold(run, |run, (_, give)| give(run));
        let expected = sources.get(first).map_or("from-default", |(word, _)| word);
        let ran = given.run();
        assert_eq!(
            ran.expect_code(0).json()["run"]["params"]["word"],
            expected,
            "{ran}"
        );
    }
}

#[test]
fn what_init_writes_is_valid_and_runs() {
    let begun = Runbook::new().args(["init", "project"]).run();
    assert!(
        begun
            .expect_code(0)
            .stdout
            .contains("project/playbooks/check-host.yaml"),
        "{begun}"
    );
    let valid = begun.then().args(["validate", "--strict", "project"]).run();
    assert!(
        valid.expect_code(0).stdout.contains("1 playbook is valid"),
        "{valid}"
    );
    let run = begun
        .then()
        .args(["run", "project/playbooks/check-host.yaml", "--format=json"])
        .run();
    // How well this machine is, is not ours to say; that every step looked at it is.
    assert!([0, 1].contains(&run.code), "{run}");
    let steps = run.json()["steps"].clone();
    assert_eq!(steps.as_array().unwrap().len(), 3);
    for step in steps.as_array().unwrap() {
        assert!(!step["findings"].as_array().unwrap().is_empty(), "{step}");
    }
    let again = begun.then().args(["init", "project"]).run();
    assert!(
        again.expect_code(2).stderr.contains("nothing was written"),
        "{again}"
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped_schema(name: &str) -> Value {
    let path = root().join(format!("schemas/{name}.schema.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap();
    serde_yaml::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_schema_takes_what_is_good_and_refuses_what_is_not() {
    let schema = jsonschema::validator_for(&shipped_schema("playbook")).unwrap();
    let project = jsonschema::validator_for(&shipped_schema("project")).unwrap();
    let mut good: Vec<PathBuf> = Vec::new();
    for folder in ["examples", "playbooks", "src/cli/init", "tests/check/ok"] {
        let before = good.len();
        good.extend(
            std::fs::read_dir(root().join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|ext| ext == "yaml")),
        );
        assert!(good.len() > before, "no playbook in {folder}");
    }
    // Texts that are no texts for other readers of YAML, such as a plain 1.20: they keep how they are
    // written with us, and an editor that goes by the schema asks for quotes.
    good.retain(|path| !path.ends_with("strings-stay-strings.yaml"));
    // Tests have a schema of their own.
    good.retain(|path| !path.to_string_lossy().ends_with(".test.yaml"));
    // The workflow that `init` writes is GitHub's.
    good.retain(|path| !path.ends_with("workflow.yaml"));
    for path in good {
        let is_project = path.ends_with("runbook.yaml");
        let validator = if is_project { &project } else { &schema };
        if let Err(error) = validator.validate(&yaml(&path)) {
            panic!("{}: {}: {error}", path.display(), error.instance_path());
        }
    }
    for name in [
        "unknown-keys",
        "wrong-types",
        "missing-keys",
        "no-steps",
        "unknown-type",
        "step-without-type",
        "step-with-two-types",
        "other-version",
    ] {
        let path = root().join(format!("tests/check/bad/{name}.yaml"));
        assert!(!schema.is_valid(&yaml(&path)), "{name} is taken");
    }
}

#[test]
fn null_stands_for_a_nullable_field_that_is_not_set() {
    let scan = |max: &str| {
        let playbook = format!(
            "runbook: v1
name: t
steps:
  - {{ id: look, log.scan: {{ path: log, pattern: bad{max} }} }}
"
        );
        let run = Runbook::new().file("log", "bad\ngood\nbad\n");
        run.args(["run", "--format=json"]).playbook(&playbook).run()
    };
    // Without `max`, any match is critical; with null, matches are counted alone.
    let counted = scan(", max: null");
    let step = counted.expect_code(0).json()["steps"][0].clone();
    assert_eq!(step["status"], "succeeded", "{counted}");
    assert_eq!(step["findings"][0]["level"], "ok", "{counted}");
    assert_eq!(step["outputs"]["count"], 2, "{counted}");
    for max in ["", ", max: 1"] {
        let found = scan(max);
        let step = found.expect_code(1).json()["steps"][0].clone();
        assert_eq!(step["findings"][0]["level"], "critical", "{found}");
    }
    assert_eq!(
        scan(", max: 2").expect_code(0).json()["steps"][0]["findings"][0]["level"],
        "ok"
    );
}

#[test]
fn logs_in_a_pipe_are_the_bytes_that_were_written() {
    let written = "a\u{1b}[31mb\u{9b}c\r\tno line's end";
    let run = Runbook::new()
        .arg("run")
        .playbook(
            "runbook: v1\nname: bytes\nsteps:\n  - { id: say, effect: read, exec.command: { argv: \
             [cat, written.txt] } }\n",
        )
        .file("written.txt", written)
        .run();
    run.expect_code(0);
    for args in [&["logs"][..], &["logs", "last", "say"], &["logs", "--raw"]] {
        let ran = run.then().args(args).run();
        assert_eq!(ran.expect_code(0).stdout, written, "{ran}");
    }
}

#[test]
fn a_report_never_overwrites_what_is_run() {
    let fixed =
        format!("{PLAYBOOK}reports: [{{ format: json, path: \"${{{{ params.word }}}}\" }}]\n");
    let runs: [(&str, &[&str], &str); 3] = [
        (
            PLAYBOOK,
            &["--report", "json=./playbook.yaml"],
            "the playbook",
        ),
        (
            PLAYBOOK,
            &["--report", "json=runbook.yaml"],
            "the project file",
        ),
        (&fixed, &["-p", "word=playbook.yaml"], "the playbook"),
    ];
    for (playbook, args, what) in runs {
        let ran = Runbook::new()
            .file("runbook.yaml", "runbook-project: v1\n")
            .arg("run")
            .playbook(playbook)
            .args(args)
            .run();
        let told = format!("would overwrite {what} itself");
        assert!(ran.expect_code(2).stderr.contains(&told), "{ran}");
        assert_eq!(ran.read("playbook.yaml"), playbook);
        assert!(!ran.state().exists(), "nothing ran\n{ran}");
    }
}

#[test]
fn what_does_not_verify_is_named() {
    let ran = ran(&[]);
    std::fs::create_dir(ran.state().join("runs/lost+found")).expect("it can be made");
    let verified = ran.then().args(["audit", "verify"]).run();
    let told = &verified.expect_code(0).stdout;
    assert!(told.ends_with("verified: the ledger and 1 run\n"), "{told}");
    assert!(!told.contains("ok, "), "{told}");
    let ledger = ran.state().join("ledger.jsonl");
    let text = std::fs::read_to_string(&ledger).expect("it is there");
    std::fs::write(&ledger, text + "garbage\n").expect("it can be written");
    let verified = ran.then().args(["audit", "verify"]).run();
    let told = &verified.expect_code(5).stdout;
    assert!(
        told.ends_with("NOT VERIFIED: the ledger is bad; 1 run verified\n"),
        "{told}"
    );
}

#[test]
fn no_time_at_all_is_no_timeout() {
    let args = ["run", "--timeout", "0s", "playbook.yaml"];
    let ran = says(&args, 2, &[]);
    assert!(ran.stderr.contains("longer than 0s"), "{ran}");
}

#[test]
fn a_variable_that_sets_no_parameter_is_told() {
    let ran = Runbook::new()
        .env("RUNBOOK_PARAM_WROD", "x")
        .env("RUNBOOK_PARAM_WORD", "y")
        .args(["run", "--dry-run"])
        .playbook(PLAYBOOK)
        .run();
    let told = "`RUNBOOK_PARAM_WROD` sets no parameter of this playbook; did you mean \
                `RUNBOOK_PARAM_WORD`?";
    assert!(ran.expect_code(0).stderr.contains(told), "{ran}");
    assert_eq!(ran.stderr.matches("RUNBOOK_PARAM_").count(), 2, "{ran}");
}

#[test]
fn the_hook_for_git_lets_only_valid_playbooks_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci");
    let hook = std::fs::read_to_string(root.join("pre-commit")).unwrap();
    let good = "runbook: v1\nname: p\nsteps:\n  - { id: a, exec.command: { argv: ['true'] } }\n";
    let test = "runbook-test: v1\nplaybook: gone.yaml\ntests: []\n";
    for (playbook, code) in [(good, 0), (&*good.replace("argv", "argw"), 1), (test, 1)] {
        let bin = Path::new(env!("CARGO_BIN_EXE_runbook")).parent().unwrap();
        let script = format!(
            "set -e; PATH={}:$PATH; git init -q .; cp hook .git/hooks/pre-commit; \
             chmod +x .git/hooks/pre-commit; git add 'a playbook.yaml' other.yaml; \
             git -c user.name=x -c user.email=x@example.org commit -qm x",
            bin.display()
        );
        let ran = Runbook::new()
            .file("hook", &hook)
            .file("a playbook.yaml", playbook)
            .file("other.yaml", "anything: else\n")
            .instead(["sh", "-c", &script])
            .run();
        ran.expect_code(code);
    }
    for file in ["playbooks.yaml", "pre-commit-config.yaml"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let read: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert!(
            read.is_mapping() && text.contains("runbook validate"),
            "{file}"
        );
    }
}

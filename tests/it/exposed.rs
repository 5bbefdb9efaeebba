//! What others on the machine can see of a run's secrets while it runs: command lines, which everybody
//! can read, and environments, which its user can (proc_pid_cmdline(5), proc_pid_environ(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::run::{Runbook, Started};
use crate::support::{process, wait};

const LONG: Duration = Duration::from_secs(30);

/// The secrets, each with what is looked for.
const SECRETS: [(&str, &str); 4] = [
    ("env", "fr0m-the-Environment"),
    ("file", "fr0m-a-File"),
    ("command", "fr0m-a-Command"),
    ("unused", "fr0m-N0where"),
];

/// Every step waits for `go`, and none of the programs has more of the secrets than it was given.
const PLAYBOOK: &str = "\
runbook: v1
name: exposed
order: parallel
secrets:
  env: { env: TOKEN }
  file: { file: word.txt }
  command: { command: [sh, -c, 'touch asked; until [ -e answer ]; do sleep 0.02; done; cat spoken.txt'] }
  unused: { env: UNUSED }
vars: { both: \"${{ secrets.env }}/${{ secrets.file }}\" }
steps:
  - id: all
    exec.script:
      env: { E: \"${{ vars.both }}\", C: \"${{ secrets.command }}\" }
      script: 'touch in-all; until [ -e go ]; do sleep 0.02; done; [ ${#C} = 14 ]'
  - id: none
    exec.command: { argv: [sh, -c, 'touch in-none; until [ -e go ]; do sleep 0.02; done', none] }
  - id: some
    exec.pipeline:
      stages:
        - { argv: [sh, -c, 'touch in-first; until [ -e go ]; do sleep 0.02; done', first], env: { F: \"${{ secrets.file }}\" } }
        - { argv: [sh, -c, 'touch in-second; until [ -e go ]; do sleep 0.02; done', second] }
";

/// Of each process of a run, by its name here: its command line, and which secrets its environment
/// has. Two that go by one name count as one.
struct Seen {
    commands: Vec<String>,
    environments: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

fn look(run: &Started) -> Seen {
    let mut seen = Seen {
        commands: Vec::new(),
        environments: BTreeMap::new(),
    };
    let mut left = vec![run.pid().as_raw_pid().unsigned_abs()];
    let own = left[0];
    while let Some(pid) = left.pop() {
        left.extend(process::children(pid));
        let read = |file: &str| {
            let bytes = fs::read(Path::new("/proc").join(pid.to_string()).join(file));
            String::from_utf8_lossy(&bytes.unwrap_or_default()).replace('\0', " ")
        };
        let (command, environment) = (read("cmdline"), read("environ"));
        let name = match () {
            () if pid == own => "runbook",
            // Those that are told by their last argument; `sleep` and the like belong to one of them.
            () if command.trim_end().ends_with(" none") => "none",
            () if command.trim_end().ends_with(" first") => "first",
            () if command.trim_end().ends_with(" second") => "second",
            () if command.contains("touch in-all") => "all",
            () if command.contains("touch asked") => "secret",
            () => "below",
        };
        let found = SECRETS
            .iter()
            .filter(|(_, text)| environment.contains(text));
        let found = found.map(|(name, _)| *name);
        seen.environments.entry(name).or_default().extend(found);
        seen.commands.push(command);
    }
    seen
}

impl Seen {
    #[track_caller]
    fn expect(&self, expected: &[(&str, &[&str])]) {
        for command in &self.commands {
            for (name, secret) in SECRETS {
                assert!(!command.contains(secret), "{name}: {command}");
            }
        }
        for (process, secrets) in expected {
            let found = self.environments.get(process);
            let found = found.unwrap_or_else(|| panic!("no {process}: {:?}", self.commands));
            let expected: BTreeSet<&str> = secrets.iter().copied().collect();
            assert_eq!(*found, expected, "{process}: {:?}", self.environments);
        }
    }
}

fn wait_for(run: &Started, file: &str) {
    let path = run.folder().join(file);
    wait::until(file, LONG, || path.exists().then_some(()));
}

#[test]
fn secrets_are_in_no_command_line_and_where_they_were_given_alone() {
    let run = Runbook::new()
        .file("word.txt", "fr0m-a-File\n")
        .file("spoken.txt", "fr0m-a-Command\n")
        .env("TOKEN", SECRETS[0].1)
        .env("UNUSED", SECRETS[3].1)
        .arg("run")
        .playbook(PLAYBOOK)
        .start();
    wait_for(&run, "asked");
    // It was started with these; what it starts does not inherit them.
    let engine: (&str, &[&str]) = ("runbook", &["env", "unused"]);
    look(&run).expect(&[engine, ("secret", &[])]);

    fs::write(run.folder().join("answer"), "").expect("a file can be written");
    for step in ["in-all", "in-none", "in-first", "in-second"] {
        wait_for(&run, step);
    }
    let seen = look(&run);
    fs::write(run.folder().join("go"), "").expect("a file can be written");
    seen.expect(&[
        engine,
        ("all", &["env", "file", "command"]),
        ("none", &[]),
        ("first", &["file"]),
        ("second", &[]),
    ]);
    run.finish().expect_code(0);
}

#[test]
fn a_secret_in_an_argument_is_refused_before_anything_runs() {
    for field in [
        "exec.command: { argv: [curl, -H, \"${{ secrets.env }}\"] }",
        "exec.command: { argv: [cat], stdin: \"${{ vars.header }}\" }",
        "exec.pipeline: { stages: [{ argv: [echo, \"${{ vars.header | upper }}\"] }] }",
    ] {
        let head = "runbook: v1\nname: argued\nsecrets: { env: { env: TOKEN } }\nvars: { header: 'Bearer ${{ secrets.env }}' }\n";
        let text = format!(
            "{head}steps:\n  - {{ id: a, exec.command: {{ argv: [touch, made] }} }}\n  - id: b\n    {field}\n"
        );
        let ran = Runbook::new().env("TOKEN", SECRETS[0].1).arg("run");
        let ran = ran.playbook(&text).run();
        ran.expect_code(2);
        assert!(ran.stderr.contains("RB407"), "{field}: {ran}");
        assert!(!ran.folder().join("made").exists(), "{ran}");
    }
}

/// What is shown live: whole lines, while the step runs, and all of them before its result.
#[test]
fn live_output_comes_in_whole_lines_before_the_result() {
    let secret = "wJalrXUt/nFEMI+K7MDENG\n".repeat(60);
    let ran = Runbook::new()
        .env("TOKEN", &secret)
        .args(["run", "-v", "--format", "jsonl"])
        .playbook(
            "runbook: v1\nname: live\nsecrets: { token: { env: TOKEN } }\nsteps:\n  - id: talk\n    \
             exec.script:\n      env: { T: \"${{ secrets.token }}\" }\n      \
             script: 'for n in 1 2 3; do printf \"gr\"; sleep 0.05; printf \"ün $n\\n\"; done; \
             printf \"$T\" | head -n 1; printf \"the end wJal\"'\n",
        )
        .run();
    let lines: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    let at = |kind: &str| lines.iter().position(|line| line["kind"] == kind);
    let shown: Vec<(usize, &str)> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line["kind"] == "step.output")
        .filter_map(|(at, line)| Some((at, line["data"]["text"].as_str()?)))
        .collect();
    let text: String = shown.iter().map(|(_, text)| *text).collect();
    assert_eq!(text, "grün 1\ngrün 2\ngrün 3\n***\nthe end wJal", "{ran}");
    let (_, before_last) = shown.split_last().expect("something was shown");
    assert!(before_last.iter().all(|(_, text)| text.ends_with('\n')));
    assert!(shown.last().map(|(at, _)| *at) < at("step.result"), "{ran}");
}

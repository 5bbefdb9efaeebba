//! Records of runs that have not ended, changed by somebody else: what `audit verify` says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::run::{Ran, Runbook, Started};
use crate::support::{process, wait};

const LONG: Duration = Duration::from_secs(30);

/// Two steps of which one leaves a log, and one that waits for the file `over`.
const PLAYBOOK: &str = "\
runbook: v1
name: open
steps:
  - { id: said, exec.command: { argv: [echo, a word] } }
  - { id: set, flow.set: { values: { x: before } } }
  - { id: wait, exec.script: { script: 'touch waits; until [ -e over ]; do sleep 0.02; done' } }
";

/// A run that waits, and before it in the same state folder one that has ended.
struct Open {
    run: Started,
    id: String,
    other: String,
}

impl Open {
    fn begin() -> Open {
        let ended =
            "runbook: v1\nname: ended\nsteps:\n  - { id: a, flow.set: { values: { x: 1 } } }\n";
        let ran = Runbook::new().arg("run").playbook(ended).run();
        ran.expect_code(0);
        let other = runs(ran.state());
        let run = ran.then().arg("run").playbook(PLAYBOOK).start();
        wait::until("the last step", LONG, || {
            run.folder().join("waits").exists().then_some(())
        });
        let mut both = runs(run.state());
        both.retain(|id| !other.contains(id));
        Open {
            run,
            id: both.remove(0),
            other: other[0].clone(),
        }
    }

    /// Lets the last step end.
    fn over(&self) {
        fs::write(self.run.folder().join("over"), "").expect("a file can be written");
    }

    fn journal(&self) -> PathBuf {
        self.run
            .state()
            .join(format!("runs/{}/journal.jsonl", self.id))
    }
}

fn runs(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(state.join("runs")).expect("there are runs");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("ASCII");
    entries.flatten().map(name).collect()
}

fn verify(state: &Path) -> Ran {
    let verify = Runbook::new().state(state);
    verify.args(["audit", "verify", "--format", "json"]).run()
}

/// Copies of a state folder, each changed in one way.
struct Copies<'a> {
    open: &'a Open,
    run: String,
}

impl Copies<'_> {
    /// What is told of a copy after `change`, which gets the state folder and the run's: of the
    /// ledger, of the run, and of the other run.
    #[track_caller]
    fn told(&self, change: impl FnOnce(&Path, &Path), code: i32) -> [String; 3] {
        let copy = Runbook::new();
        let state = copy.folder().join("copy");
        let from = self.open.run.state().display().to_string();
        let to = state.display().to_string();
        process::output("cp", &["-a", &from, &to]).expect_code(0);
        change(&state, &state.join("runs").join(&self.run));
        let ran = verify(&state);
        ran.expect_code(code);
        let found = ran.json();
        assert_eq!(found["ok"], code == 0, "{ran}");
        let told = |id: &str| {
            let mut all = found["runs"].as_array().expect("runs").iter();
            let run = all.find(|run| run["id"] == id);
            run.map_or("none".to_owned(), |run| {
                let ok = if run["ok"] == true { "ok" } else { "BAD" };
                format!("{ok}: {}", run["verdict"].as_str().expect("a text"))
            })
        };
        [
            found["ledger"]["fault"].as_str().unwrap_or("ok").to_owned(),
            told(&self.run),
            told(&self.open.other),
        ]
    }

    /// Changes the lines of the journal; `said` is told of this run, and nothing of any other.
    #[track_caller]
    fn journal(&self, said: &str, change: impl FnOnce(&mut Vec<String>)) {
        let told = self.told(|_, run| change_lines(&run.join("journal.jsonl"), change), 5);
        self.only(&told, said);
    }

    #[track_caller]
    fn only(&self, [ledger, run, other]: &[String; 3], said: &str) {
        assert_eq!(ledger, "ok");
        assert!(
            run.starts_with("BAD: ") && run.contains(said),
            "{said}: {run}"
        );
        assert!(other.starts_with("ok: ok, "), "{other}");
    }

    /// Changes the lines of the ledger; the third is this run's start.
    #[track_caller]
    fn ledger(&self, change: impl FnOnce(&mut Vec<String>)) -> [String; 3] {
        self.told(
            |state, _| change_lines(&state.join("ledger.jsonl"), change),
            5,
        )
    }
}

fn change_lines(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(path).expect("it is there");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).expect("it can be written");
}

fn edit(line: &mut String, from: &str, to: &str) {
    assert!(line.contains(from), "{from}: {line}");
    *line = line.replacen(from, to, 1);
}

/// Every way to tamper with it, done to copies of `open` as it is now.
#[track_caller]
fn is_told(open: &Open) {
    let copies = Copies {
        open,
        run: open.id.clone(),
    };
    let untouched = copies.told(|_, _| {}, 0);
    assert_eq!(untouched[1], "ok: ok, 6 records, not ended");
    journals_are_told(&copies);
    files_are_told(&copies);
    ledgers_are_told(&copies);
    torn_ends_are_none(&copies);
}

/// Its records are: run.start, start and result of `said`, of `set`, start of `wait`.
#[track_caller]
fn journals_are_told(copies: &Copies<'_>) {
    copies.journal("record 1 was tampered with: it was edited", |lines| {
        edit(&mut lines[0], "\"open\"", "\"opex\"");
    });
    copies.journal("record 3 was tampered with: it was edited", |lines| {
        edit(&mut lines[2], "succeeded", "failed");
    });
    copies.journal("record 5 was tampered with: it was edited", |lines| {
        edit(&mut lines[4], "before", "behind");
    });
    copies.journal("record 6 was tampered with: it is no record", |lines| {
        edit(&mut lines[5], "{", "");
    });
    copies.journal("record 1 was tampered with: it is missing", |lines| {
        lines.remove(0);
    });
    copies.journal(
        "record 4 was tampered with: it is missing, like those after it up to record 5",
        |lines| {
            lines.drain(3..5);
        },
    );
    copies.journal(
        "record 2 was tampered with: record 3 stands in its place",
        |lines| {
            lines.swap(1, 2);
        },
    );
    copies.journal(
        "record 3 was tampered with: its number stands twice",
        |lines| {
            lines.insert(3, lines[2].clone());
        },
    );
    copies.journal(
        "record 6 was tampered with: its number stands twice",
        |lines| {
            lines.push(lines[5].clone());
        },
    );
    copies.journal("record 7 was tampered with: it is no record", |lines| {
        lines.push("{\"v\":1}".to_owned());
    });
    // Nothing is chained to the last one that would tell which of the last two it was.
    let either = "or the record after it, the last one, was edited or added";
    copies.journal(either, |lines| {
        let forged = lines[4].replacen("\"seq\":5", "\"seq\":7", 1);
        lines.push(forged);
    });
    copies.journal(
        "record 1 was tampered with: it is missing at the end",
        Vec::clear,
    );
    let gone =
        |_: &Path, run: &Path| fs::remove_file(run.join("journal.jsonl")).expect("it is there");
    copies.only(&copies.told(gone, 5), "its journal is missing");
    let gone = |_: &Path, run: &Path| fs::remove_dir_all(run).expect("it is there");
    copies.only(&copies.told(gone, 5), "its journal is missing");
}

/// The log that a result names.
#[track_caller]
fn files_are_told(copies: &Copies<'_>) {
    let log = "record 3 was tampered with: it names logs/said.1.out, and that ";
    let longer = |_: &Path, run: &Path| {
        fs::write(run.join("logs/said.1.out"), "another word\n").expect("it is there");
    };
    copies.only(
        &copies.told(longer, 5),
        &format!("{log}has 13 bytes instead of 7"),
    );
    let other = |_: &Path, run: &Path| {
        fs::write(run.join("logs/said.1.out"), "o word\n").expect("it is there");
    };
    copies.only(&copies.told(other, 5), &format!("{log}has another content"));
    let gone = |_: &Path, run: &Path| {
        fs::remove_file(run.join("logs/said.1.out")).expect("it is there");
    };
    copies.only(&copies.told(gone, 5), &format!("{log}is gone"));
}

/// Its records are: start and end of the other run, start of this one, to which nothing is chained.
#[track_caller]
fn ledgers_are_told(copies: &Copies<'_>) {
    let told = copies.ledger(|lines| edit(&mut lines[2], "\"open\"", "\"opex\""));
    copies.only(&told, "the ledger has another playbook of this run");
    let told = copies.ledger(|lines| {
        lines.pop();
    });
    copies.only(&told, "it has 6 records, and the ledger does not have it");
    let told = copies.ledger(|lines| edit(&mut lines[1], "\"succeeded\"", "\"failed\""));
    assert!(
        told[0].contains("record 2 was tampered with: it was edited"),
        "{told:?}"
    );
    let told = copies.ledger(|lines| {
        lines.remove(1);
    });
    assert!(
        told[0].contains("record 2 was tampered with: it is missing"),
        "{told:?}"
    );
    let told = copies.ledger(|lines| lines.push(lines[2].clone()));
    assert!(
        told[0].contains("record 3 was tampered with: its number stands twice"),
        "{told:?}"
    );
    let told = copies.ledger(|lines| lines.push("garbage".to_owned()));
    assert!(
        told[0].contains("record 4 was tampered with: it is no record"),
        "{told:?}"
    );
    let gone =
        |state: &Path, _: &Path| fs::remove_file(state.join("ledger.jsonl")).expect("it is there");
    let told = copies.told(gone, 5);
    for run in &told[1..] {
        assert!(
            run.starts_with("BAD: ") && run.contains("the ledger does not have it"),
            "{run}"
        );
    }
}

/// What a crash leaves is no tampering: a part of a record, or zeros that a file system left.
#[track_caller]
fn torn_ends_are_none(copies: &Copies<'_>) {
    let torn = |path: fn(&Path, &Path) -> PathBuf, bytes: &'static [u8]| {
        let append = |state: &Path, run: &Path| {
            let path = path(state, run);
            let mut text = fs::read(&path).expect("it is there");
            text.extend_from_slice(bytes);
            fs::write(&path, text).expect("it can be written");
        };
        copies.told(append, 0)
    };
    let journal = |_: &Path, run: &Path| run.join("journal.jsonl");
    let ledger = |state: &Path, _: &Path| state.join("ledger.jsonl");
    for bytes in [&b"{\"v\":1,\"seq\":7,"[..], &[0; 4096]] {
        let told = torn(journal, bytes);
        assert!(told[1].starts_with("ok: ok, 6 records, and "), "{told:?}");
        assert!(
            told[1].contains(&format!("{} torn bytes", bytes.len())),
            "{told:?}"
        );
        let told = torn(ledger, bytes);
        assert!(
            told[0].contains(&format!("the last {} bytes", bytes.len())),
            "{told:?}"
        );
    }
    let cut = |_: &Path, run: &Path| {
        let path = run.join("journal.jsonl");
        let text = fs::read(&path).expect("it is there");
        fs::write(&path, &text[..text.len() - 9]).expect("it can be written");
    };
    let told = copies.told(cut, 0);
    assert!(told[1].starts_with("ok: ok, 5 records, and "), "{told:?}");
}

#[test]
fn tampering_with_a_run_that_goes_on_is_told() {
    let open = Open::begin();
    is_told(&open);
    // Nor does the engine cover it when it goes on writing.
    change_lines(&open.journal(), |lines| {
        edit(&mut lines[4], "before", "behind")
    });
    open.over();
    let Open { run, id, .. } = open;
    let ran = run.finish();
    ran.expect_code(0);
    let verified = verify(ran.state());
    verified.expect_code(5);
    let run = format!("{:?}", verified.json()["runs"]);
    assert!(
        run.contains(&id) && run.contains("record 5 was tampered with"),
        "{run}"
    );
}

#[test]
fn tampering_with_an_interrupted_run_is_told() {
    let open = Open::begin();
    open.run.signal(Signal::KILL);
    open.over();
    is_told(&open);
    // What its end left torn stays told when others have written to the ledger after it.
    let journal = open.journal();
    let text = fs::read(&journal).expect("it is there");
    fs::write(&journal, &text[..text.len() - 9]).expect("it can be written");
    let ledger = open.run.state().join("ledger.jsonl");
    let text = fs::read(&ledger).expect("it is there");
    fs::write(&ledger, [&text[..], b"{\"v\":1,\"se"].concat()).expect("it can be written");
    let id = open.id.clone();
    let ran = open.run.finish();
    let ended = "runbook: v1\nname: next\nsteps:\n  - { id: a, flow.set: { values: { x: 1 } } }\n";
    ran.then().arg("run").playbook(ended).run().expect_code(0);
    let verified = verify(ran.state());
    verified.expect_code(0);
    let runs = verified.json()["runs"].to_string();
    assert!(
        runs.contains(&id) && runs.contains("ok, 5 records, and "),
        "{runs}"
    );
    assert_eq!(verified.json()["ledger"]["records"], 6, "{verified}");
}

//! The recipes of `docs/audit.md`, as they stand there, run on good and on tampered records.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Journal;
use crate::audit::testing::Recorded;
use crate::event::Event;

const PAGE: &str = include_str!("../../../docs/audit.md");

const VERIFY: &str = include_str!("../../../docs/verify.py");

/// The recipe in `language`: the page's only block of it, or the script that it names.
fn block(language: &str) -> &'static str {
    if language == "python" {
        return VERIFY;
    }
    let (_, rest) = PAGE.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("\n```\n").unwrap().0
}

/// A recipe as a file, and what runs it.
struct Recipe {
    program: &'static str,
    install: &'static str,
    file: PathBuf,
}

impl Recipe {
    fn new(place: &Path, language: &str, program: &'static str, install: &'static str) -> Self {
        let file = place.join("recipe");
        fs::write(&file, block(language)).unwrap();
        Self {
            program,
            install,
            file,
        }
    }

    /// Its exit status and what it says.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(self.program)
            .arg(&self.file)
            .args(arguments)
            .output();
        let output = match output {
            Ok(output) => output,
            Err(error) => panic!(
                "docs/audit.md promises that {} can check a record: {error}; install {}",
                self.program, self.install
            ),
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code().unwrap(), text)
    }
}

/// A state folder with everything that is good; `torn` where runs and engines were killed.
fn good(torn: bool) -> Recorded {
    let mut recorded = Recorded::empty();
    recorded.run(1, 1, true);
    recorded.run(2, 1, false);
    if torn {
        let mut journal = fs::read(recorded.journal()).unwrap();
        journal.extend(b"{\"v\":1,\"seq\":4");
        fs::write(recorded.journal(), journal).unwrap();
        let mut ledger = fs::read(recorded.state.ledger()).unwrap();
        ledger.extend(b"{\"v\":1,\n\"seq\":");
        fs::write(recorded.state.ledger(), ledger).unwrap();
    }
    recorded.run(4, 1, true);
    recorded.resume(2, true);
    recorded.resume(3, false);
    recorded.run(3, 2, true);
    let strange = crate::base::RunId::from_parts(9, 9);
    fs::create_dir(recorded.state.run(&strange)).unwrap();
    recorded
}

/// The ways to tamper with the journal of an ended run, or with the ledger.
fn tampered(lines: &[Vec<u8>]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let edit = |line: &[u8]| {
        let text = String::from_utf8(line.to_vec()).unwrap();
        text.replacen("\"1970-", "\"1971-", 1).into_bytes()
    };
    let change = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = lines.to_vec();
        change(&mut lines);
        lines
    };
    let last = lines.len() - 1;
    let mut anew = Journal {
        lines: change(&|lines| lines[1] = edit(&lines[1])),
        sealed: None,
    };
    anew.chain_anew();
    vec![
        ("edited", change(&|lines| lines[1] = edit(&lines[1]))),
        (
            "last edited",
            change(&|lines| lines[last] = edit(&lines[last])),
        ),
        ("removed", change(&|lines| drop(lines.remove(1)))),
        ("inserted", change(&|lines| lines.insert(1, b"{}".to_vec()))),
        ("copied", change(&|lines| lines.insert(1, lines[0].clone()))),
        ("exchanged", change(&|lines| lines.swap(0, 1))),
        ("emptied", change(&|lines| lines[1].fill(0))),
        ("no UTF-8", change(&|lines| lines[1][9] = 0xff)),
        ("chained anew", anew.lines),
    ]
}

fn python(place: &Path) -> Recipe {
    Recipe::new(place, "python", "python3", "python3")
}

#[test]
fn the_python_recipe_says_what_is_good() {
    let recorded = good(true);
    let place = tempfile::tempdir().unwrap();
    let state = recorded.state.path().to_str().unwrap();
    let (code, text) = python(place.path()).run(&[state]);
    assert_eq!(code, 0, "{text}");
    insta::assert_snapshot!(text, @"
    0000000010000001 ok, 4 records
    0000000020000002 ok, 3 records, not ended, 14 torn bytes
    0000000030000003 ok, 6 records
    0000000040000004 ok, 11 records, not ended
    0000000090000009 ok, nothing was done
    ");
    // Other bytes than those that were set aside.
    let ledger = fs::read_to_string(recorded.state.ledger()).unwrap();
    let other = ledger.replacen("{\"v\":1,\n", "{\"v\":2,\n", 1);
    assert_ne!(other, ledger);
    fs::write(recorded.state.ledger(), other).unwrap();
    assert_eq!(python(place.path()).run(&[state]).0, 1);
}

#[test]
fn the_python_recipe_tells_what_was_tampered_with() {
    let recorded = good(false);
    let place = tempfile::tempdir().unwrap();
    let recipe = python(place.path());
    let state = recorded.state.path().to_str().unwrap();
    let run = || recipe.run(&[state]);
    assert_eq!(run().0, 0);
    for path in [recorded.journal(), recorded.state.ledger()] {
        let bytes = fs::read(&path).unwrap();
        let lines = bytes[..bytes.len() - 1].split(|byte| *byte == b'\n');
        let lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        for (what, lines) in tampered(&lines) {
            fs::write(&path, super::join(&lines)).unwrap();
            let (code, text) = run();
            assert_eq!(code, 1, "{what}: {text}");
            assert!(!text.contains("Traceback"), "{text}");
            let verified =
                crate::audit::verify(&recorded.state, None, &crate::audit::Against::default())
                    .unwrap();
            assert!(!verified.is_good(), "{what}");
        }
        fs::write(&path, &bytes).unwrap();
    }
    // A run that has ended may not be torn, or without its journal.
    let bytes = fs::read(recorded.journal()).unwrap();
    fs::write(recorded.journal(), &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(run().0, 1);
    fs::remove_file(recorded.journal()).unwrap();
    assert_eq!(run().0, 1);
    fs::write(recorded.journal(), bytes).unwrap();
    assert_eq!(run().0, 0);
}

#[test]
fn the_shell_recipe_tells_good_from_tampered() {
    let mut recorded = Recorded::ended(1);
    recorded.run(2, 2, true);
    let place = tempfile::tempdir().unwrap();
    let recipe = Recipe::new(place.path(), "sh", "sh", "a POSIX shell and coreutils");
    let state = recorded.state.path().to_str().unwrap().to_owned();
    let run = || recipe.run(&[&state, recorded.run.as_str()]);
    assert_eq!(run(), (0, "ok, 6 records\n".to_owned()));
    for (what, lines) in tampered(&Journal::of(&recorded).lines) {
        fs::write(recorded.journal(), super::join(&lines)).unwrap();
        let (code, text) = run();
        assert_eq!(code, 1, "{what}: {text}");
    }
}

#[test]
fn the_page_names_every_kind_and_its_fields() {
    for kind in Event::KINDS.iter().copied().chain(["audit.torn"]) {
        assert!(PAGE.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
    let recorded = Recorded::ended(1);
    let ledger = fs::read(recorded.state.ledger()).unwrap();
    let lines = Journal::of(&recorded).lines.into_iter();
    for line in lines.chain(ledger.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)) {
        if line.is_empty() {
            continue;
        }
        let record: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let data = record["data"].as_object().unwrap();
        for field in record.as_object().unwrap().keys().chain(data.keys()) {
            assert!(PAGE.contains(&format!("`{field}`")), "{field}");
        }
    }
}

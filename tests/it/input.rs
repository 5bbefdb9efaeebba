//! What people give by mistake: each is told once and clearly, by `validate` and by `run`, and nothing
//! runs.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::run::{Ran, Runbook};

/// A playbook whose one step leaves a mark, and what follows it.
fn marking(rest: &str) -> String {
    format!(
        "runbook: v1\nname: t\nsteps:\n  - {{ id: mark, exec.command: {{ argv: [touch, marker] }} }}\n{rest}"
    )
}

#[track_caller]
fn assert_nothing_ran(ran: &Ran) {
    assert!(!ran.folder().join("marker").exists(), "it ran\n{ran}");
    let runs = ran.state().join("runs");
    let left = runs
        .is_dir()
        .then(|| std::fs::read_dir(&runs).unwrap().count());
    assert_eq!(left.unwrap_or(0), 0, "there is a run\n{ran}");
    assert!(!ran.stderr.contains("panicked"), "{ran}");
}

/// Both verbs on `bad.yaml`, which `make` puts in a folder: one error each, that begins with the lines
/// of `told`; the first of a diagnostic has the code and the message, the second the place.
#[track_caller]
fn told_by(make: impl Fn(&Path), told: &[&str]) {
    let name = "bad.yaml";
    for (verb, code) in [("validate", 1), ("run", 2)] {
        let program = Runbook::new().args([verb, name]);
        make(&program.folder().join(name));
        let ran = program.run();
        ran.expect_code(code);
        assert_nothing_ran(&ran);
        // `validate` is asked for the findings, so they are its data.
        let (text, other) = match verb {
            "validate" => (&ran.stdout, &ran.stderr),
            _ => (&ran.stderr, &ran.stdout),
        };
        assert_eq!(other, "", "{ran}");
        assert_eq!(text.matches("error[RB").count(), 1, "{ran}");
        let at = text.find("error[RB").unwrap();
        let lines: Vec<&str> = text[at..].lines().map(str::trim).collect();
        for line in told {
            assert!(lines.contains(line), "no line `{line}`\n{ran}");
        }
        assert_eq!(lines.first(), told.first(), "{ran}");
        let end = match verb {
            "validate" => "in 1 playbook",
            _ => "error: bad.yaml has 1 error; nothing ran",
        };
        assert!(text.trim_end().ends_with(end), "{ran}");
        // An answer is read by a person: it is no copy of a file of ten megabytes.
        assert!(text.len() < 4000, "{} bytes", text.len());
    }
}

#[track_caller]
fn text_is_told(text: impl AsRef<[u8]>, told: &[&str]) {
    told_by(|path| std::fs::write(path, text.as_ref()).unwrap(), told);
}

#[test]
fn a_file_that_is_none() {
    told_by(
        |_| {},
        &["error[RB801]: could not read bad.yaml: no such file or directory"],
    );
    told_by(
        |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        &["error[RB801]: could not read bad.yaml: it is a named pipe"],
    );
    told_by(
        |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        &["error[RB801]: could not read bad.yaml: it is not a regular file"],
    );
    text_is_told("", &["error[RB105]: the file is empty", "--> bad.yaml:1:1"]);
}

#[test]
fn a_folder_is_no_playbook() {
    let folder = || Runbook::new().file("bad.yaml/other", "");
    let ran = folder().args(["run", "bad.yaml"]).run();
    ran.expect_code(2);
    for told in [
        "error[RB801]: could not read bad.yaml: it is a folder\n",
        "name a file in it; `runbook list` shows the playbooks of a folder\n",
        "error: bad.yaml has 1 error; nothing ran\n",
    ] {
        assert!(ran.stderr.contains(told), "{told}{ran}");
    }
    assert_nothing_ran(&ran);
    // `validate` takes folders, and says that there is nothing in this one.
    let ran = folder().args(["validate", "bad.yaml"]).run();
    assert!(
        ran.expect_code(2)
            .stderr
            .starts_with("error: there is no playbook in bad.yaml\nhelp: "),
        "{ran}"
    );
    assert_nothing_ran(&ran);
}

#[test]
fn text_that_is_no_yaml_for_us() {
    text_is_told(
        format!("{}---\n{}", marking(""), marking("")),
        &[
            "error[RB103]: a second document starts here",
            "--> bad.yaml:5:1",
        ],
    );
    text_is_told(
        marking("name: again\n"),
        &[
            "error[RB102]: the key `name` stands twice in this mapping",
            "--> bad.yaml:5:1",
            "= help: remove one of the two",
        ],
    );
    text_is_told(
        marking("vars:\n\tx: 1\n"),
        &["error[RB101]: a tab is used to indent", "--> bad.yaml:6:1"],
    );
    text_is_told(
        marking("description: a\0b\n"),
        &[
            "error[RB101]: the text holds the character U+0000, which YAML does not allow",
            "--> bad.yaml:5:15",
        ],
    );
    let mut latin = marking("description: caf").into_bytes();
    latin.extend(b"\xe9\n");
    text_is_told(
        latin,
        &["error[RB106]: the file is not UTF-8", "--> bad.yaml:5:17"],
    );
    for order in [u16::to_le_bytes, u16::to_be_bytes] {
        let wide: Vec<u8> = format!("\u{feff}{}", marking(""))
            .encode_utf16()
            .flat_map(order)
            .collect();
        text_is_told(
            wide,
            &[
                "error[RB106]: the file is not UTF-8",
                "--> bad.yaml:1:1",
                "= help: the file looks like UTF-16; save it as UTF-8",
            ],
        );
    }
}

#[test]
fn more_than_a_playbook_may_cost() {
    let mut bomb = marking("vars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("  a{level}: &a{level} [{}]\n", vec![alias; 9].join(", "));
    }
    text_is_told(
        bomb,
        &[
            "error[RB104]: the aliases of this file expand to more than 100000 values or 64 MiB",
            "--> bad.yaml:11:12",
        ],
    );
    text_is_told(
        marking(&format!("vars:\n  x: {}\n", "x".repeat(10 << 20))),
        &[
            "error[RB104]: one value is longer than 1 MiB",
            "--> bad.yaml:6:6",
        ],
    );
    let deep = "error[RB104]: mappings and sequences are nested deeper than 128 levels";
    let flow = format!("vars:\n  x: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    text_is_told(marking(&flow), &[deep, "--> bad.yaml:6:261"]);
    let mut block = marking("vars:\n");
    for level in 1..=10_000 {
        block.extend(std::iter::repeat_n(' ', level));
        block.push_str("k:\n");
    }
    text_is_told(block, &[deep, "--> bad.yaml:133:129"]);
    let dashes = format!("vars:\n  x:\n   {}x\n", "- ".repeat(10_000));
    text_is_told(marking(&dashes), &[deep, "--> bad.yaml:7:256"]);
}

#[test]
fn what_the_language_does_not_know() {
    text_is_told(
        marking("stepz: []\n"),
        &[
            "error[RB202]: a playbook has no key `stepz`",
            "--> bad.yaml:5:1",
            "= help: did you mean `steps`?",
        ],
    );
    text_is_told(
        marking("  - { id: b, exec.comand: { argv: [ls] } }\n"),
        &[
            "error[RB207]: there is no step type `exec.comand`",
            "--> bad.yaml:5:14",
            "= help: did you mean `exec.command`?",
        ],
    );
    text_is_told(
        marking(
            "  - { id: a, needs: [c], flow.set: { values: {} } }
  - { id: b, needs: [a], flow.set: { values: {} } }
  - { id: c, needs: [b], flow.set: { values: {} } }
",
        ),
        &[
            "error[RB303]: steps wait for each other: a → c → b → a",
            "--> bad.yaml:5:22",
        ],
    );
    text_is_told(
        marking("  - { id: b, needs: [nope], flow.set: { values: {} } }\n"),
        &["error[RB302]: there is no step `nope`", "--> bad.yaml:5:22"],
    );
    text_is_told(
        marking(
            "  - { id: b, flow.set: { values: { x: \"${{ steps.c.outputs.values.y }}\" } } }
  - { id: c, flow.set: { values: { y: 1 } } }
",
        ),
        &[
            "error[RB304]: step `b` reads the result of `c`, which runs later",
            "--> bad.yaml:5:44",
        ],
    );
    text_is_told(
        marking("  - { id: b, flow.set: { values: { x: \"${{ params.nope }}\" } } }\n"),
        &[
            "error[RB403]: no parameter `nope` in `params`",
            "--> bad.yaml:5:51",
            "= help: the playbook has no parameters",
        ],
    );
    text_is_told(
        marking(
            "params:\n  n: { type: integer, default: abc }\nvars: { m: \"${{ params.n }}\" }\n",
        ),
        &[
            "error[RB602]: the default of `n` does not fit its declaration: \"abc\" is not of type \
             \"integer\"",
            "--> bad.yaml:6:32",
        ],
    );
}

/// A playbook with a parameter that must be given, one that need not, and a secret.
const ASKING: &str = "runbook: v1
name: t
params:
  n: { type: integer, default: 1, minimum: 1 }
  word: { type: string }
secrets:
  token: { env: TOKEN }
steps:
  - id: mark
    exec.command:
      argv: [touch, marker]
      env: { N: \"${{ params.n }}\", WORD: \"${{ params.word }}\", TOKEN: \"${{ secrets.token }}\" }
";

#[track_caller]
fn refused(program: Runbook, told: &str) {
    let ran = program.run();
    assert_eq!(ran.expect_code(2).stderr, told, "{ran}");
    assert_eq!(ran.stdout, "", "{ran}");
    assert_nothing_ran(&ran);
}

#[test]
fn parameters_and_secrets_that_do_not_fit() {
    let given = |params: &[&str]| {
        let program = Runbook::new().env("TOKEN", "sesame-open").arg("run");
        let program = program.playbook(ASKING);
        params
            .iter()
            .fold(program, |p, given| p.args(["-p", given]))
    };
    refused(
        given(&[]),
        "error[RB603]: parameter `word` has no value: give it with `-p word=VALUE` or the environment \
         variable RUNBOOK_PARAM_WORD\n",
    );
    refused(
        given(&["word=x", "wrod=y"]),
        "error[RB601]: there is no parameter `wrod`; did you mean `word`?\n",
    );
    refused(
        given(&["word=x", "n=abc"]),
        "error[RB602]: parameter `n` is a whole number, and `abc` is none\n",
    );
    refused(
        given(&["word=x", "n=0"]),
        "error[RB602]: parameter `n` does not fit its declaration: 0 is less than the minimum of 1\n",
    );
    refused(
        given(&["word"]),
        "error: `word` is not NAME=VALUE\nhelp: write `-p days=30`\n",
    );
    refused(
        given(&["word=x"]).env("RUNBOOK_PARAM_N", "many"),
        "error[RB602]: parameter `n` is a whole number, and `many` is none\n",
    );
    refused(
        Runbook::new()
            .arg("run")
            .playbook(ASKING)
            .args(["-p", "word=x"]),
        "error[RB605]: secret `token`: the environment variable TOKEN is not set\n\
         help: set it: `export TOKEN=…`\n",
    );
    // And with all that it asks for, it runs.
    let ran = given(&["word=x"]).run();
    ran.expect_code(0);
    assert!(ran.folder().join("marker").exists(), "{ran}");
}

#[test]
fn files_of_parameters_that_are_none() {
    let given = |content: &str| {
        Runbook::new()
            .env("TOKEN", "sesame-open")
            .file("params", content)
            .args(["run", "--params-file", "params"])
            .playbook(ASKING)
    };
    refused(
        given("[1]"),
        "error: params is not a mapping of parameters\n",
    );
    refused(given(""), "error: params is not a mapping of parameters\n");
    refused(
        given("word: 3"),
        "error[RB602]: parameter `word` does not fit its declaration: 3 is not of type \"string\"\n",
    );
    for (content, why) in [
        ("{\"word", "found unexpected end of stream"),
        ("word: a\nword: b\n", "duplicate entry with key \"word\""),
        (&"[".repeat(100_000), "recursion limit exceeded"),
    ] {
        let ran = given(content).run();
        let told = format!("error: params is neither YAML nor JSON: {why}");
        assert!(ran.expect_code(2).stderr.starts_with(&told), "{ran}");
        assert_nothing_ran(&ran);
    }
    let ran = Runbook::new()
        .args(["run", "--params-file", "params"])
        .playbook(ASKING)
        .run();
    assert!(
        ran.expect_code(2)
            .stderr
            .starts_with("error: could not read params: no such file"),
        "{ran}"
    );
    assert_nothing_ran(&ran);
}

#[test]
fn a_state_folder_that_cannot_be_one() {
    let program = Runbook::new().arg("run").playbook(&marking(""));
    let state = program.folder().join("taken");
    let ran = program.file("taken", "a file").state(&state).run();
    assert_eq!(
        ran.expect_code(5).stderr,
        format!(
            "error: could not make the folder {}: file exists; nothing ran\n\
             help: set RUNBOOK_STATE_DIR to a folder that you may write to\n",
            state.display()
        )
    );
    assert_nothing_ran(&ran);
    assert_eq!(ran.read("taken"), "a file");
}

#[test]
fn a_record_that_cannot_be_read() {
    for args in [
        &["history"][..],
        &["status"],
        &["logs", "last"],
        &["audit", "show"],
        &["audit", "verify", "last"],
    ] {
        let program = Runbook::new().file("taken", "a file").args(args);
        let state = program.folder().join("taken");
        let ran = program.state(&state).run();
        assert_eq!(
            ran.expect_code(5).stderr,
            format!(
                "error: could not read {}/ledger.jsonl: not a directory\n",
                state.display()
            ),
            "{args:?}\n{ran}"
        );
        assert_eq!(ran.stdout, "", "{args:?}\n{ran}");
    }
}

#[test]
fn names_of_files_that_are_not_utf_8() {
    use std::os::unix::ffi::OsStrExt as _;
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.yaml");
    let folder = || Runbook::new().file(name, marking(""));
    let listed = folder().arg("list").run();
    assert!(listed.expect_code(0).stdout.ends_with("  t\n"), "{listed}");
    let valid = folder().arg("validate").run();
    assert_eq!(valid.expect_code(0).stdout, "1 playbook is valid\n");
    let ran = folder().arg("run").arg(name).run();
    ran.expect_code(0);
    assert!(ran.folder().join("marker").exists(), "{ran}");
}

/// As a user who may read the playbook and may not write here.
#[test]
fn a_state_folder_without_rights() {
    let program = Runbook::new();
    let folder = program.folder().to_path_buf();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    let ran = program
        .under([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ])
        .state(folder.join("state"))
        .arg("run")
        .playbook(&marking(""))
        .run();
    assert_eq!(
        ran.expect_code(5).stderr,
        format!(
            "error: could not make the folder {}: permission denied; nothing ran\n\
             help: set RUNBOOK_STATE_DIR to a folder that you may write to\n",
            folder.join("state").display()
        )
    );
    assert_nothing_ran(&ran);
}

#[test]
fn standard_output_that_takes_nothing() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let told = "error: could not write to standard output: no space left on device\n";
    let valid = Runbook::new().arg("validate").playbook(&marking(""));
    assert_eq!(valid.run_to(full()).expect_code(1).stderr, told);
    for format in ["text", "json", "jsonl", "markdown"] {
        let program = Runbook::new().args(["run", "--format", format]);
        let ran = program.playbook(&marking("")).run_to(full());
        // What was begun is done and recorded; that it could not be told is told.
        assert_eq!(ran.expect_code(1).stderr, told, "{format}\n{ran}");
        assert!(ran.folder().join("marker").exists(), "{format}\n{ran}");
        ran.then().args(["audit", "verify"]).run().expect_code(0);
    }
    // A reader that went away is no failure.
    for format in ["text", "json", "jsonl", "markdown"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let program = Runbook::new().args(["run", "--format", format]);
        let ran = program.playbook(&marking("")).run_to(writer);
        assert_eq!(ran.expect_code(0).stderr, "", "{format}\n{ran}");
        assert!(ran.folder().join("marker").exists(), "{format}\n{ran}");
    }
    let closed = ["sh", "-c", "exec \"$0\" \"$@\" >&-"];
    for (verb, ran) in [("validate", false), ("run", true)] {
        let program = Runbook::new().under(closed).arg(verb);
        let done = program.playbook(&marking("")).run();
        done.expect_code(0);
        assert_eq!(done.folder().join("marker").exists(), ran, "{done}");
        assert!(!done.stderr.contains("panicked"), "{done}");
    }
}

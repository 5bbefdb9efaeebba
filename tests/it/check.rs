//! What the static checks say: pairs of a playbook and the text that `runbook validate` prints for
//! it, in `tests/check/`. `UPDATE=1 cargo test check` writes the texts anew; read them before you
//! keep them.

use std::path::{Path, PathBuf};

use crate::support::run::Runbook;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/check")
        .join(name)
}

fn playbooks(name: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    all.sort();
    assert!(
        !all.is_empty(),
        "there is no playbook in {}",
        folder(name).display()
    );
    all
}

/// Runs `validate` on a copy called by its own name alone, so that no path of this machine shows.
fn validate(path: &Path) -> crate::support::run::Ran {
    let name = path.file_name().unwrap().to_str().unwrap();
    Runbook::new()
        .file(name, std::fs::read(path).unwrap())
        .args(["validate", name])
        .run()
}

#[test]
fn bad_playbooks_are_told_as_recorded() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in playbooks("bad") {
        let ran = validate(&path);
        let told = format!("{}{}", ran.stderr, ran.stdout);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(ran.code, 1, "{name} has an error:\n{told}");
        assert!(!told.contains("panicked"), "{name}:\n{told}");
        let expected = path.with_extension("out");
        if update {
            std::fs::write(&expected, &told).unwrap();
        } else {
            let recorded = std::fs::read_to_string(&expected).unwrap_or_default();
            if recorded != told {
                wrong.push(format!("{name}: expected\n{recorded}\nbut it says\n{told}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_playbooks_have_no_finding() {
    for path in playbooks("ok") {
        let ran = validate(&path);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (0, ""),
            "{}",
            path.display()
        );
    }
}

#[test]
fn every_code_that_a_playbook_can_have_is_shown_by_one() {
    let mut told = String::new();
    for path in playbooks("bad") {
        told.push_str(&std::fs::read_to_string(path.with_extension("out")).unwrap_or_default());
    }
    // What a playbook alone cannot show: parameters and secrets that are given, files, and what is
    // refused when it runs. RB504 takes a typed step that changes something; the first ones come with
    // database maintenance.
    let elsewhere = [
        "RB104", "RB106", "RB504", "RB601", "RB603", "RB605", "RB801", "RB802", "RB803",
        // Tests of playbooks: tests/trial/.
        "RB901", "RB902", "RB903", "RB904",
    ];
    let missing: Vec<&str> = runbook::diag::codes::ALL
        .iter()
        .map(|explanation| explanation.code.as_str())
        .filter(|code| !elsewhere.contains(code) && !told.contains(&format!("[{code}]")))
        .collect();
    assert!(
        missing.is_empty(),
        "no playbook in tests/check/bad shows {}",
        missing.join(", ")
    );
}

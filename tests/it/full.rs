//! A state folder on a file system that is full: before a run, and at each moment within one.

use std::fs;
use std::time::Duration;

use crate::support::disk::Disk;
use crate::support::run::{Ran, Runbook};
use crate::support::wait;

const LONG: Duration = Duration::from_secs(30);

/// Twenty effects, each with a record of its own, and something to say.
const PLAYBOOK: &str = "\
runbook: v1
name: many
steps:
  - id: each
    foreach: { in: 'range(20)', as: n }
    exec.script:
      env: { N: \"${{ n }}\" }
      script: 'touch made-$N; echo $N'
finally:
  - { id: last, exec.command: { argv: [touch, last] } }
";

fn verify(ran: &Ran) -> Ran {
    ran.then().args(["audit", "verify"]).run()
}

/// How many of the effects took place; each has its intent in the journal of the last run.
#[track_caller]
fn effects(ran: &Ran, run: &str) -> usize {
    let journal = ran.state().join("runs").join(run).join("journal.jsonl");
    let journal = fs::read_to_string(journal).unwrap_or_default();
    let made = (0..20).filter(|n| {
        let made = ran.folder().join(format!("made-{n}"));
        let intent = format!("\"kind\":\"step.start\",\"path\":\"each[{n}]\"");
        assert!(
            !made.exists() || journal.contains(&intent),
            "each[{n}]\n{ran}"
        );
        fs::remove_file(made).is_ok()
    });
    let made = made.count();
    let last = fs::remove_file(ran.folder().join("last")).is_ok();
    assert!(!last || journal.contains("\"path\":\"last\""), "{ran}");
    made
}

/// The newest run's id and status; none where nothing was begun.
fn newest(ran: &Ran) -> Option<(String, String)> {
    let history = ran.then().args(["history", "--format", "json"]).run();
    let run = history.expect_code(0);
    let text = |field: &str| run.json()["runs"][0][field].as_str().map(str::to_owned);
    Some((text("id")?, text("status")?))
}

#[test]
fn on_a_full_disk_nothing_begins() {
    for (options, left) in [("size=64k", 0), ("size=64k,nr_inodes=3", 1)] {
        let run = Runbook::new().arg("run").playbook(PLAYBOOK);
        let disk = Disk::mount(&run.folder().join("state"), options);
        disk.fill(left * 4096);
        let ran = run.run();
        ran.expect_code(5);
        assert!(ran.stderr.contains("no space left"), "{options}: {ran}");
        assert!(ran.stderr.contains("nothing ran"), "{options}: {ran}");
        assert!(ran.stderr.contains("/state"), "{options}: {ran}");
        assert!(!ran.folder().join("made-0").exists(), "{ran}");
        verify(&ran).expect_code(0);
        disk.clear();
        drop(disk);
        // The same folder, on a disk with space.
        let next = ran.then().arg("run").playbook(PLAYBOOK).run();
        next.expect_code(0);
    }
}

#[test]
fn a_disk_that_fills_up_at_any_moment_stops_the_run() {
    let first = Runbook::new().arg("run").playbook(PLAYBOOK);
    let disk = Disk::mount(&first.folder().join("state"), "size=8m");
    let first = first.run();
    first.expect_code(0);
    let (id, _) = newest(&first).expect("a run");
    assert_eq!(effects(&first, &id), 20);
    let mut made_before = Vec::new();
    for pages in 0.. {
        let before = newest(&first).expect("a run").0;
        disk.fill(pages * 4096);
        let ran = first.then().arg("run").playbook(PLAYBOOK).run();
        // Reading needs no space, and a record that breaks off was not tampered with.
        let (id, status) = newest(&ran).expect("a run");
        verify(&ran).expect_code(0);
        let made = if id == before { 0 } else { effects(&ran, &id) };
        disk.clear();
        if ran.code == 0 {
            assert_eq!((made, status.as_str()), (20, "succeeded"), "{ran}");
            break;
        }
        ran.expect_code(5);
        assert!(ran.stderr.contains("no space left"), "{ran}");
        assert!(id == before || status == "interrupted", "{status}: {ran}");
        made_before.push(made);
    }
    // Before the first of them, between any two, and after the last.
    for made in [0, 5, 10, 15, 20] {
        let near = made_before.iter().any(|n| n.abs_diff(made) <= 2);
        assert!(near, "{made}: {made_before:?}");
    }
    assert!(
        made_before.contains(&0) && made_before.contains(&20),
        "{made_before:?}"
    );
    verify(&first).expect_code(0);
}

#[test]
fn a_disk_that_fills_up_while_a_step_runs_lets_it_end_and_stops_the_run() {
    let wait = "  - { id: wait, exec.script: { script: 'touch waits; until [ -e over ]; do sleep 0.02; done; touch ended' } }\n";
    let text = PLAYBOOK.replace("  - id: each\n", &format!("{wait}  - id: each\n"));
    let run = Runbook::new().arg("run").playbook(&text);
    let disk = Disk::mount(&run.folder().join("state"), "size=1m");
    let run = run.start();
    wait::until("the first step", LONG, || {
        run.folder().join("waits").exists().then_some(())
    });
    disk.fill(0);
    fs::write(run.folder().join("over"), "").expect("a file can be written");
    let ran = run.finish();
    ran.expect_code(5);
    assert!(ran.folder().join("ended").exists(), "{ran}");
    let said = &ran.stderr;
    assert!(said.contains("no space left"), "{ran}");
    assert!(
        said.contains("nothing more was started after that"),
        "{ran}"
    );
    let (id, status) = newest(&ran).expect("a run");
    assert_eq!(status, "interrupted");
    // The first that has something to say has no place for it.
    assert!(effects(&ran, &id) <= 1, "{ran}");
    assert!(!ran.folder().join("last").exists(), "{ran}");
    let verified = verify(&ran);
    assert!(verified.expect_code(0).stdout.contains(&id), "{verified}");
    disk.clear();

    let next = ran.then().arg("run").playbook(PLAYBOOK).run();
    next.expect_code(0);
    verify(&next).expect_code(0);
}

#[test]
fn a_step_whose_output_has_no_place_is_ended() {
    let text = "\
runbook: v1
name: chatty
steps:
  - { id: a, exec.script: { script: 'touch begun; head -c 400000 /dev/zero; sleep 7272; touch never' } }
  - { id: b, exec.command: { argv: [touch, never] } }
";
    let run = Runbook::new().arg("run").playbook(text);
    let disk = Disk::mount(&run.folder().join("state"), "size=96k");
    let ran = run.run();
    ran.expect_code(5);
    assert!(ran.stderr.contains("no space left"), "{ran}");
    assert!(ran.folder().join("begun").exists(), "{ran}");
    assert!(!ran.folder().join("never").exists(), "{ran}");
    drop(disk);
}

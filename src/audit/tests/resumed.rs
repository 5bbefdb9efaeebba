//! Runs that were gone on with: what the ledger knew of them before still holds.

use std::fs;

use crate::audit::Against;
use crate::audit::history::history;
use crate::audit::read::load_run;
use crate::audit::testing::Recorded;
use crate::audit::{RunVerdict, verify};
use crate::event::{RunStatus, Status};

use super::{Journal, join};

fn verdict(recorded: &Recorded) -> String {
    let found = verify(&recorded.state, None, &Against::default()).unwrap();
    assert_eq!(found.runs.len(), 1);
    assert!(found.ledger.fault.is_none());
    let verdict = &found.runs[0].verdict;
    assert_eq!(found.is_good(), verdict.is_good());
    verdict.to_string()
}

#[test]
fn a_run_may_end_and_be_gone_on_with_again() {
    let mut recorded = Recorded::ended(1);
    assert_eq!(verdict(&recorded), "ok, 4 records");
    recorded.resume(2, true);
    assert_eq!(verdict(&recorded), "ok, 8 records");
    recorded.resume(3, false);
    assert_eq!(verdict(&recorded), "ok, 11 records, not ended");
    let state = load_run(&recorded.state, &recorded.run).unwrap();
    assert_eq!(state.status, RunStatus::Interrupted);
    assert_eq!(state.with_status(Status::Succeeded).count(), 3);
    let status = |recorded: &Recorded| history(&recorded.state, None).unwrap().runs[0].status;
    assert_eq!(status(&recorded), RunStatus::Interrupted);
    recorded.resume(4, true);
    assert_eq!(verdict(&recorded), "ok, 15 records");
    assert_eq!(status(&recorded), RunStatus::Succeeded);
}

#[test]
fn what_a_crash_left_is_set_aside_before_it_is_gone_on_with() {
    let mut recorded = Recorded::unended(1);
    let whole = fs::read(recorded.journal()).unwrap();
    // Torn within its last record, or right after it.
    for cut in [whole.len() - 1, whole.len() - 7] {
        fs::write(recorded.journal(), &whole[..cut]).unwrap();
        recorded.resume(2, true);
        assert!(
            verdict(&recorded).starts_with("ok, "),
            "{}",
            verdict(&recorded)
        );
        fs::remove_file(recorded.state.ledger()).unwrap();
        recorded = Recorded::unended(1);
    }
}

#[test]
fn what_stood_before_it_was_gone_on_with_cannot_be_chained_anew() {
    let mut recorded = Recorded::unended(2);
    recorded.resume(3, false);
    let journal = Journal::of(&recorded);
    let known = journal.lines.len() - 3;
    for seq in 0..known {
        let mut forged = journal.clone();
        let text = String::from_utf8(forged.lines[seq].clone()).unwrap();
        let text = text.replacen("\"data\":{", "\"data\":{\"x\":1,", 1);
        forged.lines[seq] = text.into_bytes();
        forged.chain_anew();
        fs::write(recorded.journal(), forged.bytes()).unwrap();
        let found = verify(&recorded.state, None, &Against::default()).unwrap();
        let RunVerdict::Tampered { seq: told, .. } = found.runs[0].verdict else {
            panic!("{seq}: {}", found.runs[0].verdict);
        };
        assert_eq!(told, known as u64);
    }
    // Nor can it be cut off before the place that the ledger knows.
    for kept in 1..known {
        fs::write(recorded.journal(), join(&journal.lines[..kept])).unwrap();
        let told = verdict_of(&recorded);
        assert!(told.contains("is missing at the end"), "{kept}: {told}");
    }
}

fn verdict_of(recorded: &Recorded) -> String {
    let found = verify(&recorded.state, None, &Against::default()).unwrap();
    assert!(!found.is_good());
    found.runs[0].verdict.to_string()
}

#[test]
fn an_end_that_the_steps_contradict_was_not_written_by_an_engine() {
    let mut recorded = Recorded::empty();
    let (folder, trail) = recorded.running(1, 1, false);
    let mut failed = crate::audit::testing::step(2)[1].clone();
    if let crate::event::Event::StepResult(result) = &mut failed.event {
        result.status = Status::Failed;
    }
    crate::event::Journal::append(&trail, &failed).unwrap();
    crate::event::Journal::append(&trail, &crate::audit::testing::end(RunStatus::Succeeded))
        .unwrap();
    drop((folder, trail));
    let told = verdict_of(&recorded);
    assert!(told.contains("`s2` had failed"), "{told}");
}

//! Runs read back: their state, the history, and which one is meant.

use std::fs;

use super::Journal;
use crate::audit::chain::Seals;
use crate::audit::find::{FindError, find_run};
use crate::audit::history::history;
use crate::audit::read::{AuditError, JournalReader, load_run};
use crate::audit::testing::{Recorded, end, start, step};
use crate::base::RunId;
use crate::event::{Happening, Journal as _, RunStatus, Status};

fn id(number: u64) -> RunId {
    RunId::from_parts(number, number)
}

#[test]
fn what_was_appended_is_read() {
    let recorded = Recorded::ended(2);
    let reader = JournalReader::open(&recorded.state, &recorded.run, Seals::default()).unwrap();
    let read: Vec<Happening> = reader.map(Result::unwrap).collect();
    let mut expected = vec![start(&recorded.run)];
    expected.extend((1..=2).flat_map(step));
    expected.push(end(RunStatus::Succeeded));
    assert_eq!(read, expected);
}

#[test]
fn kinds_that_this_version_does_not_know_are_verified_and_passed_over() {
    let recorded = Recorded::unended(2);
    let mut journal = Journal::of(&recorded);
    let text = String::from_utf8(journal.lines[1].clone()).unwrap();
    journal.lines[1] = text.replace("step.start", "step.dance").into_bytes();
    fs::write(recorded.journal(), journal.bytes()).unwrap();
    let error = load_run(&recorded.state, &recorded.run).unwrap_err();
    let broken = format!(
        "the journal of run {} does not verify: record 2",
        recorded.run
    );
    assert!(error.to_string().starts_with(&broken), "{error}");
    journal.chain_anew();
    fs::write(recorded.journal(), journal.bytes()).unwrap();
    let run = load_run(&recorded.state, &recorded.run).unwrap();
    let states: Vec<_> = run.steps.values().map(|step| step.status).collect();
    assert_eq!(
        states[..3],
        [Status::Succeeded, Status::Succeeded, Status::Pending]
    );
    assert!(run.steps[0].effect.is_none() && run.steps[1].effect.is_some());
}

#[test]
fn data_that_are_not_of_their_kind_are_told_as_such() {
    let recorded = Recorded::unended(1);
    let mut journal = Journal::of(&recorded);
    let text = String::from_utf8(journal.lines[2].clone()).unwrap();
    journal.lines[2] = text.replace("\"succeeded\"", "\"sleeping\"").into_bytes();
    fs::write(recorded.journal(), journal.bytes()).unwrap();
    let error = load_run(&recorded.state, &recorded.run)
        .unwrap_err()
        .to_string();
    let told =
        "record 3, a `step.result`, verifies, but cannot be read: unknown variant `sleeping`";
    assert!(error.contains(told), "{error}");
}

#[test]
fn a_run_whose_engine_is_gone_was_interrupted() {
    let mut recorded = Recorded::unended(2);
    let bytes = fs::read(recorded.journal()).unwrap();
    fs::write(recorded.journal(), &bytes[..bytes.len() - 3]).unwrap();
    let run = load_run(&recorded.state, &recorded.run).unwrap();
    assert_eq!(run.status, RunStatus::Interrupted);
    let states: Vec<_> = run.steps.values().map(|step| step.status).collect();
    assert_eq!(
        states[..3],
        [Status::Succeeded, Status::Unknown, Status::Pending]
    );

    let (folder, trail) = recorded.running(2, 1, false);
    let load = |number| load_run(&recorded.state, &id(number)).unwrap().status;
    assert_eq!(load(2), RunStatus::Running);
    trail.append(&end(RunStatus::Failed)).unwrap();
    assert_eq!(load(2), RunStatus::Failed);
    drop(folder);
    assert_eq!(load(2), RunStatus::Failed);
}

#[test]
fn a_run_without_records_is_told() {
    let recorded = Recorded::empty();
    let error = load_run(&recorded.state, &id(1)).unwrap_err();
    assert!(matches!(error, AuditError::Missing { .. }));
    fs::create_dir(recorded.state.run(&id(1))).unwrap();
    fs::write(recorded.state.run(&id(1)).join("journal.jsonl"), "{\"v").unwrap();
    let error = load_run(&recorded.state, &id(1)).unwrap_err();
    assert!(matches!(error, AuditError::Nothing { .. }));
}

#[test]
fn the_history_has_every_run_and_says_what_is_wrong_with_one() {
    let mut recorded = Recorded::empty();
    let nothing = history(&recorded.state, None).unwrap();
    assert!(nothing.runs.is_empty() && nothing.problems.is_empty());
    recorded.run(1, 1, true);
    recorded.run(2, 1, false);
    recorded.run(3, 1, false);
    fs::write(recorded.journal(), "nonsense\n").unwrap();
    // Ended in its journal, and not in the ledger.
    recorded.run(4, 1, true);
    let ledger = fs::read_to_string(recorded.state.ledger()).unwrap();
    let cut = ledger.trim_end().rfind('\n').unwrap() + 1;
    fs::write(recorded.state.ledger(), &ledger[..cut]).unwrap();
    let (_folder, _trail) = recorded.running(5, 1, false);
    // The clock was set back.
    recorded.run(0, 1, true);

    let all = history(&recorded.state, None).unwrap();
    assert!(all.problems.is_empty(), "{:?}", all.problems);
    let seen: Vec<_> = all
        .runs
        .iter()
        .map(|run| (run.run.clone(), run.status))
        .collect();
    let expected = [
        (id(0), RunStatus::Succeeded),
        (id(5), RunStatus::Running),
        (id(4), RunStatus::Succeeded),
        (id(3), RunStatus::Interrupted),
        (id(2), RunStatus::Interrupted),
        (id(1), RunStatus::Succeeded),
    ];
    assert_eq!(seen, expected);
    let problems: Vec<_> = all.runs.iter().map(|run| run.problem.is_some()).collect();
    assert_eq!(problems, [false, false, false, true, false, false]);
    let first = &all.runs[5];
    assert_eq!(
        (
            first.playbook.as_str(),
            first.user.as_str(),
            first.host.as_str()
        ),
        ("weekly", "ops", "db1")
    );
    assert_eq!((first.exit_code, first.duration_ms), (Some(0), Some(1000)));
    assert_eq!(first.started_at.as_second(), 1);
    assert_eq!(first.ended_at.unwrap().as_second(), 100);

    let newest = history(&recorded.state, Some(2)).unwrap();
    assert_eq!(newest.runs, all.runs[..2]);
    assert!(history(&recorded.state, Some(0)).unwrap().runs.is_empty());
}

#[test]
fn the_history_goes_on_where_the_ledger_is_broken() {
    let mut recorded = Recorded::empty();
    (1..=3).for_each(|number| recorded.run(number, 1, true));
    let good = fs::read_to_string(recorded.state.ledger()).unwrap();
    let lines: Vec<_> = good.lines().collect();
    let history_of = |ledger: String| {
        fs::write(recorded.state.ledger(), ledger).unwrap();
        history(&recorded.state, None).unwrap()
    };
    let broken = history_of(good.replacen(lines[2], "nonsense", 1));
    assert_eq!(broken.runs.len(), 2);
    assert_eq!(broken.problems.len(), 2, "{:?}", broken.problems);
    let edited = history_of(good.replacen("ops", "eve", 1));
    assert_eq!(edited.runs.len(), 3);
    assert_eq!(
        edited.problems,
        ["record 2 of the ledger is not chained to 1"]
    );
    // Torn bytes that were set aside are nothing to worry about.
    fs::write(recorded.state.ledger(), good.clone() + "{\"v\":1,").unwrap();
    recorded.run(4, 1, true);
    let mended = history(&recorded.state, None).unwrap();
    assert_eq!((mended.runs.len(), mended.problems.len()), (4, 0));
}

#[test]
fn runs_are_found_by_what_people_type() {
    let mut recorded = Recorded::empty();
    let error = |recorded: &Recorded, text: &str| find_run(&recorded.state, text).unwrap_err();
    assert!(matches!(error(&recorded, "last"), FindError::NoRuns { .. }));
    assert!(matches!(error(&recorded, "0"), FindError::NoRuns { .. }));
    for number in [36, 37, 72, 73, 74, 75, 76, 77] {
        recorded.run(number, 0, true);
    }
    // The last to start, not the last by its id.
    recorded.run(1, 0, true);
    let find = |text: &str| find_run(&recorded.state, text).unwrap();
    assert_eq!(find("last"), id(1));
    assert_eq!(find(id(37).as_str()), id(37));
    assert_eq!(find("000000011"), id(37));
    insta::assert_snapshot!(error(&recorded, "00000001"), @"`00000001` may mean 2 runs; they are 0000000110000011, 0000000100000010");
    insta::assert_snapshot!(error(&recorded, "00000002"), @"`00000002` may mean 6 runs; they are 0000000250000025, 0000000240000024, 0000000230000023, 0000000220000022, 0000000210000021 and 1 more");
    insta::assert_snapshot!(error(&recorded, "x"), @"no run is called `x`; the latest are 0000000250000025, 0000000240000024, 0000000230000023, 0000000220000022, 0000000210000021");
    assert!(matches!(error(&recorded, ""), FindError::NoSuchRun { .. }));
}

//! A whole state folder that was tampered with, seen by `verify`.

use std::fs;

use proptest::prelude::*;

use super::told;
use crate::audit::Against;
use crate::audit::testing::Recorded;
use crate::audit::verify::{RunVerdict, Verification, verify};
use crate::base::RunId;
use crate::event::{Journal as _, RunStatus};

/// Two runs that have ended, and one that has not.
fn recorded() -> Recorded {
    let mut recorded = Recorded::empty();
    recorded.run(1, 1, true);
    recorded.run(2, 2, true);
    recorded.run(3, 1, false);
    recorded
}

fn all(recorded: &Recorded) -> Verification {
    verify(&recorded.state, None, &Against::default()).unwrap()
}

/// The verdict on run `number`, in words.
fn verdict(verification: &Verification, number: u64) -> String {
    let id = RunId::from_parts(number, number);
    let run = verification
        .runs
        .iter()
        .find(|run| run.name == id.as_str())
        .unwrap();
    run.verdict.to_string()
}

#[test]
fn what_runs_leave_is_good() {
    let recorded = recorded();
    let verification = all(&recorded);
    assert!(verification.is_good());
    assert_eq!(verification.ledger.records, 5);
    assert_eq!(verdict(&verification, 1), "ok, 4 records");
    assert_eq!(verdict(&verification, 2), "ok, 6 records");
    assert_eq!(verdict(&verification, 3), "ok, 3 records, not ended");
    let only = verify(
        &recorded.state,
        Some(&RunId::from_parts(2, 2)),
        &Against::default(),
    )
    .unwrap();
    assert_eq!(only.runs.len(), 1);
    assert!(
        verify(
            &recorded.state,
            Some(&RunId::from_parts(9, 9)),
            &Against::default()
        )
        .is_err()
    );
    assert!(all(&Recorded::empty()).is_good());
}

#[test]
fn torn_ends_are_good_and_told() {
    let recorded = recorded();
    let mut journal = fs::read(recorded.journal()).unwrap();
    journal.truncate(journal.len() - 5);
    fs::write(recorded.journal(), &journal).unwrap();
    let mut ledger = fs::read(recorded.state.ledger()).unwrap();
    ledger.extend(b"{\"v\":1");
    fs::write(recorded.state.ledger(), &ledger).unwrap();
    let verification = all(&recorded);
    assert!(verification.is_good());
    assert_eq!(told(&verification.ledger.fault), "Torn");
    let text = verdict(&verification, 3);
    assert!(text.starts_with("ok, 2 records, and ") && text.ends_with(" torn bytes after them"));

    let mut recorded = recorded;
    recorded.run(4, 1, true);
    let verification = all(&recorded);
    assert!(verification.is_good());
    let aside = verification.ledger.set_aside[0];
    assert_eq!((aside.seq, aside.bytes), (6, 6));
    assert_eq!(verification.ledger.records, 8);
}

#[test]
fn what_happens_around_a_crash_is_good() {
    let mut recorded = recorded();
    // Between making the folder, beginning the journal, and the ledger's start.
    let folder = |number| recorded.state.run(&RunId::from_parts(number, number));
    fs::create_dir(folder(4)).unwrap();
    fs::create_dir(folder(5)).unwrap();
    fs::write(folder(5).join("journal.jsonl"), "{\"v\":1,\"se").unwrap();
    // Between the journal's end and the ledger's.
    recorded.run(6, 1, true);
    let ledger = fs::read_to_string(recorded.state.ledger()).unwrap();
    let cut = ledger.trim_end().rfind('\n').unwrap() + 1;
    fs::write(recorded.state.ledger(), &ledger[..cut]).unwrap();
    fs::create_dir(recorded.state.runs().join("lost+found")).unwrap();

    let verification = all(&recorded);
    assert!(verification.is_good());
    assert_eq!(verdict(&verification, 4), "ok, nothing was done");
    assert_eq!(verdict(&verification, 5), "ok, nothing was done");
    let text = verdict(&verification, 6);
    assert_eq!(text, "ok, 4 records; the ledger does not have its end");
    let last = verification.runs.last().unwrap();
    assert!(matches!(last.verdict, RunVerdict::NoRun));
}

#[test]
fn a_journal_that_is_gone_strange_or_exchanged_is_told() {
    let recorded = recorded();
    let journal = |number| {
        let run = RunId::from_parts(number, number);
        recorded.state.run(&run).join("journal.jsonl")
    };
    let (one, two, three) = (journal(1), journal(2), journal(3));
    let bytes = fs::read(&two).unwrap();

    fs::remove_file(&three).unwrap();
    fs::write(&one, &bytes).unwrap();
    let strange = recorded.state.run(&RunId::from_parts(7, 7));
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("journal.jsonl"), &bytes).unwrap();
    let verification = all(&recorded);
    assert!(!verification.is_good());
    assert!(verification.ledger.fault.is_none());
    let begins_another = format!(
        "record 1 was tampered with: it begins another run: {}",
        RunId::from_parts(2, 2)
    );
    assert_eq!(verdict(&verification, 1), begins_another);
    assert_eq!(verdict(&verification, 2), "ok, 6 records");
    assert!(verdict(&verification, 3).starts_with("its journal is missing"));
    assert_eq!(verdict(&verification, 7), begins_another);

    for rest in ["", "{\"v\":1,"] {
        fs::write(&three, rest).unwrap();
        let text = verdict(&all(&recorded), 3);
        assert!(text.starts_with("record 1 was tampered with: it is missing at the end"));
    }

    fs::remove_dir_all(strange).unwrap();
    let mut rest = Recorded::empty();
    rest.run(8, 1, false);
    fs::rename(rest.state.run(&rest.run), recorded.state.run(&rest.run)).unwrap();
    let text = verdict(&all(&recorded), 8);
    assert_eq!(text, "it has 3 records, and the ledger does not have it");
}

#[test]
fn files_that_results_name_are_looked_at() {
    use crate::event::{Event, Happening, LogFile, Stream};
    let mut recorded = Recorded::empty();
    let (folder, trail) = recorded.running(1, 1, false);
    let mut happening = crate::audit::testing::step(2)[1].clone();
    let log = |file: &str, text: &str| LogFile {
        stream: Stream::Stdout,
        file: file.to_owned(),
        bytes: text.len() as u64,
        sha256: crate::audit::record::Digest::of(text.as_bytes()).to_string(),
    };
    let with = |happening: &mut Happening, log: LogFile| match &mut happening.event {
        Event::StepResult(result) => result.logs = vec![log],
        _ => unreachable!(),
    };
    with(&mut happening, log("logs/s2.1.out", "hello"));
    let path = folder.path().join("logs/s2.1.out");
    trail.append(&happening).unwrap();
    for (content, expected) in [
        (Some("hello"), "ok, 4 records, not ended"),
        (
            Some("hallo"),
            "record 4 was tampered with: it names logs/s2.1.out, and that has another content",
        ),
        (
            Some("hell"),
            "record 4 was tampered with: it names logs/s2.1.out, and that has 4 bytes instead of 5",
        ),
        (
            None,
            "record 4 was tampered with: it names logs/s2.1.out, and that is gone",
        ),
    ] {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(verdict(&all(&recorded), 1), expected);
    }
    fs::write(&path, "hello").unwrap();
    with(&mut happening, log("../../ledger.jsonl", "x"));
    trail.append(&happening).unwrap();
    assert!(verdict(&all(&recorded), 1).ends_with("lies outside of the run's folder"));
}

#[test]
fn each_flipped_bit_of_the_ledgers_last_line_is_told_by_the_journal() {
    for ends in [true, false] {
        let mut recorded = Recorded::empty();
        recorded.run(1, u64::from(!ends), ends);
        let good = fs::read(recorded.state.ledger()).unwrap();
        let line = good[..good.len() - 1].iter().rposition(|b| *b == b'\n');
        for bit in line.map_or(0, |at| at + 1) * 8..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(recorded.state.ledger(), &bytes).unwrap();
            let verification = all(&recorded);
            let text = || String::from_utf8_lossy(&bytes).into_owned();
            // What is left is what a crash can have left too: a torn last line, or none.
            let crash = match &verification.runs[0].verdict {
                RunVerdict::EndNotInLedger { .. } => ends,
                _ => false,
            };
            assert!(crash || !verification.is_good(), "{ends}: {}", text());
        }
    }
}

#[test]
fn a_ledger_chained_anew_without_a_run_is_told() {
    let recorded = recorded();
    let ledger = fs::read_to_string(recorded.state.ledger()).unwrap();
    let mut journal = super::Journal {
        lines: ledger
            .lines()
            .map(|line| line.as_bytes().to_vec())
            .collect(),
        sealed: None,
    };
    let first = RunId::from_parts(1, 1).to_string();
    journal
        .lines
        .retain(|line| !String::from_utf8_lossy(line).contains(&first));
    journal.chain_anew();
    fs::write(recorded.state.ledger(), journal.bytes()).unwrap();
    let verification = all(&recorded);
    assert!(verification.ledger.fault.is_none());
    assert!(verdict(&verification, 1).ends_with("the ledger does not have it"));
}

#[test]
fn a_broken_ledger_still_tells_of_the_runs_after() {
    let recorded = recorded();
    let ledger = fs::read_to_string(recorded.state.ledger()).unwrap();
    let broken = ledger.replacen("\"seq\":2", "\"seq\":x", 1);
    fs::write(recorded.state.ledger(), broken).unwrap();
    let verification = all(&recorded);
    assert_eq!(told(&verification.ledger.fault), "Malformed 2");
    assert!(!verification.is_good());
    assert_eq!(verdict(&verification, 2), "ok, 6 records");
    assert_eq!(verdict(&verification, 3), "ok, 3 records, not ended");
}

/// Bytes that are mostly like records.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let recorded = Recorded::ended(1);
    let journal = fs::read(recorded.journal()).unwrap();
    let ledger = fs::read(recorded.state.ledger()).unwrap();
    let lines: Vec<Vec<u8>> = [journal, ledger]
        .iter()
        .flat_map(|bytes| bytes.split_inclusive(|b| *b == b'\n'))
        .map(<[u8]>::to_vec)
        .collect();
    let piece = prop_oneof![
        8 => prop::sample::select(lines),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => Just(b"\n".to_vec()),
        1 => Just(vec![0; 100]),
    ];
    let pieces = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    (pieces, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_bytes_make_it_panic_and_runs_go_on_or_refuse(journal in nearly(), ledger in nearly()) {
        let mut recorded = Recorded::ended(1);
        fs::write(recorded.journal(), journal).unwrap();
        fs::write(recorded.state.ledger(), &ledger).unwrap();
        let _ = all(&recorded).is_good();
        let _ = crate::audit::read::load_run(&recorded.state, &recorded.run);
        let _ = crate::audit::find::find_run(&recorded.state, "last");
        let _ = crate::audit::history::history(&recorded.state, None);
        // Whoever appends keeps every byte that was there, and a ledger that verified verifies.
        let good = all(&recorded).ledger.fault.as_ref().is_none_or(|fault| told(&Some(fault.clone())) == "Torn");
        recorded.run(2, 1, true);
        let after = fs::read(recorded.state.ledger()).unwrap();
        prop_assert!(after.starts_with(&ledger));
        if good {
            let verification = all(&recorded);
            prop_assert!(verification.ledger.fault.is_none(), "{:?}", verification.ledger.fault);
            prop_assert_eq!(verdict(&verification, 2), "ok, 4 records");
        }
    }
}

#[test]
fn what_is_under_way_is_good() {
    let mut recorded = recorded();
    let (_folder, trail) = recorded.running(5, 2, false);
    assert_eq!(verdict(&all(&recorded), 5), "ok, 5 records, not ended");
    trail
        .append(&crate::audit::testing::end(RunStatus::Failed))
        .unwrap();
    assert_eq!(verdict(&all(&recorded), 5), "ok, 6 records");
}

#[test]
fn a_line_that_somebody_wrote_does_not_become_torn_with_the_next_run() {
    for line in ["x", "{}", "{\"v\":1,\"seq\":2,\"prev\":\"0"] {
        let mut recorded = Recorded::ended(1);
        let ledger = fs::read_to_string(recorded.state.ledger()).unwrap();
        let (start, _) = ledger.trim_end().split_once('\n').unwrap();
        fs::write(recorded.state.ledger(), format!("{start}\n{line}\n")).unwrap();
        assert!(!all(&recorded).is_good(), "{line}");
        recorded.run(2, 1, true);
        recorded.run(3, 1, true);
        assert!(!all(&recorded).is_good(), "{line}");
    }
}

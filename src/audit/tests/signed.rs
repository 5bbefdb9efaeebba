//! A ledger that is signed, and what is seen of those who change it: without the key, with it, and
//! under the eyes of a witness.

use std::fs;

use super::told;
use crate::audit::key::Signer;
use crate::audit::record::{Digest, Head, Record};
use crate::audit::testing::Recorded;
use crate::audit::verify::{Against, Verification, verify};
use crate::audit::{Checkpoint, Ledger, PublicKey, Testimony, WitnessVerdict};
use crate::base::Clock;

pub(super) fn ledger(recorded: &Recorded) -> Ledger {
    Ledger::of(&recorded.state, Clock::system())
}

pub(super) fn keygen(recorded: &Recorded, replace: bool) -> PublicKey {
    let at = jiff::Timestamp::from_second(7).unwrap();
    let made = ledger(recorded).keygen(at, "ops", replace).unwrap();
    made.public
}

/// A run before there is a key, and three after: records 1-2, 3-4, then three lines a run.
fn signed() -> Recorded {
    let mut recorded = Recorded::empty();
    recorded.run(1, 1, true);
    keygen(&recorded, false);
    for number in 2..5 {
        recorded.run(number, 1, true);
    }
    recorded
}

fn lines(recorded: &Recorded) -> Vec<String> {
    let text = fs::read_to_string(recorded.state.ledger()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn write(recorded: &Recorded, lines: &[String]) {
    fs::write(recorded.state.ledger(), lines.join("\n") + "\n").unwrap();
}

/// What a witness that is sent every checkpoint has by now.
pub(super) fn testimony(recorded: &Recorded) -> Testimony {
    let checkpoints = lines(recorded).into_iter().filter_map(|line| {
        let record = Record::read(line.into_bytes()).unwrap();
        let checkpoint = record.kind == "audit.checkpoint";
        checkpoint.then(|| record.data::<Checkpoint>().unwrap())
    });
    let log = checkpoints.map(|checkpoint| {
        let json = serde_json::to_string(&checkpoint).unwrap();
        format!("Nov 24 03:31:00 db1 runbook[7]: checkpoint {json}")
    });
    Testimony {
        witness: "log".to_owned(),
        lines: Ok(log.collect()),
    }
}

pub(super) fn against(
    recorded: &Recorded,
    key: Option<&PublicKey>,
    said: &Testimony,
) -> Verification {
    let against = Against {
        exported: None,
        key: key.cloned(),
        testimonies: vec![said.clone()],
    };
    verify(&recorded.state, None, &against).unwrap()
}

fn alone(recorded: &Recorded) -> Verification {
    verify(&recorded.state, None, &Against::default()).unwrap()
}

/// Chains the ledger anew from its first line on; with `signer`, signs it anew as well.
pub(super) fn chain_anew(lines: &mut [String], signer: Option<&Signer>) {
    let (mut head, mut first) = (Head::EMPTY, None);
    for line in lines {
        let (_, rest) = line.split_once("\",\"t\":").unwrap();
        let seq = head.seq + 1;
        let mut new = format!(
            "{{\"v\":1,\"seq\":{seq},\"prev\":\"{}\",\"t\":{rest}",
            head.hash
        );
        let record = Record::read(new.clone().into_bytes()).unwrap();
        if let (Some(signer), "audit.checkpoint") = (signer, record.kind.as_str()) {
            let old: Checkpoint = record.data().unwrap();
            let forged = Checkpoint::sign(signer, first.unwrap(), old.origin.clone(), head, old.at);
            let (old, forged) = (
                serde_json::to_string(&old).unwrap(),
                serde_json::to_string(&forged).unwrap(),
            );
            new = new.replace(&old, &forged);
        }
        let hash = Digest::of(new.as_bytes());
        first = first.or(Some(hash));
        head = Head { seq, hash };
        *line = new;
    }
}

#[test]
fn every_end_is_signed_and_verifies() {
    let recorded = signed();
    assert_eq!(lines(&recorded).len(), 2 + 2 + 3 * 3);
    let key = PublicKey::read(&fs::read_to_string(recorded.state.checkpoint_pub()).unwrap());
    let said = testimony(&recorded);
    let found = against(&recorded, key.as_ref(), &said);
    assert!(found.is_good() && found.is_complete(), "{found:?}");
    assert_eq!(found.signed.checkpoints, 4);
    assert!(found.signed.is_anchored);
    assert_eq!(found.signed.up_to.unwrap().0, 12);
    let WitnessVerdict::Agrees {
        checkpoints,
        records,
        ..
    } = found.witnesses[0].1
    else {
        panic!("{found:?}");
    };
    assert_eq!((checkpoints, records), (4, 12));
}

#[test]
fn whoever_has_no_key_cannot_change_the_ledger() {
    type Change = fn(&mut Vec<String>);
    let changes: [(&str, Change); 8] = [
        ("edited", |l| l[4] = l[4].replace("\"ops\"", "\"eve\"")),
        ("removed", |l| drop(l.drain(4..7))),
        ("a checkpoint removed", |l| drop(l.remove(6))),
        ("the last checkpoint removed", |l| drop(l.pop())),
        ("swapped", |l| l.swap(4, 7)),
        ("inserted", |l| {
            let (start, end) = (l[0].clone(), l[1].clone());
            let other = |line: String| line.replace("0000000000010000", "0000000000090000");
            l.splice(4..4, [other(start), other(end)]);
        }),
        ("a key taken out", |l| drop(l.drain(2..4))),
        ("an end edited", |l| {
            l[5] = l[5].replace("\"exit_code\":0", "\"exit_code\":1");
        }),
    ];
    for (name, change) in changes {
        for anew in [false, true] {
            let recorded = signed();
            let mut changed = lines(&recorded);
            let before = changed.clone();
            change(&mut changed);
            assert_ne!(changed, before, "{name} changes nothing");
            if anew {
                chain_anew(&mut changed, None);
            }
            write(&recorded, &changed);
            let found = alone(&recorded);
            assert!(!found.is_good(), "{name}, chained anew: {anew}");
            assert!(found.ledger.fault.is_some(), "{name}: {found:?}");
        }
    }
}

#[test]
fn whoever_has_the_key_is_seen_by_a_witness() {
    let recorded = signed();
    let said = testimony(&recorded);
    let signer = Signer::load(&recorded.state).unwrap().unwrap();
    let good = lines(&recorded);

    // Record 8 is the third run's start; the checkpoints stand behind 3, 6, 9 and 12.
    let mut changed = good.clone();
    changed[7] = changed[7].replace("\"host\":\"db1\"", "\"host\":\"db2\"");
    chain_anew(&mut changed, Some(&signer));
    write(&recorded, &changed);
    assert!(
        alone(&recorded).ledger.fault.is_none(),
        "else it proves nothing"
    );
    let found = against(&recorded, None, &said);
    assert!(!found.is_good());
    let verdict = &found.witnesses[0].1;
    let text = verdict.to_string();
    assert!(
        matches!(
            verdict,
            WitnessVerdict::Contradicts {
                agrees_to: 6,
                seq: 9,
                ..
            }
        ),
        "{text}"
    );
    assert!(
        text.contains("log saw another one in its place at 1970-01-01T00:01:40Z"),
        "{text}"
    );

    // Cut off before the last run, whose folder goes as well.
    write(&recorded, &good[..10]);
    fs::remove_dir_all(recorded.state.run(&recorded.run)).unwrap();
    assert!(alone(&recorded).is_good(), "else it proves nothing");
    let found = against(&recorded, None, &said);
    assert!(!found.is_good());
    let text = found.witnesses[0].1.to_string();
    assert!(
        text.contains("record 11 of the ledger was tampered with: it is missing at the end"),
        "{text}"
    );

    // Everything begins anew, with another key.
    fs::remove_file(recorded.state.ledger()).unwrap();
    fs::remove_dir_all(recorded.state.runs()).unwrap();
    fs::create_dir(recorded.state.runs()).unwrap();
    keygen(&recorded, true);
    assert!(alone(&recorded).is_good());
    let found = against(&recorded, None, &said);
    assert!(matches!(
        found.witnesses[0].1,
        WitnessVerdict::OtherLedger { records: 12, .. }
    ));
    let key = signer.public();
    let found = against(&recorded, Some(&key), &testimony(&recorded));
    assert!(found.witnesses[0].1.is_good() && !found.signed.is_good());
}

#[test]
fn a_witness_that_knows_nothing_or_cannot_be_asked_is_not_good() {
    let recorded = signed();
    let mut said = testimony(&recorded);
    said.lines = Ok(vec!["nothing".to_owned()]);
    let found = against(&recorded, None, &said);
    assert!(!found.is_good());
    assert_eq!(found.witnesses[0].1, WitnessVerdict::Nothing);
    said.lines = Err("no route to host".to_owned());
    let found = against(&recorded, None, &said);
    assert!(found.is_good() && !found.is_complete());
    // What nobody signed is no testimony, for or against.
    let mut said = testimony(&recorded);
    let lines = said.lines.as_mut().unwrap();
    let forged = lines[0].replace("\"records\":3", "\"records\":2");
    assert_ne!(forged, lines[0]);
    lines.push(forged);
    assert!(against(&recorded, None, &said).is_good());
}

#[test]
fn keys_follow_each_other() {
    let mut recorded = signed();
    let first = Signer::load(&recorded.state).unwrap().unwrap().public();
    let second = keygen(&recorded, true);
    recorded.run(5, 1, true);
    let said = testimony(&recorded);
    for key in [&first, &second] {
        let found = against(&recorded, Some(key), &said);
        assert!(found.is_good(), "{found:?}");
        assert!(found.signed.unvouched.is_empty());
    }
    // Lost: the next one stands alone, and who trusts the first is told.
    fs::remove_file(recorded.state.checkpoint_key()).unwrap();
    assert!(
        Signer::load(&recorded.state).is_err(),
        "nothing goes on unsigned"
    );
    let third = keygen(&recorded, true);
    recorded.run(6, 1, true);
    assert!(against(&recorded, Some(&third), &said).is_good());
    let found = against(&recorded, Some(&first), &said);
    assert!(
        found
            .signed
            .distrust
            .unwrap()
            .to_string()
            .contains("has not signed that")
    );
    assert_eq!(alone(&recorded).signed.unvouched.len(), 1);
    // Another public key lies there.
    let other = signed();
    fs::copy(
        other.state.checkpoint_pub(),
        recorded.state.checkpoint_pub(),
    )
    .unwrap();
    assert!(!alone(&recorded).is_good());
    fs::remove_file(recorded.state.checkpoint_pub()).unwrap();
    assert!(!alone(&recorded).is_good());
    assert!(against(&recorded, Some(&third), &said).is_good());
}

#[test]
fn a_key_whose_making_was_cut_off_is_finished() {
    let mut recorded = signed();
    let key = recorded.state.checkpoint_key();
    let before = Signer::load(&recorded.state).unwrap().unwrap().public();
    // Before the ledger had it.
    drop(Signer::load_new(&recorded.state).unwrap());
    assert!(Signer::load(&recorded.state).is_err());
    let second = keygen(&recorded, false);
    assert_ne!(before, second);
    // After: the ledger has it, and it is not in use yet.
    let second_key = fs::read(&key).unwrap();
    let third = keygen(&recorded, true);
    fs::rename(&key, key.with_extension("key.new")).unwrap();
    fs::write(&key, second_key).unwrap();
    assert_eq!(keygen(&recorded, false), third);
    recorded.run(7, 1, true);
    let found = against(&recorded, Some(&before), &testimony(&recorded));
    assert!(found.is_good(), "{found:?}");
    assert_eq!(told(&found.ledger.fault), "nothing");
}

#[test]
fn a_crash_while_the_checkpoint_is_written_is_no_tampering() {
    let recorded = signed();
    let whole = fs::read(recorded.state.ledger()).unwrap();
    let end = lines(&recorded)
        .iter()
        .take(12)
        .map(|line| line.len() + 1)
        .sum::<usize>();
    for cut in (end + 1..whole.len()).step_by(7) {
        fs::write(recorded.state.ledger(), &whole[..cut]).unwrap();
        assert!(alone(&recorded).is_good(), "cut at byte {cut}");
        ledger(&recorded)
            .checkpoint(jiff::Timestamp::UNIX_EPOCH)
            .unwrap()
            .unwrap();
        let found = alone(&recorded);
        assert!(found.is_good(), "cut at byte {cut}: {found:?}");
    }
    // Cut at the line's end: no crash of one write.
    fs::write(recorded.state.ledger(), &whole[..end]).unwrap();
    assert_eq!(told(&alone(&recorded).ledger.fault), "NoCheckpoint 13");
}

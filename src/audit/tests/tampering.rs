//! Each way to tamper with a journal is told, with the record that it was done to.

use super::{Journal, join, read, told};
use crate::audit::fault::{Fault, Tampering};
use crate::audit::record::Record;

#[test]
fn a_cut_at_any_byte_is_told_in_an_ended_run_and_torn_in_another() {
    let [ended, unended] = Journal::both(2);
    let bytes = ended.bytes();
    for cut in 0..bytes.len() {
        let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count() as u64;
        let (_, fault) = read(&bytes[..cut], ended.sealed);
        assert_eq!(told(&fault), format!("CutOff {}", whole + 1), "{cut}");
    }
    let bytes = unended.bytes();
    for cut in 0..bytes.len() {
        let begins = bytes[..cut]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let (records, fault) = read(&bytes[..cut], None);
        let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count() as u64;
        assert_eq!(records, whole);
        match fault {
            None => assert_eq!(begins, cut),
            Some(Fault::Torn { at, bytes }) => {
                assert_eq!((at, bytes), (begins as u64, (cut - begins) as u64));
                assert!(bytes > 0);
            }
            Some(fault) => panic!("{fault}"),
        }
    }
}

#[test]
fn zeros_at_the_end_are_torn_only_in_a_run_that_has_not_ended() {
    for journal in Journal::both(1) {
        for length in [1, 511, 4096] {
            let mut bytes = journal.bytes();
            bytes.extend(std::iter::repeat_n(0, length));
            let expected = match journal.sealed {
                Some(sealed) => format!("Added {}", sealed.seq + 1),
                None => "Torn".to_owned(),
            };
            assert_eq!(told(&read(&bytes, journal.sealed).1), expected);
        }
    }
}

#[test]
fn zeros_in_the_middle_are_no_torn_end() {
    for mut journal in Journal::both(2) {
        journal.lines[2].fill(0);
        assert_eq!(journal.told(), "Malformed 3");
    }
}

#[test]
fn each_flipped_bit_is_told_with_its_record() {
    for journal in Journal::both(1) {
        let last = journal.lines.len() - 1;
        for (index, line) in journal.lines.iter().enumerate() {
            for bit in 0..line.len() * 8 {
                let mut tampered = journal.clone();
                tampered.lines[index][bit / 8] ^= 1 << (bit % 8);
                let (records, fault) = tampered.read();
                let seq = index as u64 + 1;
                let context = || String::from_utf8_lossy(&tampered.lines[index]).into_owned();
                match fault {
                    Some(Fault::Tampered { seq: told, what }) if told == seq => {
                        assert!(!matches!(what, Tampering::CutOff { .. }), "{}", context());
                    }
                    Some(Fault::Version { seq: told, .. }) if told == seq => {}
                    // The chain has nothing after the last record of a run that has not ended.
                    Some(Fault::Tampered {
                        seq: told,
                        what: Tampering::Edited { .. },
                    }) if journal.sealed.is_none() && index == last && told == seq - 1 => {}
                    None if journal.sealed.is_none() && index == last => {
                        assert_eq!(records, seq);
                        assert!(Record::read(tampered.lines[index].clone()).is_ok());
                    }
                    other => panic!("{other:?} in record {seq}: {}", context()),
                }
            }
        }
    }
}

#[test]
fn a_flipped_newline_is_told_with_its_record() {
    for journal in Journal::both(2) {
        let bytes = journal.bytes();
        let last = journal.lines.len() as u64;
        for (index, at) in memchr::memchr_iter(b'\n', &bytes).enumerate() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let seq = index as u64 + 1;
                let expected = match (seq == last, journal.sealed) {
                    (true, Some(_)) => format!("CutOff {seq}"),
                    (true, None) => "Torn".to_owned(),
                    (false, _) => format!("Malformed {seq}"),
                };
                assert_eq!(told(&read(&bytes, journal.sealed).1), expected);
            }
        }
    }
}

/// Does `change` to each record but the last `spared` ones, and expects to be told `word` of it.
fn each(spared: usize, change: impl Fn(&mut Vec<Vec<u8>>, usize), word: &str) {
    for journal in Journal::both(4) {
        for index in 0..journal.lines.len() - spared {
            let mut tampered = journal.clone();
            change(&mut tampered.lines, index);
            let ended = journal.sealed.is_some();
            let seq = index + 1;
            assert_eq!(tampered.told(), format!("{word} {seq}"), "ended: {ended}");
        }
    }
}

#[test]
fn what_was_done_to_a_record_is_told() {
    let edit = |lines: &mut Vec<Vec<u8>>, index: usize| {
        let text = String::from_utf8(lines[index].clone()).unwrap();
        lines[index] = text.replacen("\"1970-", "\"1971-", 1).into_bytes();
    };
    let copy = |lines: &mut Vec<Vec<u8>>, from: usize, to: usize| {
        let line = lines[from].clone();
        lines.insert(to, line);
    };
    each(1, edit, "Edited");
    each(1, |lines, index| drop(lines.remove(index)), "Removed");
    each(1, |lines, index| lines.swap(index, index + 1), "OutOfOrder");
    each(3, |lines, index| lines.swap(index, index + 3), "OutOfOrder");
    each(
        2,
        |lines, index| {
            let line = lines.remove(index);
            lines.push(line);
        },
        "OutOfOrder",
    );
    each(
        0,
        |lines, index| lines.insert(index, b"{}".to_vec()),
        "Inserted",
    );
    each(
        0,
        |lines, index| lines.insert(index, Vec::new()),
        "Inserted",
    );
    each(2, |lines, index| copy(lines, index + 2, index), "Inserted");
    each(0, |lines, index| copy(lines, index, index + 1), "Repeated");
    each(1, |lines, index| copy(lines, index, index + 2), "Repeated");
    each(
        1,
        |lines, index| {
            // One that is chained to the record before.
            copy(lines, index, index);
            edit(lines, index);
        },
        "Repeated",
    );
    each(
        1,
        |lines, index| lines[index] = b"\xff\xfe".to_vec(),
        "Malformed",
    );
}

#[test]
fn several_missing_records_are_counted() {
    for mut journal in Journal::both(4) {
        journal.lines.drain(3..6);
        match journal.read().1 {
            Some(Fault::Tampered { seq, what }) => {
                assert_eq!((seq, what), (4, Tampering::Removed { seq: 4, last: 6 }));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_last_record_of_an_ended_run_is_held_by_the_ledger() {
    let [journal, _] = Journal::both(2);
    let last = journal.lines.len();

    let mut edited = journal.clone();
    let text = String::from_utf8(edited.lines[last - 1].clone()).unwrap();
    edited.lines[last - 1] = text.replace("succeeded", "failed").into_bytes();
    assert_eq!(edited.told(), format!("Rechained {last}"));

    let mut added = journal.clone();
    added.lines.push(added.lines[last - 1].clone());
    added.chain_anew();
    assert_eq!(added.told(), format!("Added {}", last + 1));
}

#[test]
fn what_is_chained_anew_is_told_in_an_ended_run_alone() {
    for journal in Journal::both(3) {
        let last = journal.lines.len();
        let mut untouched = journal.clone();
        untouched.chain_anew();
        assert_eq!(untouched.lines, journal.lines);
        for index in 0..last {
            let mut edited = journal.clone();
            let text = String::from_utf8(edited.lines[index].clone()).unwrap();
            edited.lines[index] = text.replacen("\"1970-", "\"1971-", 1).into_bytes();
            let mut removed = journal.clone();
            removed.lines.remove(index);
            let mut inserted = journal.clone();
            inserted.lines.insert(index, journal.lines[index].clone());
            // A copy of the last record after itself, chained anew, is one more record.
            let at_the_end = if index + 1 == last {
                format!("Added {}", last + 1)
            } else {
                format!("Rechained {last}")
            };
            for (mut tampered, word) in [
                (edited, format!("Rechained {last}")),
                (removed, format!("CutOff {last}")),
                (inserted, at_the_end),
            ] {
                tampered.chain_anew();
                // Without an end in the ledger nothing speaks against it: docs/audit.md says so.
                let ended = journal.sealed.is_some();
                assert_eq!(
                    tampered.told(),
                    if ended { word } else { "nothing".to_owned() }
                );
            }
        }
    }
}

#[test]
fn torn_bytes_are_only_set_aside_by_a_record_that_names_them() {
    use crate::audit::chain::Torn;
    use crate::audit::record::{Digest, Entry, Head, encode};

    let [_, journal] = Journal::both(1);
    let last = journal.lines.len();
    let head = Head {
        seq: last as u64,
        hash: Digest::of(&journal.lines[last - 1]),
    };
    let with = |torn: &[u8], data: Torn| {
        let mut record = Vec::new();
        let entry = Entry {
            at: jiff::Timestamp::UNIX_EPOCH,
            kind: "audit.torn",
            path: None,
            attempt: None,
            data: &data,
        };
        encode(&head, &entry, &mut record).unwrap();
        let mut bytes = join(&journal.lines);
        bytes.extend(torn);
        bytes.extend(record);
        read(&bytes, None)
    };
    let torn = Torn {
        bytes: 7,
        sha256: Digest::of(b"{\"v\":1,"),
        whole: false,
    };
    assert_eq!(with(b"{\"v\":1,\n", torn).0, head.seq + 1);
    let not_aside = format!("NotAside {}", last + 1);
    assert_eq!(told(&with(b"{\"v\":1;\n", torn).1), not_aside);
    assert_eq!(told(&with(b"{\"v\":1\n", torn).1), not_aside);
    assert_eq!(told(&with(b"", torn).1), not_aside);
}

//! Which record was tampered with, and how: what the lines around the first one that does not fit
//! tell.
//!
//! Telling is best effort where several things were done at once; that something does not fit is
//! known before anything here is asked.

use std::io::{self, BufRead};

use super::fault::{Fault, Tampering};
use super::lines::Lines;
use super::record::{Head, NoRecord, Record};

/// What the lines after the one that does not fit say of it.
struct Around {
    /// The next line, if it is a record.
    next: Option<Record>,
    /// Whether there is a next line.
    more: bool,
    /// Whether the record that was expected stands further down.
    expected_follows: bool,
    /// Whether another record with the number of the one that does not fit stands further down.
    same_follows: bool,
}

/// What is wrong with the line that was `read` where the record after `head` was expected. `lines`
/// are those after it; they are used up.
pub(super) fn diagnose<R: BufRead>(
    head: Head,
    sealed: Option<Head>,
    read: Result<Record, NoRecord>,
    lines: &mut Lines<R>,
) -> io::Result<Fault> {
    let expected = head.seq + 1;
    let found = read.as_ref().ok().map(|record| record.seq);
    let around = look_around(expected, found, lines)?;
    let next_fits = around.next.as_ref().is_some_and(|next| next.follows(&head));
    Ok(match read {
        Err(NoRecord::Version(version)) if !next_fits => Fault::Version {
            seq: expected,
            version,
        },
        Err(_) if next_fits => Fault::tampered(expected, Tampering::Inserted),
        Err(error) => {
            let cause = error.to_string();
            Fault::tampered(expected, Tampering::Malformed { cause })
        }
        Ok(record) => {
            let (seq, what) = misplaced(head, sealed, &record, &around, next_fits);
            Fault::tampered(seq, what)
        }
    })
}

/// What is wrong with a record that does not follow `head`.
fn misplaced(
    head: Head,
    sealed: Option<Head>,
    record: &Record,
    around: &Around,
    next_fits: bool,
) -> (u64, Tampering) {
    let expected = head.seq + 1;
    let next = around.next.as_ref();
    let next_is_chained = next.is_some_and(|next| next.prev == record.hash);
    let removed = |last| Tampering::Removed {
        seq: expected,
        last,
    };
    let edited = Tampering::Edited { or_next: false };
    // What was chained after `head`, with another number: the number was edited, unless those after
    // it go on counting from there.
    if record.prev == head.hash {
        let goes_on = match next {
            Some(next) => Some(next.seq) == record.seq.checked_add(1),
            None => sealed.is_none_or(|sealed| sealed.seq != expected),
        };
        return if record.seq > expected && goes_on {
            (expected, removed(record.seq - 1))
        } else {
            (expected, edited)
        };
    }
    if record.seq == expected {
        let is_the_last = !around.more && sealed.is_some_and(|sealed| sealed == record.head());
        let vouched_for = next_is_chained || is_the_last;
        let open_end = !around.more && sealed.is_none();
        return if next_fits {
            (expected, Tampering::Inserted)
        } else if (vouched_for || open_end) && head.seq > 0 {
            let or_next = !vouched_for;
            (head.seq, Tampering::Edited { or_next })
        } else {
            (expected, edited)
        };
    }
    if record.seq < expected {
        return (record.seq, Tampering::Repeated);
    }
    let found = record.seq;
    match (around.expected_follows, next_fits && around.same_follows) {
        (true, true) => (expected, Tampering::Inserted),
        (true, false) => (expected, Tampering::OutOfOrder { found }),
        // Both its number and its hash are wrong, and those after it count on from the right one.
        (false, _) if next.is_some_and(|next| Some(next.seq) == expected.checked_add(1)) => {
            (expected, edited)
        }
        (false, _) => (expected, removed(found - 1)),
    }
}

fn look_around<R: BufRead>(
    expected: u64,
    found: Option<u64>,
    lines: &mut Lines<R>,
) -> io::Result<Around> {
    let mut around = Around {
        next: None,
        more: false,
        expected_follows: false,
        same_follows: false,
    };
    while let Some(line) = lines.next()? {
        let first = !std::mem::replace(&mut around.more, true);
        let Ok(record) = Record::read(line.bytes) else {
            continue;
        };
        around.expected_follows |= record.seq == expected;
        around.same_follows |= Some(record.seq) == found;
        if first {
            around.next = Some(record);
        }
    }
    Ok(around)
}

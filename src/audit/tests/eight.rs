//! Eight kinds of tampering, sixty times each, with the ledger, with the journal of a run that has
//! ended and with that of one that has not: all told, but for what the page says cannot be.

use std::fs;
use std::path::PathBuf;

use super::signed::{against, chain_anew, keygen, testimony};
use crate::audit::Testimony;
use crate::audit::key::Signer;
use crate::audit::record::Digest;
use crate::audit::testing::Recorded;
use crate::base::RunId;

const TIMES: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Edited,
    Removed,
    Swapped,
    Inserted,
    Truncated,
    Exchanged,
    Rechained,
    Resigned,
}

const KINDS: [Kind; 8] = [
    Kind::Edited,
    Kind::Removed,
    Kind::Swapped,
    Kind::Inserted,
    Kind::Truncated,
    Kind::Exchanged,
    Kind::Rechained,
    Kind::Resigned,
];

/// Whose file it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Ledger,
    Ended,
    Unended,
}

struct Folder {
    recorded: Recorded,
    said: Testimony,
    signer: Signer,
}

/// Where the journal of the unended run stood when it was gone on with, as the ledger says.
const SEALED: usize = 7;

impl Folder {
    /// Runs 1 to 5 have ended; run 6 was gone on with after its fourth step, and has not; run 7 has.
    fn new() -> Self {
        let mut recorded = Recorded::empty();
        keygen(&recorded, false);
        for number in 1..6 {
            recorded.run(number, 3, true);
        }
        recorded.run(6, 3, false);
        recorded.resume(4, false);
        recorded.run(7, 3, true);
        Self {
            said: testimony(&recorded),
            signer: Signer::load(&recorded.state).unwrap().unwrap(),
            recorded,
        }
    }

    fn journal(&self, run: u64) -> PathBuf {
        let run = RunId::from_parts(run, run);
        self.recorded.state.run(&run).join("journal.jsonl")
    }

    fn path(&self, target: Target) -> PathBuf {
        match target {
            Target::Ledger => self.recorded.state.ledger(),
            Target::Ended => self.journal(3),
            Target::Unended => self.journal(6),
        }
    }

    fn is_told(&self) -> bool {
        !against(&self.recorded, None, &self.said).is_good()
    }
}

fn lines(path: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn write(path: &PathBuf, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// Another time: what every record has.
fn edit(line: &mut String) {
    let at = line.find("\"t\":\"19").unwrap() + 7;
    line.replace_range(at..at + 1, "0");
}

fn hash(line: &str) -> String {
    Digest::of(line.as_bytes()).to_string()
}

/// Does it at line `at`; whether it changed anything.
fn tamper(folder: &Folder, target: Target, kind: Kind, at: usize) -> bool {
    let path = folder.path(target);
    let before = lines(&path);
    let mut now = before.clone();
    match kind {
        Kind::Edited | Kind::Rechained | Kind::Resigned => edit(&mut now[at]),
        Kind::Removed => drop(now.remove(at)),
        Kind::Swapped => now.swap(at, (at + 1) % before.len()),
        Kind::Inserted => now.insert(at, before[at].clone()),
        Kind::Truncated => now.truncate(at),
        Kind::Exchanged => {
            let other = match target {
                Target::Ledger => &before[(at * 7 + 3) % before.len()],
                Target::Ended | Target::Unended => &lines(&folder.journal(2))[at % 8],
            };
            now[at].clone_from(other);
        }
    }
    if matches!(kind, Kind::Rechained | Kind::Resigned) {
        let signer = (kind == Kind::Resigned).then_some(&folder.signer);
        chain_anew(&mut now, signer);
        if target != Target::Ledger {
            // The ledger is made to fit: it has the hash of the last record, or of where it stood.
            let ledger = folder.recorded.state.ledger();
            let mut all = lines(&ledger);
            for (old, new) in before.iter().zip(&now) {
                let (old, new) = (hash(old), hash(new));
                all.iter_mut()
                    .for_each(|line| *line = line.replace(&old, &new));
            }
            chain_anew(&mut all, signer);
            write(&ledger, &all);
        }
    }
    write(&path, &now);
    now != before
}

/// Whether the page says that nobody can tell: nothing is chained to the last record of a run that has
/// not ended, and what came after it was last gone on with may be cut off or chained anew.
fn may_be_untold(target: Target, kind: Kind, at: usize, count: usize) -> bool {
    let is_last = at + 1 >= count;
    match (target, kind) {
        (Target::Unended, Kind::Edited | Kind::Exchanged | Kind::Removed) => is_last,
        (Target::Unended, Kind::Truncated | Kind::Rechained | Kind::Resigned) => at >= SEALED,
        _ => false,
    }
}

#[test]
fn eight_kinds_sixty_times_each() {
    let folder = Folder::new();
    assert!(!folder.is_told(), "it is good before");
    assert_eq!(lines(&folder.path(Target::Unended)).len(), SEALED + 3);
    let (mut random, mut told, mut untold) = (0x9e37_79b9_u64, 0, 0);
    for target in [Target::Ledger, Target::Ended, Target::Unended] {
        let (path, ledger) = (folder.path(target), folder.path(Target::Ledger));
        let (pristine, pristine_ledger) = (fs::read(&path).unwrap(), fs::read(&ledger).unwrap());
        let count = lines(&path).len();
        for kind in KINDS {
            let mut done = 0;
            while done < TIMES {
                // A linear congruential generator: Knuth, MMIX.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(random >> 33).unwrap() % count;
                // What the last checkpoint comes after is all that a witness can vouch for.
                let at = if target == Target::Ledger {
                    at.min(count - 2)
                } else {
                    at
                };
                if tamper(&folder, target, kind, at) {
                    done += 1;
                    let is_told = folder.is_told();
                    let may_be = may_be_untold(target, kind, at, count);
                    assert!(
                        is_told || may_be,
                        "{kind:?} of {target:?} at line {at} of {count}"
                    );
                    told += usize::from(is_told);
                    untold += usize::from(!is_told);
                }
                fs::write(&path, &pristine).unwrap();
                fs::write(&ledger, &pristine_ledger).unwrap();
            }
        }
    }
    assert_eq!(told + untold, 3 * 8 * TIMES);
    assert!(!folder.is_told(), "it is good afterwards");
    // Not more than the page says.
    assert!(untold < 90, "{untold} untold");
}

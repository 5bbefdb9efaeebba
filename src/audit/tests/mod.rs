//! What the audit promises, tried on runs that were recorded.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "tests change files behind the audit's back, and say what they did not expect"
)]

mod ledger;
mod reading;
mod recipe;
mod resumed;
mod signed;
mod tampering;

use crate::audit::chain::Records;
use crate::audit::fault::Fault;
use crate::audit::record::{Digest, Head};
use crate::audit::testing::Recorded;

/// A journal as lines without their newlines, and what the ledger has of it.
#[derive(Clone)]
struct Journal {
    lines: Vec<Vec<u8>>,
    sealed: Option<Head>,
}

impl Journal {
    fn of(recorded: &Recorded) -> Self {
        let bytes = std::fs::read(recorded.journal()).unwrap();
        let mut lines: Vec<_> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        assert_eq!(lines.pop().as_deref(), Some(&[][..]));
        let ledger = std::fs::read_to_string(recorded.state.ledger()).unwrap();
        let sealed = ledger.contains("run.end").then(|| Head {
            seq: lines.len() as u64,
            hash: Digest::of(&lines[lines.len() - 1]),
        });
        Self { lines, sealed }
    }

    fn both(steps: u64) -> [Self; 2] {
        [
            Self::of(&Recorded::ended(steps)),
            Self::of(&Recorded::unended(steps)),
        ]
    }

    fn bytes(&self) -> Vec<u8> {
        join(&self.lines)
    }

    /// How many records verify, and what is wrong then.
    fn read(&self) -> (u64, Option<Fault>) {
        read(&self.bytes(), self.sealed)
    }

    /// What is wrong, in a word and with its record: `Edited 4`.
    fn told(&self) -> String {
        told(&self.read().1)
    }

    /// Chains everything anew, as someone does who knows the rule.
    fn chain_anew(&mut self) {
        let mut prev = Digest::ZERO;
        for (index, line) in self.lines.iter_mut().enumerate() {
            let text = String::from_utf8(line.clone()).unwrap();
            let rest = text.split_once("\",\"t\":").unwrap().1;
            let seq = index + 1;
            *line =
                format!("{{\"v\":1,\"seq\":{seq},\"prev\":\"{prev}\",\"t\":{rest}").into_bytes();
            prev = Digest::of(line);
        }
    }
}

fn join(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = lines.join(&b'\n');
    bytes.push(b'\n');
    bytes
}

fn read(bytes: &[u8], sealed: Option<Head>) -> (u64, Option<Fault>) {
    let mut records = Records::new(bytes, sealed);
    let fault = records.by_ref().find_map(Result::err);
    (records.head().seq, fault)
}

fn told(fault: &Option<Fault>) -> String {
    match fault {
        None => "nothing".to_owned(),
        Some(Fault::Tampered { seq, what }) => {
            let what = format!("{what:?}");
            let end = what.find([' ', '{']).unwrap_or(what.len());
            format!("{} {seq}", &what[..end])
        }
        Some(fault) => {
            let what = format!("{fault:?}");
            what[..what.find([' ', '(']).unwrap()].to_owned()
        }
    }
}

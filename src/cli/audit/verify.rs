//! `runbook audit verify`.

use std::path::Path;

use serde_json::{Value, json};

use super::super::args::VerifyArgs;
use super::super::engine::on_runtime;
use super::super::output::Output;
use super::super::{exit, status, witnesses};
use crate::audit::{
    Against, PublicKey, RunVerdict, SignedReport, Testimony, Verification, WitnessVerdict,
    read_export, verify,
};
use crate::base::count::plural;
use crate::base::{Clock, Format};
use crate::host::{StateDir, files};
use crate::report::clean;

/// What a file of a witness may measure at most, in bytes.
const LARGEST: u64 = 1 << 30;

pub(super) fn run(out: &mut Output, args: &VerifyArgs) -> u8 {
    let mut against = match against(out, args) {
        Ok(against) => against,
        Err(code) => return code,
    };
    let found = match (args.run.as_deref(), &args.export) {
        (_, Some(folder)) => exported(out, folder, &mut against).map(|state| (state, None)),
        (Some(text), None) => status::find(out, text).map(|(state, id)| (state, Some(id))),
        (None, None) => super::state(out).map(|state| (state, None)),
    };
    let (state, id) = match found {
        Ok(found) => found,
        Err(code) => return code,
    };
    let config = match witnesses::load(&state) {
        Ok(config) => config,
        Err(refusal) => return refusal.tell(out),
    };
    let asked = on_runtime(out, async |_| {
        let said = witnesses::ask(&config, &Clock::system()).await;
        against.testimonies.extend(said);
        exit::DONE
    });
    if asked != exit::DONE {
        return asked;
    }
    let found = match verify(&state, id.as_ref(), &against) {
        Ok(found) => found,
        Err(error) => {
            out.error(&error.to_string(), None);
            return exit::AUDIT;
        }
    };
    match args.format {
        Format::Json => out.json(&as_json(&found)),
        _ => print(out, &found),
    }
    match (found.is_good(), found.is_complete()) {
        (false, _) => exit::AUDIT,
        (true, false) => exit::FAILED,
        (true, true) => exit::DONE,
    }
}

/// An export as a state folder, of which some runs are there.
fn exported(out: &Output, folder: &Path, against: &mut Against) -> Result<StateDir, u8> {
    match read_export(folder) {
        Ok(export) => {
            against.exported = Some(export.runs);
            Ok(StateDir::at(folder))
        }
        Err(error) => {
            out.error(
                &error.to_string(),
                Some("name a folder that `runbook audit export` made"),
            );
            Err(exit::USAGE)
        }
    }
}

/// What it is verified against: the key and the witnesses that were named.
fn against(out: &Output, args: &VerifyArgs) -> Result<Against, u8> {
    let mut against = Against::default();
    if let Some(path) = &args.key {
        let text = files::read_limited(path, 16 << 10).map_err(|error| {
            out.error(&error.to_string(), error.help.as_deref());
            exit::USAGE
        })?;
        let key = PublicKey::read(&String::from_utf8_lossy(&text));
        against.key = Some(key.ok_or_else(|| {
            out.error(
                &format!("{} is no Ed25519 public key", path.display()),
                Some("it is a PEM file, such as keys/checkpoint.pub in the state folder"),
            );
            exit::USAGE
        })?);
    }
    for path in &args.witness {
        let lines = files::read_limited(path, LARGEST).map_err(|error| error.to_string());
        against.testimonies.push(Testimony {
            witness: path.display().to_string(),
            lines: lines.map(|bytes| {
                let text = String::from_utf8_lossy(&bytes);
                text.lines().map(str::to_owned).collect()
            }),
        });
    }
    Ok(against)
}

fn signatures(signed: &SignedReport) -> (&'static str, String) {
    if let Some(distrust) = &signed.distrust {
        return ("BAD", distrust.to_string());
    }
    let (Some((records, at)), Some(key)) = (signed.up_to, signed.key) else {
        let none = "none; `runbook audit keygen` makes a key";
        return ("-", none.to_owned());
    };
    let count = plural(count_of(signed.checkpoints), "checkpoint");
    let by = if signed.is_anchored {
        "as trusted"
    } else {
        "by"
    };
    let key = key.to_string();
    let mut text = format!(
        "{count}, up to record {records} at {at:.0}, {by} {}",
        &key[..16]
    );
    for seq in &signed.unvouched {
        text.push_str(&format!("; no key vouches for the one of record {seq}"));
    }
    if signed.unsigned > 0 {
        let after = plural(count_of(signed.unsigned), "record");
        text.push_str(&format!("; {after} after it, of runs that have not ended"));
    }
    ("ok", text)
}

fn count_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn print(out: &mut Output, found: &Verification) {
    let good = |good: bool| if good { "ok" } else { "BAD" };
    let ledger = match &found.ledger.fault {
        None => plural(count_of(found.ledger.records), "record"),
        Some(fault) => format!("{} records verify, then: {fault}", found.ledger.records),
    };
    let ledger_good = found
        .ledger
        .fault
        .as_ref()
        .is_none_or(|fault| fault.is_torn());
    let mut text = format!("{:4} ledger            {ledger}\n", good(ledger_good));
    let (verdict, signed) = signatures(&found.signed);
    text.push_str(&format!("{verdict:4} signatures        {signed}\n"));
    for (witness, verdict) in &found.witnesses {
        let good = match verdict {
            WitnessVerdict::Unreachable(_) => "??",
            verdict => good(verdict.is_good()),
        };
        let witness = clean::line(witness);
        text.push_str(&format!("{good:4} witness {witness:9} {verdict}\n"));
    }
    for run in &found.runs {
        let verdict = run.verdict.to_string();
        text.push_str(&format!(
            "{:4} {:16}  {}\n",
            good(run.verdict.is_good()),
            clean::line(&run.name),
            verdict.strip_prefix("ok, ").unwrap_or(&verdict)
        ));
    }
    let runs = found.runs.iter();
    let runs = runs.filter(|run| !matches!(run.verdict, RunVerdict::NoRun));
    let bad = runs.clone().filter(|run| !run.verdict.is_good()).count();
    let runs = plural(runs.count(), "run");
    if found.elsewhere > 0 {
        let elsewhere = plural(found.elsewhere, "run");
        text.push_str(&format!(
            "-    {elsewhere} of the ledger: not in this export\n"
        ));
    }
    let mut wrong = Vec::new();
    if !ledger_good {
        wrong.push("the ledger is bad".to_owned());
    }
    if !found.signed.is_good() {
        wrong.push("its signatures are not trusted".to_owned());
    }
    let against = { found.witnesses.iter() }
        .filter(|(_, verdict)| !verdict.is_good() && !verdict.is_unknown());
    wrong.extend(against.map(|(witness, verdict)| match verdict {
        WitnessVerdict::Nothing => format!("{} has nothing of it", clean::line(witness)),
        _ => format!("{} saw it otherwise", clean::line(witness)),
    }));
    if bad > 0 {
        wrong.push(format!("{bad} of {runs} bad"));
    } else if !wrong.is_empty() {
        wrong.push(format!("{runs} verified"));
    }
    text.push_str(&match (wrong.is_empty(), found.is_complete()) {
        (true, true) => format!("\nverified: the ledger and {runs}\n"),
        (true, false) => format!(
            "\nverified: the ledger and {runs}, but not against every witness: one could not be asked\n"
        ),
        (false, _) => format!("\nNOT VERIFIED: {}\n", wrong.join("; ")),
    });
    out.data(text);
}

fn as_json(found: &Verification) -> Value {
    let runs: Vec<Value> = found
        .runs
        .iter()
        .map(|run| {
            json!({
                "id": run.name,
                "ok": run.verdict.is_good(),
                "verdict": run.verdict.to_string(),
            })
        })
        .collect();
    let witnesses: Vec<Value> = found
        .witnesses
        .iter()
        .map(|(witness, verdict)| {
            json!({
                "witness": witness,
                "ok": if verdict.is_unknown() { None } else { Some(verdict.is_good()) },
                "verdict": verdict.to_string(),
            })
        })
        .collect();
    json!({
        "schema_version": 1,
        "ok": found.is_good(),
        "complete": found.is_complete(),
        "ledger": {
            "ok": found.ledger.fault.as_ref().is_none_or(|fault| fault.is_torn()),
            "records": found.ledger.records,
            "fault": found.ledger.fault.as_ref().map(ToString::to_string),
        },
        "signatures": {
            "ok": found.signed.is_good(),
            "checkpoints": found.signed.checkpoints,
            "records": found.signed.up_to.map(|(records, _)| records),
            "unsigned_records": found.signed.unsigned,
            "signed_at": found.signed.up_to.map(|(_, at)| at.to_string()),
            "key": found.signed.key.map(|key| key.to_string()),
            "fault": found.signed.distrust.as_ref().map(ToString::to_string),
        },
        "witnesses": witnesses,
        "elsewhere": found.elsewhere,
        "runs": runs,
    })
}

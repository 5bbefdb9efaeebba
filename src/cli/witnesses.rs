//! The state folder's `audit.yaml`, and the witnesses that it names: sending them checkpoints, asking
//! what they have.

use std::os::unix::fs::MetadataExt as _;

use futures_util::future::join_all;

use super::engine::Refusal;
use super::exit;
use super::output::Output;
use crate::audit::{Checkpoint, Signer, Testimony};
use crate::base::Clock;
use crate::diag::{Diagnostics, Sources};
use crate::host::witness::Notice;
use crate::host::{HostError, StateDir, files, identity};
use crate::model::{AUDIT_FILE, AuditConfig, decode_audit};

/// The file may measure this much, in bytes.
const LARGEST: u64 = 1 << 20;

/// What the state folder says of its audit; nothing in particular where it has no such file.
pub(super) fn load(state: &StateDir) -> Result<AuditConfig, Refusal> {
    let path = state.path().join(AUDIT_FILE);
    let failed = |error: HostError| Refusal::new(exit::USAGE, error.to_string(), error.help);
    if !path.try_exists().unwrap_or(true) {
        return Ok(AuditConfig::default());
    }
    let (bytes, metadata) = files::read_with_metadata(&path, LARGEST).map_err(failed)?;
    // It names files that we write and secrets that we read: in a folder that is shared, others may
    // not put one there.
    if !identity::is_ours(metadata.uid()) {
        let message = format!("{} belongs to another user; nothing ran", path.display());
        return Err(Refusal::new(exit::REFUSED, message, None));
    }
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let name = path.display().to_string();
    let config = match crate::doc::decode_utf8(bytes) {
        Ok(text) => {
            let id = sources.add(&name, text.as_str());
            crate::doc::parse(id, &text, &mut diagnostics)
                .and_then(|document| decode_audit(&document, &text, &mut diagnostics))
        }
        Err(place) => {
            let id = sources.add(&name, place.text.as_str());
            diagnostics.push(place.diagnostic(id));
            None
        }
    };
    match config {
        Some(config) => Ok(config),
        None => Err(Refusal::new(
            exit::USAGE,
            format!("{name} is not right; nothing ran"),
            None,
        )
        .because(diagnostics, sources)),
    }
}

/// The same for whoever is about to run something: witnesses without a key would hear nothing.
pub(super) fn load_to_run(state: &StateDir) -> Result<AuditConfig, Refusal> {
    let config = load(state)?;
    // Where there is a key, it is to sign the run's end: one that cannot is told first.
    let signer = Signer::load(state).map_err(Refusal::host)?;
    if signer.is_none() && !config.witnesses.is_empty() {
        let path = state.path().join(AUDIT_FILE);
        return Err(Refusal::new(
            exit::USAGE,
            format!(
                "{} names witnesses, and there is no key to sign what they are sent; nothing ran",
                path.display()
            ),
            Some("make one: `runbook audit keygen`".to_owned()),
        ));
    }
    Ok(config)
}

/// Sends a checkpoint to all of them; whether as many have taken it as must.
pub(super) async fn send(
    out: &Output,
    config: &AuditConfig,
    checkpoint: &Checkpoint,
    clock: &Clock,
) -> bool {
    let notice = Notice {
        ledger: checkpoint.ledger.to_string(),
        records: checkpoint.records,
        line: checkpoint.to_line(),
        host: identity::host_name(),
        at: checkpoint.at,
    };
    let sent = { config.witnesses.iter() }.map(|witness| witness.send(&notice, clock));
    let mut taken = 0;
    for (witness, sent) in config.witnesses.iter().zip(join_all(sent).await) {
        match sent {
            Ok(()) => taken += 1,
            Err(error) => {
                let name = witness.name();
                out.warn(&format!(
                    "the witness `{name}` has no checkpoint of this: {error}"
                ));
            }
        }
    }
    let enough = taken >= usize::from(config.require);
    if !enough {
        let require = config.require;
        let message = format!("{taken} witnesses have taken the checkpoint, and {require} must");
        out.error(&message, Some("`runbook audit checkpoint` sends one again"));
    }
    enough
}

/// What they have, of this ledger and maybe of others.
pub(super) async fn ask(config: &AuditConfig, clock: &Clock) -> Vec<Testimony> {
    let asked = { config.witnesses.iter() }.map(|witness| witness.recall(clock));
    let said = join_all(asked).await;
    let testimonies = config.witnesses.iter().zip(said);
    testimonies
        .map(|(witness, said)| Testimony {
            witness: witness.name(),
            lines: said
                .map(|text| text.lines().map(str::to_owned).collect())
                .map_err(|error| error.to_string()),
        })
        .collect()
}

//! `runbook audit keygen` and `audit checkpoint`: signing where the ledger stands.

use super::super::args::KeygenArgs;
use super::super::engine::on_runtime;
use super::super::output::Output;
use super::super::{exit, witnesses};
use crate::audit::{Checkpoint, KeygenError, Ledger};
use crate::base::Clock;
use crate::host::{StateDir, identity};

pub(super) fn keygen(out: &mut Output, args: &KeygenArgs) -> u8 {
    let state = match StateDir::locate().and_then(|state| state.create().map(|()| state)) {
        Ok(state) => state,
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::USAGE;
        }
    };
    let clock = Clock::system();
    let ledger = Ledger::of(&state, clock.clone());
    let made = match ledger.keygen(clock.wall(), &identity::user_name(), args.replace) {
        Ok(made) => made,
        Err(error @ KeygenError::Exists(_)) => {
            out.error(
                &error.to_string(),
                Some("`--replace` makes another one, for which this one vouches"),
            );
            return exit::USAGE;
        }
        Err(KeygenError::Host(error)) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::AUDIT;
        }
    };
    let place = state.checkpoint_pub();
    out.data(format!(
        "key      {}\npublic   {}\n         {}\n",
        made.public.id(),
        made.public,
        place.display()
    ));
    match (made.vouched_by, args.replace) {
        (Some(old), _) => out.note_line(&format!("the key before, {old}, vouches for it")),
        (None, true) => out.warn(
            "no key before vouches for it: give it to whoever verifies, who else will not trust it",
        ),
        (None, false) => {}
    }
    let sent = send(out, &state, &made.checkpoint, &clock);
    out.note_line(
        "each run's end is signed from now on; keep a copy of the public key elsewhere, and verify with `--key`",
    );
    sent
}

/// Sends a checkpoint to the witnesses.
pub(super) fn send(
    out: &mut Output,
    state: &StateDir,
    checkpoint: &Checkpoint,
    clock: &Clock,
) -> u8 {
    let config = match witnesses::load(state) {
        Ok(config) => config,
        Err(refusal) => return refusal.tell(out),
    };
    on_runtime(out, async |out| {
        match witnesses::send(out, &config, checkpoint, clock).await {
            true => exit::DONE,
            false => exit::AUDIT,
        }
    })
}

pub(super) fn checkpoint(out: &mut Output) -> u8 {
    let state = match super::state(out) {
        Ok(state) => state,
        Err(code) => return code,
    };
    let clock = Clock::system();
    match Ledger::of(&state, clock.clone()).checkpoint(clock.wall()) {
        Ok(Some(checkpoint)) => {
            let records = checkpoint.records;
            out.data(format!("signed: {records} records of the ledger\n"));
            send(out, &state, &checkpoint, &clock)
        }
        Ok(None) => {
            out.error(
                "there is no key to sign with",
                Some("make one: `runbook audit keygen`"),
            );
            exit::USAGE
        }
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            exit::AUDIT
        }
    }
}

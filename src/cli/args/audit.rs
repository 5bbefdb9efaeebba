//! What the command line takes for `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OneOf;
use crate::base::{Duration, Format};

#[derive(Debug, Args)]
pub(in crate::cli) struct AuditArgs {
    #[command(subcommand)]
    pub verb: AuditVerb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AuditVerb {
    /// Verify one run, or all of them and the ledger
    Verify(VerifyArgs),
    /// Make the key that signs the ledger after each run
    Keygen(KeygenArgs),
    /// Sign where the ledger stands, and send that to the witnesses
    Checkpoint,
    /// Copy runs out, with what is needed to verify them elsewhere
    Export(ExportArgs),
    /// Take away the records of old runs; the ledger stays, and says so
    Prune(PruneArgs),
    /// Show the records of a run
    Show {
        /// A run's id, the beginning of one, or `last`
        #[arg(default_value = "last")]
        run: String,
        /// Print them as they stand in the journal
        #[arg(long, value_parser = OneOf(Format::FOR_LISTS), default_value = "text", value_name = "FORMAT")]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// A run's id, the beginning of one, or `last`; all by default
    pub run: Option<String>,
    /// An export, in the place of the state folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "run")]
    pub export: Option<PathBuf>,
    /// The public key that you trust, in PEM: a copy of keys/checkpoint.pub that you kept elsewhere
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// What a witness has kept: a file of checkpoints, or a log that has them in its lines
    #[arg(long, value_name = "FILE")]
    pub witness: Vec<PathBuf>,
    /// How it is told
    #[arg(long, value_parser = OneOf(Format::FOR_LISTS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// Runs: ids, the beginnings of ids, or `last`; all by default
    pub runs: Vec<String>,
    /// The folder that is made
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Runs that started then or later: 2026-11-01, or 2026-11-01T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Runs that started before that
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
}

/// A time as people write it: a date in UTC, or a time with its offset.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Moment(pub jiff::Timestamp);

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let date = || {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(zoned.timestamp())
        };
        { text.parse().ok() }
            .or_else(date)
            .map(Self)
            .ok_or_else(|| "it is no time: write 2026-11-01, or 2026-11-01T08:00:00Z".to_owned())
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PruneArgs {
    /// Keep the records of runs that ended less than this long ago, such as 365d
    #[arg(long, value_name = "DURATION")]
    pub keep_for: Option<Duration>,
    /// Keep those of the last so many runs of each playbook; 1 by default
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Only list them
    #[arg(long)]
    pub dry_run: bool,
    /// Confirm that they are to be gone
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct KeygenArgs {
    /// Make another one in the place of one that is there, or is lost
    #[arg(long)]
    pub replace: bool,
}

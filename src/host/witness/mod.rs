//! Witnesses: who is sent each checkpoint of the ledger, and can be asked for it later.
//!
//! A witness is worth something if whoever can write to the state folder cannot write to it, or
//! cannot take back what stands there. One file a kind; what a checkpoint is, [`crate::audit`]
//! knows: here it is a line of text.

mod file;
mod http;
#[cfg(feature = "s3")]
mod s3;
mod syslog;

use std::path::PathBuf;
use std::pin::Pin;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{HostError, files};
use crate::base::{Clock, Duration};

/// How long a witness may take, unless told otherwise.
const LIMIT: Duration = Duration::from_secs(10);

/// What is read of a witness at most, in bytes: a checkpoint has about 500.
const LARGEST: u64 = 1 << 30;

/// A witness, as the state folder's `audit.yaml` names it: exactly one kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// What messages call it; its kind by default
    #[serde(default)]
    pub name: Option<String>,
    /// A file, best on another machine, or one that can only be appended to
    #[serde(default)]
    file: Option<file::File>,
    /// The system's log, or a log server
    #[serde(default)]
    syslog: Option<syslog::Syslog>,
    /// A web server that takes and gives back what it was sent
    #[serde(default)]
    http: Option<http::Http>,
    /// A bucket, best with object lock
    #[cfg(feature = "s3")]
    #[serde(default)]
    s3: Option<s3::S3>,
    /// How long it may take; 10 s by default
    #[serde(default)]
    timeout: Option<Duration>,
}

/// A credential: exactly one source.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// An environment variable
    #[serde(default)]
    env: Option<String>,
    /// A file; the line break at its end is not part of it
    #[serde(default)]
    file: Option<PathBuf>,
}

impl Credential {
    fn check(&self, field: &str) -> Result<(), String> {
        match (&self.env, &self.file) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            _ => Err(format!("`{field}` has one source: `env` or `file`")),
        }
    }

    fn read(&self, what: &str) -> Result<String, HostError> {
        let wrong = |cause: String| HostError::permanent(format!("read {what}"), cause);
        let text = match (&self.env, &self.file) {
            (Some(name), _) => std::env::var(name)
                .map_err(|_| wrong(format!("the environment variable {name} is not set")))?,
            (None, Some(path)) => {
                let bytes = files::read_limited(path, 64 << 10)?;
                let text = String::from_utf8(bytes);
                text.map_err(|_| wrong(format!("{} is not UTF-8", path.display())))?
            }
            (None, None) => String::new(),
        };
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        Ok(text.to_owned())
    }
}

/// A checkpoint on its way to a witness.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The ledger's name: the hash of its first record.
    pub ledger: String,
    /// How many records it has.
    pub records: u64,
    /// The checkpoint, as one line of JSON without its newline.
    pub line: String,
    /// The machine that it comes from.
    pub host: String,
    /// When; wall time.
    pub at: jiff::Timestamp,
}

/// What a witness does, for whoever waits for it on the engine's one thread.
type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, HostError>> + 'a>>;

/// One kind of witness.
trait Kind {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whatever the types of its fields cannot say.
    fn check(&self) -> Result<(), String>;

    /// Sends a checkpoint, and waits until the witness has it, as far as that can be known.
    fn send<'a>(&'a self, notice: &'a Notice) -> Doing<'a, ()>;

    /// What it has: lines with checkpoints, of this ledger and maybe of others.
    fn recall(&self) -> Doing<'_, String>;
}

impl WitnessConfig {
    /// The kinds that it names, of all that there are.
    fn kinds(&self) -> impl Iterator<Item = &dyn Kind> {
        [
            self.file.as_ref().map(|kind| kind as &dyn Kind),
            self.syslog.as_ref().map(|kind| kind as &dyn Kind),
            self.http.as_ref().map(|kind| kind as &dyn Kind),
            #[cfg(feature = "s3")]
            self.s3.as_ref().map(|kind| kind as &dyn Kind),
        ]
        .into_iter()
        .flatten()
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        let kind = self.kinds().next().map(Kind::name).unwrap_or_default();
        self.name.clone().unwrap_or_else(|| kind.to_owned())
    }

    /// Whatever the types of its fields cannot say.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let mut kinds = self.kinds();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => kind.check(),
            _ => Err("a witness has one kind: `file`, `syslog`, `http` or `s3`".to_owned()),
        }
    }

    fn kind(&self) -> Result<&dyn Kind, HostError> {
        let mut kinds = self.kinds();
        let none = || HostError::permanent("use a witness", "it has no kind");
        kinds.next().ok_or_else(none)
    }

    /// Sends a checkpoint, and waits until the witness has it, as far as that can be known.
    ///
    /// # Errors
    /// When it does not take it, or not in time.
    pub async fn send(&self, notice: &Notice, clock: &Clock) -> Result<(), HostError> {
        let sent = self.kind()?.send(notice);
        self.in_time(clock, sent).await
    }

    /// What it has: lines with checkpoints, of this ledger and maybe of others.
    ///
    /// # Errors
    /// When it cannot be asked, or not in time.
    pub async fn recall(&self, clock: &Clock) -> Result<String, HostError> {
        let recalled = self.kind()?.recall();
        self.in_time(clock, recalled).await
    }

    async fn in_time<T>(&self, clock: &Clock, work: Doing<'_, T>) -> Result<T, HostError> {
        let limit = self.timeout.unwrap_or(LIMIT);
        let done = clock.within(clock.deadline_in(limit), work).await;
        done.unwrap_or_else(|| {
            let action = format!("get an answer from the witness {}", self.name());
            Err(HostError::transient(
                action,
                format!("there was none within {limit}"),
            ))
        })
    }
}

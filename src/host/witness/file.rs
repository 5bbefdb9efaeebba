//! A file as a witness: one checkpoint a line.

#![expect(clippy::disallowed_methods, reason = "this is the door to it")]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, OFlags, flock};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Doing, Kind, LARGEST, Notice};
use crate::host::{HostError, files};

/// A file to which each checkpoint is appended.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path, from the root on. It is made if it is not there.
    path: PathBuf,
}

impl Kind for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn check(&self) -> Result<(), String> {
        if self.path.is_absolute() {
            Ok(())
        } else {
            Err("`path` of a witness begins with `/`".to_owned())
        }
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Doing<'a, ()> {
        Box::pin(async move {
            let (path, line) = (self.path.clone(), format!("{}\n", notice.line));
            // A share that is gone may hold whoever asks for ever.
            blocking(move || append(&path, &line)).await
        })
    }

    fn recall(&self) -> Doing<'_, String> {
        Box::pin(async move {
            let path = self.path.clone();
            let bytes = blocking(move || files::read_limited(&path, LARGEST)).await?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
    }
}

fn append(path: &std::path::Path, line: &str) -> Result<(), HostError> {
    let error = |e: &std::io::Error| HostError::io(format!("append to {}", path.display()), e);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|e| error(&e))?;
    if !file.metadata().map_err(|e| error(&e))?.is_file() {
        let action = format!("append to {}", path.display());
        return Err(HostError::permanent(action, "it is no regular file"));
    }
    // Machines may share it; where the file system knows no locks, one write is what there is.
    let _ = flock(&file, FlockOperation::LockExclusive);
    file.write_all(line.as_bytes()).map_err(|e| error(&e))?;
    file.sync_data().map_err(|e| error(&e))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(HostError::permanent(
                "use a witness's file",
                error.to_string(),
            ))
        })
}

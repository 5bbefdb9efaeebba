//! What people say to a run from another process: `runs/<id>/approvals/`, a file a statement.
//!
//! Whoever may write to the folder may say something; who said it is the owner of the file, as the
//! system knows it. The engine takes what it acts on into its journal.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::{IfExists, make_folder, write_whole};
use super::{HostError, files, identity};

/// The longest statement, in bytes.
const LONGEST: u64 = 64 << 10;

/// Something that a person said.
#[derive(Clone, Debug)]
pub struct Statement<T> {
    /// The name that it was given.
    pub name: String,
    /// Who said it: the owner of the file.
    pub user: String,
    /// When: the moment at which the file last changed, which nobody can set.
    pub at: jiff::Timestamp,
    /// What was said.
    pub said: T,
}

/// Says something to the run with the folder `run`, in the place of what was said under the same name.
///
/// # Errors
/// When it cannot be written.
pub fn say(run: &Path, name: &str, said: &impl Serialize) -> Result<(), HostError> {
    let folder = run.join("approvals");
    make_folder(&folder)?;
    let path = folder.join(format!("{name}.json"));
    let mut bytes = serde_json::to_vec(said)
        .map_err(|e| HostError::permanent(format!("write {}", path.display()), e.to_string()))?;
    bytes.push(b'\n');
    write_whole(&path, &bytes, 0o640, IfExists::Replace)
}

/// What was said to the run with the folder `run` under names that begin with `prefix`, in the order of
/// the names. Each by itself: what one person wrote must not silence another.
///
/// # Errors
/// When the folder cannot be read.
pub fn heard<T: DeserializeOwned>(
    run: &Path,
    prefix: &str,
) -> Result<Vec<Result<Statement<T>, HostError>>, HostError> {
    let folder = run.join("approvals");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HostError::io(format!("list {}", folder.display()), &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| HostError::io(format!("list {}", folder.display()), &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name
            .strip_suffix(".json")
            .filter(|name| name.starts_with(prefix))
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let read = |name: String| {
        let path = folder.join(format!("{name}.json"));
        let (bytes, metadata) = files::read_with_metadata(&path, LONGEST)?;
        let said = serde_json::from_slice(&bytes)
            .map_err(|e| HostError::permanent(format!("read {}", path.display()), e.to_string()))?;
        Ok(Statement {
            name,
            user: identity::login(metadata.uid()),
            at: changed_at(&metadata),
            said,
        })
    };
    Ok(names.into_iter().map(read).collect())
}

fn changed_at(metadata: &Metadata) -> jiff::Timestamp {
    let nanos = i32::try_from(metadata.ctime_nsec()).unwrap_or(0);
    jiff::Timestamp::new(metadata.ctime(), nanos).unwrap_or(jiff::Timestamp::MAX)
}

/// Forgets what was said under `name`, once it was acted on.
///
/// # Errors
/// When it cannot be removed.
#[expect(clippy::disallowed_methods, reason = "it is our own")]
pub fn forget(run: &Path, name: &str) -> Result<(), HostError> {
    let path = run.join("approvals").join(format!("{name}.json"));
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HostError::io(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

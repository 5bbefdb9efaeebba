//! What `runbook doctor` looks at.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::HostError;
use super::append::AppendFile;

/// What it costs to bring a record to disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FsyncCost {
    /// The median, in milliseconds.
    pub median_ms: f64,
    /// How many were measured.
    pub samples: usize,
}

/// How many fsyncs are measured.
const SAMPLES: usize = 21;

/// Measures what an fsync of a small record costs in `folder`, in a file that goes again.
///
/// # Errors
/// When the folder cannot be written to.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]
pub fn fsync_cost(folder: &Path) -> Result<FsyncCost, HostError> {
    let path = folder.join(format!(".doctor.{}", std::process::id()));
    let file = AppendFile::create(&path)?;
    let measured: Result<Vec<f64>, HostError> = (0..SAMPLES)
        .map(|_| {
            let start = std::time::Instant::now();
            file.append(b"a record of a usual length would be some three hundred bytes long\n")?;
            file.sync()?;
            Ok(start.elapsed().as_secs_f64() * 1000.0)
        })
        .collect();
    let _ = std::fs::remove_file(&path);
    let mut measured = measured?;
    measured.sort_by(f64::total_cmp);
    Ok(FsyncCost {
        median_ms: measured[SAMPLES / 2],
        samples: SAMPLES,
    })
}

/// Whether there is a socket at `path`.
pub fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Where `PATH` finds a program.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| {
            let executable =
                |m: std::fs::Metadata| m.is_file() && m.permissions().mode() & 0o111 != 0;
            std::fs::metadata(candidate).is_ok_and(executable)
        })
}

//! Opens a log and its older parts, all as they are at one moment.
//!
//! While a log is rotated, one part could be opened under two names and another under none. So the
//! folder is read again once everything is open: if it is not as before, all is opened anew.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::rotation;
use crate::host::{HostError, Observe};

/// How often the parts are opened anew.
const TRIES: usize = 5;

/// A part of a log.
#[derive(Debug)]
pub struct Part {
    /// Its path.
    pub path: PathBuf,
    /// The file itself.
    pub file: File,
    /// What the system knew of it when it was opened.
    pub metadata: Metadata,
}

impl Part {
    /// What it is, whatever its name: device and inode.
    pub fn identity(&self) -> (u64, u64) {
        (self.metadata.dev(), self.metadata.ino())
    }
}

/// What could not be opened, and why.
pub type Failed = (PathBuf, HostError);

/// The log at `path` alone.
///
/// # Errors
/// When it cannot be opened.
pub fn open(host: &Observe, path: &Path) -> Result<Part, Failed> {
    let opened = host.open_file(path).and_then(|file| {
        let metadata = file.metadata();
        let action = || format!("look at {}", path.display());
        let metadata = metadata.map_err(|error| HostError::io(action(), &error))?;
        Ok((file, metadata))
    });
    let path = path.to_owned();
    match opened {
        Ok((file, metadata)) => Ok(Part {
            path,
            file,
            metadata,
        }),
        Err(error) => Err((path, error)),
    }
}

/// The log at `base` and its older parts, oldest first.
pub fn open_all(host: &Observe, base: &Path) -> (Vec<Part>, Vec<Failed>) {
    open_meanwhile(host, base, || {})
}

/// The same; `meanwhile` happens after each part is opened.
fn open_meanwhile(
    host: &Observe,
    base: &Path,
    mut meanwhile: impl FnMut(),
) -> (Vec<Part>, Vec<Failed>) {
    let folder = base.parent().unwrap_or(Path::new("/"));
    let name = base.file_name().unwrap_or_default();
    let mut before = match names(host, folder, name) {
        Ok(names) => names,
        Err(error) => {
            let mut failed = vec![(folder.to_owned(), error)];
            let part = open(host, base).map_err(|error| failed.push(error));
            return (part.into_iter().collect(), failed);
        }
    };
    let mut tries = 1;
    loop {
        let mut failed = Vec::new();
        let mut parts = Vec::new();
        let older = before.older.iter().map(|name| folder.join(name));
        for path in older.chain([base.to_owned()]) {
            match open(host, &path) {
                Ok(part) => parts.push(part),
                Err(error) => failed.push(error),
            }
            meanwhile();
        }
        let after = names(host, folder, name);
        let settled = after.as_ref().is_ok_and(|after| *after == before)
            && parts.iter().all(|part| is_still(host, part));
        if settled {
            return (parts, failed);
        }
        if tries == TRIES {
            let cause = "its parts are renamed again and again meanwhile";
            let action = format!("open {} as a whole", base.display());
            failed.push((base.to_owned(), HostError::transient(action, cause)));
            return (parts, failed);
        }
        tries += 1;
        if let Ok(after) = after {
            before = after;
        }
    }
}

/// The names of a log's parts.
#[derive(PartialEq, Eq)]
struct Names {
    older: Vec<std::ffi::OsString>,
    has_base: bool,
}

fn names(host: &Observe, folder: &Path, base: &OsStr) -> Result<Names, HostError> {
    let names = host.list_folder(folder)?;
    Ok(Names {
        older: rotation::older_parts(base, &names),
        has_base: names.iter().any(|name| name == base),
    })
}

/// Whether `part` still has the name under which it was opened.
fn is_still(host: &Observe, part: &Part) -> bool {
    host.metadata(&part.path)
        .is_ok_and(|now| (now.dev(), now.ino()) == part.identity())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{TRIES, open_meanwhile};
    use crate::host::{Observe, testing};

    /// A log whose base and two older parts hold a number each, rotated `times` times while it is
    /// opened, and its oldest part dropped each time or not: the numbers that are read, and what
    /// failed.
    #[expect(clippy::disallowed_methods, reason = "a test's own files")]
    fn read(times: usize, drop_oldest: bool) -> (Vec<usize>, Vec<String>) {
        let test = testing::scope();
        let name = |part: usize| {
            let name = if part == 0 {
                "app.log".to_owned()
            } else {
                format!("app.log.{part}")
            };
            test.folder.path().join(name)
        };
        for part in 0..3 {
            std::fs::write(name(part), (2 - part).to_string()).unwrap();
        }
        let mut rotations = 0;
        let rotate = || {
            if rotations < times {
                let parts = if drop_oldest { 2 } else { rotations + 3 };
                for part in (0..parts).rev() {
                    std::fs::rename(name(part), name(part + 1)).unwrap();
                }
                rotations += 1;
                std::fs::write(name(0), (rotations + 2).to_string()).unwrap();
            }
        };
        let host = Observe::new(test.scope.clone());
        let (parts, failed) = open_meanwhile(&host, &name(0), rotate);
        let number = |mut part: super::Part| {
            let mut text = String::new();
            part.file.read_to_string(&mut text).unwrap();
            text.parse().unwrap()
        };
        let failed = failed.into_iter().map(|(_, error)| error.to_string());
        (parts.into_iter().map(number).collect(), failed.collect())
    }

    #[test]
    fn a_log_rotated_meanwhile_is_opened_anew() {
        for times in 0..TRIES {
            let none: Vec<String> = Vec::new();
            assert_eq!(read(times, false), ((0..times + 3).collect(), none.clone()));
            assert_eq!(read(times, true), ((times..times + 3).collect(), none));
        }
    }

    #[test]
    fn a_log_that_never_rests_is_not_taken_to_be_whole() {
        let (_, failed) = read(usize::MAX, true);
        let last = failed.last().unwrap();
        assert!(last.contains("renamed again and again"), "{last}");
    }
}

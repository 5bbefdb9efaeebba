//! Looking at files: nothing here can write, and nothing here can hang on a pipe or a device.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{HostError, Observe};

/// What is read at most by [`Observe::read_small`].
pub const SMALL_FILE: u64 = 16 << 20;

impl Observe {
    /// Opens a regular file to read it.
    ///
    /// # Errors
    /// When it is not there, may not be read, or is no regular file.
    pub fn open_file(&self, path: &Path) -> Result<File, HostError> {
        let path = self.scope().resolve(path);
        self.pulse().asks_about(&path);
        open_regular(&path)
    }

    /// The whole content of a small file.
    ///
    /// # Errors
    /// As [`Observe::open_file`], and when it is larger than [`SMALL_FILE`].
    pub fn read_small(&self, path: &Path) -> Result<Vec<u8>, HostError> {
        read_limited(&self.scope().resolve(path), SMALL_FILE)
    }

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// When it is no folder or may not be read.
    pub fn list_folder(&self, path: &Path) -> Result<Vec<std::ffi::OsString>, HostError> {
        let path = self.scope().resolve(path);
        self.pulse().asks_about(&path);
        let error = |e: &std::io::Error| HostError::io(format!("list {}", path.display()), e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(|e| error(&e))? {
            names.push(entry.map_err(|e| error(&e))?.file_name());
        }
        names.sort();
        Ok(names)
    }

    /// What the system knows of `path`, following links.
    ///
    /// # Errors
    /// When it is not there or may not be asked for.
    pub fn metadata(&self, path: &Path) -> Result<std::fs::Metadata, HostError> {
        let path = self.scope().resolve(path);
        self.pulse().asks_about(&path);
        std::fs::metadata(&path)
            .map_err(|e| HostError::io(format!("look at {}", path.display()), &e))
    }
}

/// Opens a regular file to read it; a FIFO or device is refused rather than waited for.
///
/// # Errors
/// When it is not there, may not be read, or is no regular file.
pub fn open_regular(path: &Path) -> Result<File, HostError> {
    open(path, OFlags::empty())
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn open(path: &Path, more: OFlags) -> Result<File, HostError> {
    let action = || format!("read {}", path.display());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | more;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| {
        // What NOFOLLOW says of a link; open(2).
        if e == rustix::io::Errno::LOOP && more.contains(OFlags::NOFOLLOW) {
            return HostError::permanent(action(), "it is a symbolic link");
        }
        HostError::io(action(), &e.into())
    })?;
    let file = File::from(fd);
    let kind = file
        .metadata()
        .map_err(|e| HostError::io(action(), &e))?
        .file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "it is a folder"
        } else if kind.is_fifo() {
            "it is a named pipe"
        } else {
            "it is not a regular file"
        };
        return Err(HostError::permanent(action(), what));
    }
    // From here on it reads like any other file.
    let _ = rustix::fs::fcntl_setfl(file.as_fd(), OFlags::empty());
    Ok(file)
}

/// The whole content of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`], and when it is larger.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, HostError> {
    read(open_regular(path)?, path, limit)
}

/// As [`read_limited`], but a symbolic link is refused: what it points to is not for whoever made
/// it to choose.
///
/// # Errors
/// As [`read_limited`], and when it is a link.
pub fn read_no_link(path: &Path, limit: u64) -> Result<Vec<u8>, HostError> {
    read(open(path, OFlags::NOFOLLOW)?, path, limit)
}

/// The same, and who owns it and when it changed: of one and the same file, whoever exchanges it
/// meanwhile.
///
/// # Errors
/// As [`read_no_link`].
pub fn read_with_metadata(path: &Path, limit: u64) -> Result<(Vec<u8>, Metadata), HostError> {
    let file = open(path, OFlags::NOFOLLOW)?;
    let metadata = file
        .metadata()
        .map_err(|e| HostError::io(format!("read {}", path.display()), &e))?;
    Ok((read(file, path, limit)?, metadata))
}

fn read(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, HostError> {
    let action = || format!("read {}", path.display());
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| HostError::io(action(), &e))?;
    if bytes.len() as u64 > limit {
        return Err(HostError::permanent(
            action(),
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// The content of a file under `/proc` or `/sys`, as text.
///
/// # Errors
/// When it is not there or may not be read.
pub fn read_kernel(path: &Path) -> Result<String, HostError> {
    std::fs::read_to_string(path).map_err(|e| HostError::io(format!("read {}", path.display()), &e))
}

/// The same, as bytes: environments and command lines are not always UTF-8.
///
/// # Errors
/// When it is not there or may not be read.
pub fn read_kernel_bytes(path: &Path) -> Result<Vec<u8>, HostError> {
    std::fs::read(path).map_err(|e| HostError::io(format!("read {}", path.display()), &e))
}

/// The names in a folder under `/proc` or `/sys`.
///
/// # Errors
/// When it is not there or may not be read.
pub fn kernel_names(path: &Path) -> Result<Vec<std::ffi::OsString>, HostError> {
    let error = |e: &std::io::Error| HostError::io(format!("list {}", path.display()), e);
    let entries = std::fs::read_dir(path).map_err(|e| error(&e))?;
    // What ends while it is listed is not there any more.
    Ok(entries.flatten().map(|entry| entry.file_name()).collect())
}

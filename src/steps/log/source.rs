//! What is read out of a log file: its lines, decompressed where it is compressed.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use crate::host::error::io_cause;

/// How a file is compressed, by its first bytes.
const MAGIC: [(&[u8], &str); 5] = [
    (b"\x1f\x8b", "gz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh91AY&SY", "bz2"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

/// The content of `file`, decompressed; `done` counts the bytes of the file itself.
///
/// A file that grows while it is read ends where it ended when it was opened, after the line that
/// it then ended in.
///
/// # Errors
/// What is wrong with it, as it follows "could not read <path>: ".
pub fn open(mut file: File, path: &Path, done: Rc<Cell<u64>>) -> Result<Box<dyn Read>, String> {
    let length = file.metadata().map_err(|e| io_cause(&e))?.len();
    let at = file.stream_position().map_err(|e| io_cause(&e))?;
    let named = path.extension().and_then(|extension| extension.to_str());
    let named = named.filter(|named| MAGIC.iter().any(|(_, kind)| kind == named));
    if named.is_some() && length == 0 {
        return Err("it is empty, which no compressed file is".to_owned());
    }
    let kind = compression(&file).map_err(|e| io_cause(&e))?;
    let metered = Metered { file, done };
    match kind {
        Some("gz") => Ok(Box::new(MultiGzDecoder::new(metered))),
        Some("zst") => {
            let decoder = zstd::stream::read::Decoder::new(metered);
            Ok(Box::new(decoder.map_err(|e| io_cause(&e))?))
        }
        Some(other) => Err(format!(
            "it is compressed as .{other}; only .gz and .zst are decompressed here"
        )),
        None => match named {
            Some(named) => Err(format!("it is named .{named}, and is no such file")),
            None => Ok(Box::new(Bounded::new(metered, length.saturating_sub(at)))),
        },
    }
}

fn compression(file: &File) -> std::io::Result<Option<&'static str>> {
    let mut head = [0; 10];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    let head = &head[..filled];
    let magic = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
    Ok(magic.map(|(_, kind)| *kind))
}

/// Counts what is read.
struct Metered {
    file: File,
    done: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done.set(self.done.get() + count as u64);
        Ok(count)
    }
}

/// Ends after the line in which byte `left` stands, so that a log that grows faster than it is read
/// comes to an end.
struct Bounded<R> {
    source: R,
    left: u64,
    last: u8,
    ended: bool,
}

/// How much of a line that was still being written is read at once.
const TAIL: usize = 4 << 10;

impl<R> Bounded<R> {
    fn new(source: R, length: u64) -> Self {
        Self {
            source,
            // What has no length, such as a file of /proc, may have content all the same.
            left: if length == 0 { u64::MAX } else { length },
            last: 0,
            ended: false,
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if self.left > 0 {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            let count = self.source.read(&mut buffer[..most])?;
            self.left -= count as u64;
            self.last = buffer[..count].last().copied().unwrap_or(self.last);
            self.ended = count == 0 || (self.left == 0 && self.last == b'\n');
            return Ok(count);
        }
        let most = TAIL.min(buffer.len());
        let count = self.source.read(&mut buffer[..most])?;
        let line_end = memchr::memchr(b'\n', &buffer[..count]);
        self.ended = count == 0 || line_end.is_some();
        Ok(line_end.map_or(count, |at| at + 1))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::path::Path;

    use super::{Bounded, open};

    #[test]
    fn ends_where_the_line_ends_that_was_being_written() {
        let read = |length: u64, text: &str| {
            let mut all = String::new();
            Bounded::new(text.as_bytes(), length)
                .read_to_string(&mut all)
                .unwrap();
            all
        };
        assert_eq!(read(4, "one\ntwo\nthree\n"), "one\n");
        assert_eq!(read(5, "one\ntwo\nthree\n"), "one\ntwo\n");
        assert_eq!(read(7, "one\ntwo\nthree\n"), "one\ntwo\n");
        assert_eq!(read(3, "one"), "one");
        assert_eq!(read(9, "one\ntwo"), "one\ntwo");
        assert_eq!(read(0, "one\ntwo"), "one\ntwo");
    }

    #[test]
    fn a_file_that_is_cut_off_while_it_is_read_ends() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[b'x'; 1000]).unwrap();
        let done = super::Rc::default();
        let reader = file.reopen().unwrap();
        let mut source = open(reader, Path::new("x.log"), super::Rc::clone(&done)).unwrap();
        let mut buffer = [0; 100];
        assert_eq!(source.read(&mut buffer).unwrap(), 100);
        file.as_file().set_len(10).unwrap();
        assert_eq!(source.read(&mut buffer).unwrap(), 0);
        assert_eq!(source.read(&mut buffer).unwrap(), 0);
        assert_eq!(done.get(), 100);
    }
}

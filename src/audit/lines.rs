//! Lines of a file of records, forwards and backwards, with a limit on their length, so that no file
//! can make the reader take all memory.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::os::unix::fs::FileExt as _;

use super::record::MAX_RECORD;

/// A line, or what follows the last newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where in the file it begins, in bytes.
    pub at: u64,
    /// How long it is, without its newline.
    pub len: u64,
    /// Its bytes without the newline; none where it is longer than any record.
    pub bytes: Vec<u8>,
    /// Whether a newline ends it.
    pub ended: bool,
}

/// Reads a file from its beginning.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    at: u64,
    ahead: VecDeque<Line>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            at: 0,
            ahead: VecDeque::new(),
        }
    }

    /// The next line.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        match self.ahead.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read(),
        }
    }

    /// The line `distance` lines after the next one, which stays.
    pub(super) fn peek(&mut self, distance: usize) -> io::Result<Option<&Line>> {
        while self.ahead.len() <= distance {
            match self.read()? {
                Some(line) => self.ahead.push_back(line),
                None => return Ok(None),
            }
        }
        Ok(self.ahead.get(distance))
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let limit = MAX_RECORD as u64 + 1;
        let mut len = (&mut self.source)
            .take(limit)
            .read_until(b'\n', &mut bytes)? as u64;
        if len == 0 {
            return Ok(None);
        }
        let mut ended = bytes.last() == Some(&b'\n');
        if ended {
            bytes.pop();
        } else if len == limit {
            bytes = Vec::new();
            let (more, newline) = skip_line(&mut self.source)?;
            len += more;
            ended = newline;
        }
        let at = self.at;
        self.at += len;
        Ok(Some(Line {
            at,
            len: len - u64::from(ended),
            bytes,
            ended,
        }))
    }
}

/// Passes over the rest of a line: how many bytes, and whether a newline ended it.
fn skip_line(source: &mut impl BufRead) -> io::Result<(u64, bool)> {
    let mut skipped = 0;
    loop {
        let chunk = source.fill_buf()?;
        if chunk.is_empty() {
            return Ok((skipped, false));
        }
        let (used, ended) = match memchr::memchr(b'\n', chunk) {
            Some(at) => (at + 1, true),
            None => (chunk.len(), false),
        };
        source.consume(used);
        skipped += used as u64;
        if ended {
            return Ok((skipped, true));
        }
    }
}

/// Reads a file from its end: first what follows the last newline (mostly nothing), then the last
/// line, the one before, and so on.
#[derive(Debug)]
pub(super) struct LinesBack<F> {
    file: F,
    chunk: usize,
    /// How much of the file, from its beginning, is not yet in `held`.
    left: u64,
    /// What was read and not yet given out; it begins at `left`.
    held: Vec<u8>,
    /// How much at the end of `held` is known to have no newline.
    searched: usize,
    over: bool,
}

impl<F: Borrow<File>> LinesBack<F> {
    /// The lines of the first `length` bytes of `file`.
    pub(super) fn new(file: F, length: u64) -> Self {
        Self::with_chunk(file, length, 64 << 10)
    }

    fn with_chunk(file: F, length: u64, chunk: usize) -> Self {
        Self {
            file,
            chunk,
            left: length,
            held: Vec::new(),
            searched: 0,
            over: false,
        }
    }

    /// The line before the one that was given last.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.over {
            return Ok(None);
        }
        loop {
            let unsearched = self.held.len() - self.searched;
            if let Some(at) = memchr::memrchr(b'\n', &self.held[..unsearched]) {
                let line = self.held.split_off(at + 1);
                self.held.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.held.len();
            if self.left == 0 {
                self.over = true;
                return Ok(Some(std::mem::take(&mut self.held)));
            }
            if self.held.len() > MAX_RECORD {
                let wrong = format!("a line is longer than {MAX_RECORD} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
            }
            self.fill()?;
        }
    }

    /// Puts more of the file in front of what is held; at least as much as that, so that long lines
    /// do not cost the square of their length.
    fn fill(&mut self) -> io::Result<()> {
        let size = self.left.min(self.chunk.max(self.held.len()) as u64);
        self.left -= size;
        let mut chunk = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.borrow().read_exact_at(&mut chunk, self.left)?;
        chunk.append(&mut self.held);
        self.held = chunk;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use proptest::prelude::*;

    use super::{Lines, LinesBack};

    proptest! {
        #[test]
        fn forwards_and_backwards_say_the_same(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..200),
            chunk in 1usize..9,
        ) {
            let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();

            let mut lines = Lines::new(BufReader::with_capacity(chunk, &bytes[..]));
            let mut at = 0;
            for (index, line) in expected.iter().enumerate() {
                let last = index + 1 == expected.len();
                if last && line.is_empty() { break; }
                let peeked = lines.peek(0).unwrap().cloned();
                let found = lines.next().unwrap().unwrap();
                prop_assert_eq!(peeked, Some(found.clone()));
                prop_assert_eq!((found.at, found.ended), (at, !last));
                prop_assert_eq!(&found.bytes[..], *line);
                at += line.len() as u64 + 1;
            }
            prop_assert_eq!(lines.next().unwrap(), None);

            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            let mut back = LinesBack::with_chunk(&file, bytes.len() as u64, chunk);
            while let Some(line) = back.next().unwrap() {
                prop_assert_eq!(&line[..], expected.pop().unwrap());
            }
            prop_assert!(expected.is_empty());
        }
    }

    #[test]
    fn a_line_longer_than_any_record_is_passed_over() {
        let mut bytes = vec![b'x'; super::MAX_RECORD + 5];
        bytes.extend(b"\nnext\n");
        let mut lines = Lines::new(&bytes[..]);
        let long = lines.next().unwrap().unwrap();
        assert_eq!((long.len, long.ended), (super::MAX_RECORD as u64 + 5, true));
        assert!(long.bytes.is_empty());
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"next");
    }
}

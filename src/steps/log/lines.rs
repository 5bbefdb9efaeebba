//! Whole lines out of a stream of bytes, in memory that does not grow with it.
//!
//! A chunk is as many whole lines as are there. A line that is longer than the largest buffer comes
//! in pieces, each of which begins with the end of the one before, so that what spans a cut is seen
//! by whoever looks for something shorter than the overlap.

use std::io::{ErrorKind, Read};

use memchr::{memchr, memrchr};

/// The sizes of a buffer, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// At first.
    pub buffer: usize,
    /// At most: longer lines come in pieces.
    pub longest: usize,
    /// How much of a piece is repeated by the next one; less than `longest`, at least 1.
    /// Who leaves out a byte on each side, because the line goes on there, sees what is up to two
    /// bytes shorter than this, and with `\r` at the end of the line three.
    pub overlap: usize,
}

impl Sizes {
    /// 256 KiB fit the second-level cache of a processor, so that what the kernel has just copied
    /// is searched there.
    pub const USUAL: Self = Self {
        buffer: 256 << 10,
        longest: 4 << 20,
        overlap: 64 << 10,
    };
}

/// Some of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Whole lines. The last line of a stream may be without a line break.
    Lines(&'a [u8]),
    /// A piece of a line, without its line break.
    Piece {
        /// The piece.
        bytes: &'a [u8],
        /// Whether the line begins with it.
        first: bool,
        /// Whether the line ends with it.
        last: bool,
    },
}

/// A stream of bytes, as chunks.
pub struct Lines<R> {
    source: R,
    sizes: Sizes,
    buffer: Vec<u8>,
    /// What has been handed out, and is not needed any more, ends here.
    start: usize,
    /// What has been read ends here.
    end: usize,
    /// What has been looked through for line breaks ends here.
    searched: usize,
    /// Whether the buffer begins within a line, with what the next piece repeats.
    within: bool,
    ended: bool,
    read: u64,
}

impl<R: Read> Lines<R> {
    /// The lines of `source`.
    pub fn new(source: R, sizes: Sizes) -> Self {
        Self {
            source,
            sizes,
            buffer: vec![0; sizes.buffer],
            start: 0,
            end: 0,
            searched: 0,
            within: false,
            ended: false,
            read: 0,
        }
    }

    /// How many bytes have been read.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// When the stream cannot be read any further.
    pub fn next(&mut self) -> std::io::Result<Option<Chunk<'_>>> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.searched -= self.start;
        self.start = 0;
        loop {
            let from = self.searched;
            let fresh = &self.buffer[from..self.end];
            self.searched = self.end;
            if self.within {
                if let Some(at) = memchr(b'\n', fresh) {
                    return Ok(Some(self.finish(from + at, 1)));
                }
            } else if let Some(at) = memrchr(b'\n', fresh) {
                self.start = from + at + 1;
                return Ok(Some(Chunk::Lines(&self.buffer[..self.start])));
            }
            if self.ended {
                break;
            }
            if self.end == self.buffer.len() {
                if self.buffer.len() >= self.sizes.longest {
                    return Ok(Some(self.cut()));
                }
                let larger = (self.buffer.len() * 2).min(self.sizes.longest);
                self.buffer.resize(larger, 0);
            }
            self.fill()?;
        }
        if self.within {
            return Ok(Some(self.finish(self.end, 0)));
        }
        self.start = self.end;
        Ok((self.end > 0).then(|| Chunk::Lines(&self.buffer[..self.end])))
    }

    /// Reads once.
    fn fill(&mut self) -> std::io::Result<()> {
        let count = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.ended = count == 0;
        self.end += count;
        self.read += count as u64;
        Ok(())
    }

    /// A piece that is not the last of its line.
    fn cut(&mut self) -> Chunk<'_> {
        let first = !self.within;
        self.within = true;
        self.start = self.end - self.sizes.overlap;
        Chunk::Piece {
            bytes: &self.buffer[..self.end],
            first,
            last: false,
        }
    }

    /// The last piece of a line, up to `end`, followed by `line_break` bytes.
    fn finish(&mut self, end: usize, line_break: usize) -> Chunk<'_> {
        self.within = false;
        self.start = end + line_break;
        self.searched = self.start;
        Chunk::Piece {
            bytes: &self.buffer[..end],
            first: false,
            last: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Chunk, Lines, Sizes};

    /// Gives no more than `most` bytes at once.
    struct Slow<'a>(&'a [u8], usize);

    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x'), any::<u8>()], 0..300),
            buffer in 2..20_usize,
            more in 0..20_usize,
            overlap in 1..4_usize,
            most in 1..40_usize,
        ) {
            let longest = (buffer + more).max(overlap + 1);
            let sizes = Sizes { buffer, longest, overlap };
            let mut lines = Lines::new(Slow(&text, most), sizes);
            let mut all = Vec::new();
            let mut pieces = 0;
            while let Some(chunk) = lines.next().unwrap() {
                match chunk {
                    Chunk::Lines(bytes) => {
                        prop_assert_eq!(pieces, 0);
                        prop_assert!(!bytes.is_empty());
                        let whole = bytes.ends_with(b"\n") || all.len() + bytes.len() == text.len();
                        prop_assert!(whole);
                        all.extend_from_slice(bytes);
                    }
                    Chunk::Piece { bytes, first, last } => {
                        prop_assert!(bytes.len() <= longest && !bytes.contains(&b'\n'));
                        prop_assert_eq!(first, pieces == 0);
                        let repeated = if first { 0 } else { overlap };
                        prop_assert!(all.ends_with(&bytes[..repeated]));
                        all.extend_from_slice(&bytes[repeated..]);
                        pieces += 1;
                        if last {
                            pieces = 0;
                            if all.len() < text.len() {
                                all.push(b'\n');
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(lines.bytes_read(), text.len() as u64);
            prop_assert_eq!(all, text);
        }
    }
}

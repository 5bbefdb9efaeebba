//! One text, looked for in many lines at once.
//!
//! A vector search for two bytes of the text at once reads each byte of the lines twice; one for a
//! single byte that is rare reads it once, and is four times as fast. Which byte is rare, if any,
//! depends on the lines: so one after the other is tried, and then the search for two.

use std::sync::atomic::{AtomicUsize, Ordering};

use memchr::arch::all::packedpair::Pair;
use memchr::memchr;
use memchr::memmem::{Finder, FinderBuilder};

/// How many bytes a search for one byte has to skip for each place where the text then is not, to
/// be the faster one.
const WORTH: usize = 512;

/// What a search begins with: two places are not held against it.
const CREDIT: usize = 2 * WORTH;

/// How many bytes are tried at most.
const TRIED: usize = 4;

/// A text to look for.
#[derive(Debug)]
pub struct Literal {
    finder: Finder<'static>,
    /// Where in the text the bytes are that may be rare, those first that are so in texts at large.
    rare: Vec<usize>,
    /// Which of them is tried. Past the last one, the lines have plenty of each.
    turn: AtomicUsize,
}

impl Literal {
    /// To look for `text`.
    pub fn new(text: &[u8]) -> Self {
        let pair = Pair::new(text).map(|pair| [pair.index1(), pair.index2()].map(usize::from));
        let mut rare: Vec<usize> = Vec::new();
        for at in pair.into_iter().flatten().chain(0..text.len()) {
            if rare.len() < TRIED && rare.iter().all(|other| text[*other] != text[at]) {
                rare.push(at);
            }
        }
        Self {
            finder: FinderBuilder::new().build_forward(text).into_owned(),
            rare,
            turn: AtomicUsize::new(0),
        }
    }

    /// Where it is first.
    pub fn find(&self, lines: &[u8]) -> Option<usize> {
        let text = self.finder.needle();
        let mut from = 0;
        while let Some(at) = self.rare.get(self.turn.load(Ordering::Relaxed)) {
            let (begin, mut spent) = (from, 0);
            while spent <= from - begin + CREDIT {
                let start = from + memchr(text[*at], lines.get(from + at..)?)?;
                if lines[start..].starts_with(text) {
                    return Some(start);
                }
                from = start + 1;
                spent += WORTH;
            }
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        self.finder.find(&lines[from..]).map(|found| from + found)
    }

    /// Whether it is there at all.
    pub fn is_in(&self, lines: &[u8]) -> bool {
        self.find(lines).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Literal, WORTH};

    fn naive(text: &[u8], lines: &[u8]) -> Option<usize> {
        { lines }.windows(text.len()).position(|part| part == text)
    }

    proptest! {
        #[test]
        fn finds_what_a_plain_search_finds(
            text in proptest::collection::vec(b'a'..b'd', 1..6),
            lines in proptest::collection::vec(b'a'..b'e', 0..200),
        ) {
            prop_assert_eq!(Literal::new(&text).find(&lines), naive(&text, &lines));
        }
    }

    #[test]
    fn goes_on_with_the_other_search_from_where_it_is() {
        for text in ["x", "ab", "ERROR", "错误", "aaaa"] {
            // Its bytes at every distance from each other, before it and after it.
            for distance in [0, 1, 7, WORTH / 2, 2 * WORTH] {
                let mut lines = Vec::new();
                for byte in text.bytes().cycle().take(40) {
                    lines.push(byte);
                    lines.resize(lines.len() + distance.max(1), b'.');
                }
                let literal = Literal::new(text.as_bytes());
                assert_eq!(literal.find(&lines), naive(text.as_bytes(), &lines));
                lines.extend_from_slice(text.as_bytes());
                lines.extend_from_slice(b"\nERROR");
                assert_eq!(literal.find(&lines), naive(text.as_bytes(), &lines));
                assert!(literal.is_in(&lines));
            }
        }
    }
}

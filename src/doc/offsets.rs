//! From the scanner's count of characters to bytes.

use std::ops::Range;

/// Bytes of character indices in one text.
///
/// The scanner counts characters. Questions come nearly in order, so it walks from the last answer;
/// in an ASCII text the two counts are the same.
pub(super) struct Offsets<'a> {
    text: &'a str,
    inserted: Option<Range<usize>>,
    ascii: bool,
    index: usize,
    byte: usize,
}

impl<'a> Offsets<'a> {
    /// For `text`, of which the bytes `inserted` are not in the file.
    pub(super) fn new(text: &'a str, inserted: Option<Range<usize>>) -> Self {
        Self {
            text,
            inserted,
            ascii: text.is_ascii(),
            index: 0,
            byte: 0,
        }
    }

    /// The byte of the file at which character `index` of the text starts; the end for what lies
    /// past it.
    #[inline]
    pub(super) fn byte(&mut self, index: usize) -> usize {
        let byte = if self.ascii {
            index.min(self.text.len())
        } else {
            self.walk(index)
        };
        match &self.inserted {
            Some(inserted) if byte > inserted.start => byte.max(inserted.end) - inserted.len(),
            _ => byte,
        }
    }

    fn walk(&mut self, index: usize) -> usize {
        let bytes = self.text.as_bytes();
        let starts = |byte: &u8| byte & 0xc0 != 0x80;
        while self.index < index && self.byte < bytes.len() {
            self.byte += 1;
            if bytes.get(self.byte).is_none_or(starts) {
                self.index += 1;
            }
        }
        while self.index > index {
            self.byte -= 1;
            if starts(&bytes[self.byte]) {
                self.index -= 1;
            }
        }
        self.byte
    }
}

#[cfg(test)]
mod tests {
    use super::Offsets;

    #[test]
    fn counts_characters_both_ways() {
        let text = "aäb€c𝄞d";
        let expected: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let mut offsets = Offsets::new(text, None);
        for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0]] {
            for index in order {
                assert_eq!(offsets.byte(index), expected[index]);
            }
        }
        assert_eq!(offsets.byte(7), text.len());
        assert_eq!(offsets.byte(100), text.len());
        assert_eq!(offsets.byte(3), expected[3]);
    }

    #[test]
    fn leaves_out_what_was_inserted() {
        let mut offsets = Offsets::new("ä--b", Some(2..4));
        let bytes: Vec<usize> = (0..6).map(|index| offsets.byte(index)).collect();
        assert_eq!(bytes, [0, 2, 2, 2, 3, 3]);
    }
}

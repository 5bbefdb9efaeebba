//! Lines of hex dumps, as `xxd`, `hexdump -C`, `od -tx1` and `openssl` write them.

use std::ops::Range;

/// The longest groups of digits that a tool makes: 8 bytes.
const WIDEST: usize = 16;

/// Longer lines are none: that of a whole key is 2048 digits.
const LONGEST: usize = 4096;

/// What is known of a line.
struct Parsed {
    /// Where its groups of digits are; an offset is an empty one.
    groups: Vec<Range<usize>>,
    /// Where they end.
    end: usize,
}

impl Parsed {
    /// Whether what follows the digits is nothing, or a column of text.
    fn ends_well(&self, text: &[u8]) -> bool {
        self.end == text.len() || text[..self.end].ends_with(b" ") || text[self.end] == b' '
    }
}

/// Whether a line that is not whole yet may become one of a dump.
pub(super) fn may_begin(text: &[u8]) -> bool {
    let Some(parsed) = parse(text) else {
        return text.trim_ascii().is_empty() && text.len() < LONGEST;
    };
    // The last group may not be whole either.
    let rest = &text[parsed.end..];
    let group = rest.len() < WIDEST && rest.iter().all(u8::is_ascii_hexdigit);
    group || parsed.groups.len() > 1 && parsed.ends_well(text)
}

/// Where the digits are in a line of a dump: without its offset, and without the text beside them.
/// Nothing where it is none. `goes_on` says that the line before was one: the last of them may be a
/// single byte.
pub(super) fn digits(text: &[u8], goes_on: bool) -> Option<Vec<Range<usize>>> {
    let mut parsed = parse(text)?;
    // An offset without a colon is longer than the groups after it.
    if let [first, second, ..] = &*parsed.groups
        && first.len() >= 6
        && first.len() != second.len()
    {
        parsed.groups[0] = first.start..first.start;
    }
    let bytes = { parsed.groups.iter() }.filter(|group| !group.is_empty());
    let enough = match bytes.count() {
        0 => false,
        1 => goes_on || parsed.groups.len() > 1,
        _ => true,
    };
    (enough && parsed.ends_well(text)).then_some(parsed.groups)
}

fn parse(text: &[u8]) -> Option<Parsed> {
    let mut end = text.len() - text.trim_ascii_start().len();
    if text.len() > LONGEST || !text.get(end).is_some_and(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut groups: Vec<Range<usize>> = Vec::new();
    // `xxd` alone has a colon after the offset, and two spaces before the text.
    let mut colon = false;
    loop {
        let rest = &text[end..];
        let length = rest.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let after = text.get(end + length);
        if length == 0 || !matches!(after, None | Some(b' ' | b':')) {
            break;
        }
        if groups.is_empty() && length >= 4 && after == Some(&b':') {
            colon = true;
            groups.push(end..end);
        } else if length % 2 == 0 && length <= WIDEST {
            groups.push(end..end + length);
        } else if groups.is_empty() && length <= WIDEST {
            // An offset of `od` has seven digits. Its beginning may have any number.
            groups.push(end..end);
        } else {
            break;
        }
        end += length;
        let gap = text[end..].iter().take_while(|b| b" :".contains(b)).count();
        let most = if colon && groups.len() > 1 { 1 } else { 2 };
        if !(1..=most).contains(&gap) {
            break;
        }
        end += gap;
    }
    (!groups.is_empty()).then_some(Parsed { groups, end })
}

#[cfg(test)]
mod tests {
    use super::{digits, may_begin};

    fn joined(line: &str, goes_on: bool) -> Option<String> {
        let tokens = digits(line.as_bytes(), goes_on)?;
        Some(tokens.into_iter().map(|token| &line[token]).collect())
    }

    #[test]
    fn lines_of_common_tools() {
        for line in [
            "00000000: 7333 6372 3374 2d43 616e 6172 792f 3432  s3cr3t-Canary/42",
            "00000000  73 33 63 72 33 74 2d 43  61 6e 61 72 79 2f 34 32  |s3cr3t-Canary/42|",
            "0000000 73 33 63 72 33 74 2d 43 61 6e 61 72 79 2f 34 32",
            "0000000 73 33 63 72 33 74 2d 43 61 6e 61 72 79 2f 34 32  >s3cr3t-Canary/42<",
            " 73 33 63 72 33 74 2d 43 61 6e 61 72 79 2f 34 32",
            "    73:33:63:72:33:74:2d:43:61:6e:61:72:79:2f:34:32",
            "7333 6372 3374 2d43 616e 6172 792f 3432",
        ] {
            let joined = joined(line, false);
            assert_eq!(
                joined.as_deref(),
                Some("7333637233742d43616e6172792f3432"),
                "{line}"
            );
            assert!(
                (1..=line.len()).all(|end| may_begin(&line.as_bytes()[..end])),
                "{line}"
            );
        }
        assert_eq!(joined("00000010: 3432  42", false).as_deref(), Some("3432"));
        assert_eq!(
            joined("00000010: 0a                   .", false).as_deref(),
            Some("0a")
        );
        assert_eq!(joined(" 32", true).as_deref(), Some("32"));
    }

    #[test]
    fn other_lines() {
        for line in [
            "",
            "2026-11-24T11:14:02Z error",
            "failed: x",
            "abc",
            "be",
            "12 apples and 7 pears",
            "Feed the cat",
            "1024 bytes",
            "deadbeef",
        ] {
            assert_eq!(joined(line, false), None, "{line}");
        }
        // Nothing is held back for what is none.
        for line in ["12 apples", "12% done", "2026-11-24T", "error"] {
            assert!(!may_begin(line.as_bytes()), "{line}");
        }
    }
}

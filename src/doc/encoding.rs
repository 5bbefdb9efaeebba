//! Bytes that may be no text at all: not UTF-8, or with characters that YAML does not allow.

use crate::base::{SourceId, Span};
use crate::diag::{Diagnostic, codes};

/// Where a file stops being UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not UTF-8 at line {line}, column {column}")]
pub struct Utf8Place {
    /// Line of the first byte that is wrong, from 1.
    pub line: usize,
    /// Its column, from 1, in characters.
    pub column: usize,
    /// Its offset in [`Utf8Place::text`].
    pub offset: usize,
    /// The text, with U+FFFD for what is not UTF-8: as the source to show.
    pub text: String,
    /// Whether it looks like UTF-16, by its first two bytes.
    pub utf16: bool,
}

/// The text of a file: UTF-8, its byte order mark removed.
///
/// # Errors
/// The place of the first byte that is not UTF-8.
pub fn decode_utf8(bytes: Vec<u8>) -> Result<String, Utf8Place> {
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with(BOM) {
                text.drain(..BOM.len_utf8());
            }
            Ok(text)
        }
        Err(error) => Err(place_of(error.as_bytes(), error.utf8_error().valid_up_to())),
    }
}

const BOM: char = '\u{feff}';

fn place_of(bytes: &[u8], valid: usize) -> Utf8Place {
    let lossy = String::from_utf8_lossy(bytes);
    let (text, offset) = match lossy.strip_prefix(BOM) {
        Some(rest) => (rest, valid - BOM.len_utf8()),
        None => (&*lossy, valid),
    };
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Utf8Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        offset,
        utf16: bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]),
        text: text.to_owned(),
    }
}

impl Utf8Place {
    /// The diagnostic, for when [`Utf8Place::text`] is known as `source`.
    pub fn diagnostic(&self, source: SourceId) -> Diagnostic {
        let end = self.offset + char::REPLACEMENT_CHARACTER.len_utf8();
        let help = if self.utf16 {
            "the file looks like UTF-16; save it as UTF-8"
        } else {
            "save the file as UTF-8"
        };
        Diagnostic::error(codes::YAML_ENCODING, "the file is not UTF-8")
            .label(Span::new(source, self.offset, end), "the first wrong byte")
            .help(help)
    }
}

/// Refuses a text with a character that YAML does not allow (§5.1 of its specification).
pub(super) fn check_characters(source: SourceId, text: &str) -> Result<(), Box<Diagnostic>> {
    // The common case first, in a form that the compiler turns into vector instructions: no
    // control character, and none of the bytes that the others start with.
    let suspect = |byte: u8| {
        (byte < 0x20) & !matches!(byte, b'\t' | b'\n' | b'\r') | matches!(byte, 0x7f | 0xc2 | 0xef)
    };
    let any = |bytes: &[u8]| bytes.iter().fold(false, |any, byte| any | suspect(*byte));
    if !text.as_bytes().chunks(4096).any(any) {
        return Ok(());
    }
    let Some((at, found)) = text.char_indices().find(|(_, c)| !is_allowed(*c)) else {
        return Ok(());
    };
    let code = u32::from(found);
    let escape = match code {
        0..=0xff => format!("\\x{code:02x}"),
        _ => format!("\\u{code:04x}"),
    };
    Err(Box::new(
        Diagnostic::error(
            codes::YAML_SYNTAX,
            format!("the text holds the character U+{code:04X}, which YAML does not allow"),
        )
        .at(Span::new(source, at, at + found.len_utf8()))
        .help(format!(
            "remove it, or write it as an escape in double quotes: \"{escape}\""
        )),
    ))
}

fn is_allowed(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => !c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::{check_characters, decode_utf8};
    use crate::base::SourceId;

    #[test]
    fn tells_where_it_stops_being_utf8() {
        assert_eq!(decode_utf8("ä: b".into()).unwrap(), "ä: b");
        assert_eq!(decode_utf8("\u{feff}a: b".into()).unwrap(), "a: b");
        let place = decode_utf8(b"\xef\xbb\xbfa: b\n\xc3\xa4\xff: c".to_vec()).unwrap_err();
        assert_eq!((place.line, place.column, place.offset), (2, 2, 7));
        assert_eq!(place.text, "a: b\nä\u{fffd}: c");
        assert!(!place.utf16);
        let place = decode_utf8(b"\xff\xfea\0".to_vec()).unwrap_err();
        assert_eq!((place.line, place.column, place.offset), (1, 1, 0));
        assert!(place.utf16);
    }

    #[test]
    fn control_characters_are_told() {
        for (text, allowed) in [
            ("a: \"ä…😀\"\r\n\tb", true),
            ("a: \u{85}\u{feff}", true),
            ("a: \0", false),
            ("a: \x1b[1m", false),
            ("a: \x7f", false),
            ("a: \u{9b}", false),
            ("a: \u{ffff}", false),
        ] {
            assert_eq!(
                check_characters(SourceId(0), text).is_ok(),
                allowed,
                "{text:?}"
            );
        }
    }
}

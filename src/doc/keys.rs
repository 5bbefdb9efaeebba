//! Keys of mappings: what can be one, and that each stands once.

use std::collections::HashMap;

use super::braces;
use super::budget::MAX_FINDINGS;
use super::node::{Entry, Kind, Node, ScalarStyle};
use crate::base::{Span, Spanned};
use crate::diag::{Diagnostic, Diagnostics, codes};

/// The key that `node`, written at `written`, is; `None` where it cannot be one, which is reported.
pub(super) fn of_node(
    node: Node,
    written: Span,
    text: &str,
    out: &mut Diagnostics,
) -> Option<Spanned<Box<str>>> {
    let refused = match node.kind {
        Kind::Scalar(scalar) if scalar.style == ScalarStyle::Plain && scalar.text.is_empty() => {
            Diagnostic::error(codes::YAML_KEY, "a mapping entry without a key")
                .label(written, "a key belongs here")
                .help("write `key: value`")
        }
        Kind::Scalar(scalar) if scalar.style == ScalarStyle::Plain && &*scalar.text == "<<" => {
            merge_key(written)
        }
        Kind::Scalar(scalar) => return Some(Spanned::new(scalar.text, written)),
        Kind::Seq(_) | Kind::Map(_) => braces::double_braces(written, text).unwrap_or_else(|| {
            Diagnostic::error(codes::YAML_KEY, "a mapping key that is not a text")
                .label(written, "keys are texts")
                .help("write `key: value`, with a plain text as the key")
        }),
    };
    out.push(refused);
    None
}

fn merge_key(span: Span) -> Diagnostic {
    Diagnostic::error(
        codes::UNKNOWN_KEY,
        "merge keys (`<<`) are not part of YAML 1.2 and not supported",
    )
    .at(span)
    .help("write the entries out, or repeat a whole value with an anchor: `a: &x {…}`, `b: *x`")
}

/// Mappings up to this many entries are compared pair by pair, which is faster than hashing.
const FEW: usize = 12;

/// Reports keys that stand twice among the entries from `base` on, and takes the later ones out.
pub(super) fn refuse_duplicates(entries: &mut Vec<Entry>, base: usize, out: &mut Diagnostics) {
    let own = &entries[base..];
    let mut doubles: Vec<usize> = Vec::new();
    let mut tell = |first: &Entry, at: usize| {
        doubles.push(at);
        if doubles.len() <= MAX_FINDINGS {
            out.push(duplicate(first, &own[at]));
        }
    };
    if own.len() <= FEW {
        for (at, entry) in own.iter().enumerate().skip(1) {
            let same = |other: &&Entry| other.key.value == entry.key.value;
            if let Some(first) = own[..at].iter().find(same) {
                tell(first, at);
            }
        }
    } else {
        let mut seen: HashMap<&str, &Entry> = HashMap::with_capacity(own.len());
        for (at, entry) in own.iter().enumerate() {
            match seen.get(&*entry.key.value) {
                Some(first) => tell(first, at),
                None => {
                    seen.insert(&entry.key.value, entry);
                }
            }
        }
    }
    if doubles.is_empty() {
        return;
    }
    let mut next = 0;
    let mut at = 0;
    let kept: Vec<Entry> = entries
        .drain(base..)
        .filter(|_| {
            let double = doubles.get(next) == Some(&at);
            next += usize::from(double);
            at += 1;
            !double
        })
        .collect();
    entries.extend(kept);
}

fn duplicate(first: &Entry, second: &Entry) -> Diagnostic {
    let key = &first.key.value;
    Diagnostic::error(
        codes::YAML_DUPLICATE_KEY,
        format!("the key `{key}` stands twice in this mapping"),
    )
    .label(second.key.span, "the second one")
    .also(first.key.span, "the first one")
    .help("remove one of the two")
}

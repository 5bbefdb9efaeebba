//! Tags: those of the core schema say a value's type, all others are refused.

use saphyr_parser::Tag;

use super::resolve::CoreTag;
use crate::base::{Span, suggest};
use crate::diag::{Diagnostic, Diagnostics, codes, did_you_mean};

const CORE: &str = "tag:yaml.org,2002:";

/// The tag of a scalar with this text; `None` where it is refused, which is reported.
pub(super) fn of_scalar(
    tag: &Tag,
    text: &str,
    span: Span,
    out: &mut Diagnostics,
) -> Option<CoreTag> {
    let core = known(tag, span, out)?;
    if core.apply(text).is_none() {
        out.push(
            Diagnostic::error(
                codes::YAML_TAG,
                format!("`{text}` is not what its tag says"),
            )
            .label(span, "this tag asks for another type")
            .help("remove the tag: fields take the type that they need by themselves"),
        );
        return None;
    }
    Some(core)
}

/// Checks the tag of a mapping or sequence.
pub(super) fn of_collection(tag: &Tag, is_map: bool, span: Span, out: &mut Diagnostics) {
    // `!` alone asks for what a collection is anyway.
    if is_bare(tag) {
        return;
    }
    let Some(core) = known(tag, span, out) else {
        return;
    };
    let (right, what) = if is_map {
        (CoreTag::Map, "a mapping")
    } else {
        (CoreTag::Seq, "a sequence")
    };
    if core != right {
        out.push(
            Diagnostic::error(codes::YAML_TAG, format!("{what} is not what its tag says"))
                .label(span, "this tag asks for another type")
                .help("remove the tag: fields take the type that they need by themselves"),
        );
    }
}

/// Whether it is `!`, which makes a scalar a text.
fn is_bare(tag: &Tag) -> bool {
    tag.handle.is_empty() && tag.suffix == "!"
}

fn known(tag: &Tag, span: Span, out: &mut Diagnostics) -> Option<CoreTag> {
    if is_bare(tag) {
        return Some(CoreTag::Str);
    }
    // A verbatim tag, `!<tag:yaml.org,2002:str>`, comes without a handle.
    let name = match tag.handle.as_str() {
        CORE => Some(tag.suffix.as_str()),
        "" => tag.suffix.strip_prefix(CORE),
        _ => None,
    };
    let found = name.and_then(|name| CoreTag::ALL.iter().find(|(known, _)| *known == name));
    if let Some((_, core)) = found {
        return Some(*core);
    }
    out.push(unknown(&tag.suffix, span));
    None
}

/// RB108.
pub(super) fn unknown(suffix: &str, span: Span) -> Diagnostic {
    let near = suggest::nearest(suffix, CoreTag::ALL.iter().map(|(name, _)| *name));
    let near = near.map(|name| format!("!!{name}"));
    Diagnostic::error(codes::YAML_TAG, "a tag that is not known here")
        .label(span, "only the core tags, such as `!!str`, mean something")
        .maybe_help(did_you_mean(near.as_deref()))
        .help("remove the tag; a secret is declared under `secrets:`, a text is quoted")
}

//! What the scanner says, as a diagnostic: one sentence, the place, and the cure where the text
//! around the place shows it.
//!
//! The scanner's own messages are told apart by a few of their words. What none of the rules knows
//! is passed on as it is, so a new version of the scanner costs a cure and never a finding.

use saphyr_parser::ScanError;

use super::excerpt::Excerpt;
use super::{braces, budget, causes, tags};
use crate::base::{Span, suggest};
use crate::diag::{Diagnostic, codes, did_you_mean};

/// Makes the diagnostic for a place.
type Rule = fn(&Excerpt<'_>) -> Diagnostic;

/// Words of a message, and what it means. The first that fits is taken.
const RULES: &[(&str, Rule)] = &[
    ("unknown anchor", unknown_anchor),
    ("the handle wasn't declared", unknown_tag),
    ("a tag", unknown_tag),
    ("verbatim tag", unknown_tag),
    ("recursion limit", |place| *budget::too_deep(place.word())),
    (
        "must be followed by a valid YAML whitespace",
        causes::tab_after_indicator,
    ),
    ("mapping values are not allowed", causes::colon),
    ("simple key expect", causes::line_without_colon),
    ("expected key", causes::indentation),
    ("expected '-' indicator", causes::not_an_item),
    ("invalid indentation in quoted scalar", causes::open_quote),
    ("unexpected end of stream", causes::open_quote),
    ("unexpected document indicator", causes::open_quote),
    ("invalid trailing content", causes::after_quote),
    ("unknown escape", causes::escape),
    ("expected hexadecimal", causes::escape),
    ("Unicode character escape", causes::escape),
    ("unexpected character", causes::reserved_character),
    ("scanning an anchor or alias", causes::reserved_character),
    ("mapping keys are not allowed", causes::reserved_character),
    ("cannot start with '-'", causes::reserved_character),
    ("expected node content", causes::no_value),
    ("directive", causes::directive),
    ("byte order mark", causes::byte_order_mark),
    ("sequence entries are not allowed", causes::dash_after_key),
    ("only valid inside a block", causes::dash_in_brackets),
    ("expected ',' or", causes::open_bracket),
    ("illegal placement of ':'", causes::open_bracket),
    ("misplaced bracket", causes::stray_bracket),
    ("may not precede any of", causes::colon_without_space),
    ("expected <document start>", causes::after_document),
    ("wrongly indented line in block scalar", causes::indentation),
    ("invalid indentation", causes::indentation),
    ("while scanning a block scalar", causes::block_header),
    ("comment intercepting", causes::comment_in_value),
    ("a comment needs a space", causes::comment_without_space),
];

/// The diagnostic for `error`, which is at the excerpt's place.
pub(super) fn explain(error: &ScanError, place: &Excerpt<'_>) -> Diagnostic {
    let info = error.info();
    // The one message that the scanner has outside brackets alone.
    let in_block = info.contains("mapping values are not allowed");
    if let Some(found) = braces::unquoted_expression(place).filter(|_| !in_block) {
        return found;
    }
    if let Some(found) = causes::tab(place, info.contains("tab")) {
        return found;
    }
    match RULES.iter().find(|(words, _)| info.contains(words)) {
        Some((_, rule)) => rule(place),
        None => Diagnostic::error(codes::YAML_SYNTAX, format!("this is not YAML: {info}"))
            .at(place.word()),
    }
}

fn unknown_anchor(place: &Excerpt<'_>) -> Diagnostic {
    let name = place.rest().get(1..).map_or("", anchor_name);
    let near = suggest::nearest(name, anchors(place.text));
    let near = near.map(|near| format!("*{near}"));
    let found = Diagnostic::error(
        codes::YAML_ALIAS,
        format!("there is no anchor `&{name}` above this alias"),
    )
    .at(place.span(place.at, place.at + 1 + name.len()))
    .maybe_help(did_you_mean(near.as_deref()));
    if near.is_some() {
        return found;
    }
    causes::quote_value(place, found)
}

fn anchor_name(rest: &str) -> &str {
    let end = rest.find(|c: char| c.is_whitespace() || ",[]{}".contains(c));
    &rest[..end.unwrap_or(rest.len())]
}

/// What may be an anchor's name anywhere in `text`: good enough to suggest one.
fn anchors(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('&')
        .map(|(at, _)| anchor_name(&text[at + 1..]))
        .filter(|name| !name.is_empty())
}

fn unknown_tag(place: &Excerpt<'_>) -> Diagnostic {
    tags::unknown(
        anchor_name(place.rest()).trim_start_matches('!'),
        place.word(),
    )
}

/// RB109, for an alias that would repeat itself without end.
pub(super) fn alias_inside_itself(span: Span) -> Diagnostic {
    Diagnostic::error(
        codes::YAML_ALIAS,
        "an alias inside the value that it repeats",
    )
    .at(span)
    .help("an alias repeats a value that is complete: move it out of the anchored value")
}

//! What a document may cost: size, depth, number of nodes, length of one scalar.
//!
//! Each limit is far above what people write, and low enough that no file exhausts the machine.

use super::anchors::{MAX_COPIED_BYTES, MAX_COPIED_NODES};
use super::build::Fatal;
use super::{feed, places};
use crate::base::{SourceId, Span};
use crate::diag::{Diagnostic, codes};

/// Bytes of one document.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Collections inside each other. The scanner itself ends at 255 brackets.
pub(super) const MAX_DEPTH: usize = 128;

/// Nodes and keys of one document, copies included: a playbook of 100,000 steps has about 1,000,000.
pub(super) const MAX_NODES: usize = 4_000_000;

/// Findings in one document: nobody reads more, and each costs more than the text that it is about.
pub(super) const MAX_FINDINGS: usize = 200;

/// Bytes of one scalar.
pub(super) const MAX_SCALAR: usize = 1024 * 1024;

const ELSEWHERE: &str = "move large data into a file that a step reads";

fn over(span: Span, message: String, help: &str) -> Fatal {
    Box::new(
        Diagnostic::error(codes::YAML_BUDGET, message)
            .at(span)
            .help(help),
    )
}

/// Whether a text of `bytes` is small enough to be read.
pub(super) fn check_size(source: SourceId, bytes: usize) -> Result<(), Fatal> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(over(
        Span::new(source, 0, 0),
        format!(
            "the file has {bytes} bytes; a playbook has at most {} MiB",
            MAX_BYTES >> 20
        ),
        ELSEWHERE,
    ))
}

pub(super) fn check_depth(depth: usize, span: Span) -> Result<(), Fatal> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(too_deep(span))
}

pub(super) fn too_deep(span: Span) -> Fatal {
    over(
        span,
        format!("mappings and sequences are nested deeper than {MAX_DEPTH} levels"),
        "no playbook is that deep: is a bracket or brace repeated by mistake?",
    )
}

pub(super) fn check_nodes(nodes: usize, span: Span) -> Result<(), Fatal> {
    if nodes <= MAX_NODES {
        return Ok(());
    }
    Err(over(
        span,
        format!("the file has more than {MAX_NODES} values"),
        ELSEWHERE,
    ))
}

pub(super) fn check_scalar(text: &str, span: Span) -> Result<(), Fatal> {
    if text.len() <= MAX_SCALAR {
        return Ok(());
    }
    Err(too_long(span))
}

fn too_long(span: Span) -> Fatal {
    over(
        first_line(span),
        format!("one value is longer than {} MiB", MAX_SCALAR >> 20),
        ELSEWHERE,
    )
}

/// A long text is shown by its start: its end is nowhere near a screen.
fn first_line(span: Span) -> Span {
    Span::new(span.source, span.start as usize, span.start as usize + 1)
}

pub(super) fn check_findings(findings: usize, source: SourceId, at: usize) -> Result<(), Fatal> {
    if findings < MAX_FINDINGS {
        return Ok(());
    }
    Err(over(
        Span::new(source, at, at),
        format!("the file has more than {MAX_FINDINGS} errors; the rest of it was not read"),
        "is it a playbook?",
    ))
}

pub(super) fn too_many_copies(span: Span) -> Fatal {
    over(
        span,
        format!(
            "the aliases of this file expand to more than {MAX_COPIED_NODES} values or {} MiB",
            MAX_COPIED_BYTES >> 20
        ),
        "repeat less by aliases: use `vars:` or `foreach:`",
    )
}

/// The scanner was stopped: what comes after `from` has to be read in one piece, and is too long.
pub(super) fn too_far_ahead(source: SourceId, text: &str, from: usize) -> Fatal {
    let bytes = text.as_bytes();
    let mut at = places::skip_blank(bytes, from);
    if at - from > feed::MAX_AHEAD / 2 {
        return over(
            Span::new(source, from, from),
            format!(
                "more than {} MiB of comments and blank lines follow",
                feed::MAX_AHEAD >> 21
            ),
            "remove them",
        );
    }
    while matches!(bytes.get(at), Some(b'-' | b'?' | b':' | b','))
        && matches!(bytes.get(at + 1), Some(b' ' | b'\n' | b'\r'))
    {
        at = places::skip_blank(bytes, at + 1);
    }
    let at = at.min(text.len().saturating_sub(1));
    let span = Span::new(source, at, at + 1);
    if matches!(bytes.get(at), Some(b'[' | b'{')) {
        return over(
            span,
            format!(
                "these brackets hold more than {} MiB",
                feed::MAX_AHEAD >> 20
            ),
            "write large mappings and sequences in block style, one entry a line",
        );
    }
    too_long(span)
}

/// RB103, at the second `---`.
pub(super) fn second_document(span: Span) -> Diagnostic {
    Diagnostic::error(codes::YAML_DOCUMENTS, "a second document starts here")
        .at(span)
        .help("a playbook is one YAML document: put the part after `---` into a file of its own")
}

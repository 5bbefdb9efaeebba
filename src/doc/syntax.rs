//! What the scanner says, as a diagnostic.

use saphyr_parser::ScanError;

use super::{budget, tags};
use crate::base::Span;
use crate::diag::{Diagnostic, codes};

/// The diagnostic for `error`, which is at `span`.
pub(super) fn explain(error: &ScanError, span: Span) -> Diagnostic {
    let info = error.info();
    if info.contains("recursion limit") {
        return *budget::too_deep(span);
    }
    if info.contains("the handle wasn't declared") {
        return tags::unknown("", span);
    }
    let code = if info.contains("unknown anchor") {
        codes::YAML_ALIAS
    } else {
        codes::YAML_SYNTAX
    };
    Diagnostic::error(code, format!("this is not YAML: {info}")).at(span)
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

//! YAML text → a tree in which every node knows its place.
//!
//! Reads one document of YAML 1.2 and keeps what a checker needs: the place of every value and key,
//! the order of keys, the spelling of numbers. It knows nothing of playbooks: what a key means is
//! for `model` to say, which reads mappings through [`MapReader`].
//!
//! Findings are diagnostics of the families RB1xx (the text) and RB409 (an expression that YAML
//! reads as a mapping). All but syntax errors and broken budgets leave a tree behind.

mod anchors;
mod braces;
mod budget;
mod build;
mod causes;
mod encoding;
mod excerpt;
mod feed;
mod keys;
mod locate;
mod node;
mod offsets;
mod places;
mod reader;
mod resolve;
mod scalars;
mod syntax;
mod tags;

#[cfg(test)]
mod tests;

pub use encoding::{Utf8Place, decode_utf8};
pub use node::{Entry, Kind, Map, Node, Scalar, ScalarStyle};
pub use reader::MapReader;
pub use resolve::Resolved;

use crate::base::{SourceId, Span};
use crate::diag::{Diagnostic, Diagnostics, codes};

/// A document: one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The text that the places in the tree are in.
    pub source: SourceId,
    /// The tree.
    pub root: Node,
}

/// The document in `text`, which is known to diagnostics as `source`.
///
/// `None` only where no tree could be built; `diagnostics` then says why. Of a key that stands
/// twice, the first is in the tree.
pub fn parse(source: SourceId, text: &str, diagnostics: &mut Diagnostics) -> Option<Document> {
    match read(source, text, diagnostics) {
        Ok(root) => Some(Document { source, root }),
        Err(fatal) => {
            if !follows_from(&fatal, diagnostics, text) {
                diagnostics.push(*fatal);
            }
            None
        }
    }
}

fn read(source: SourceId, text: &str, diagnostics: &mut Diagnostics) -> Result<Node, build::Fatal> {
    budget::check_size(source, text.len())?;
    encoding::check_characters(source, text)?;
    match build::build(source, text, diagnostics)? {
        Some(root) if !is_left_out(&root) => Ok(root),
        _ => Err(Box::new(
            Diagnostic::error(codes::YAML_EMPTY, "the file is empty")
                .at(Span::new(source, 0, 0))
                .help(
                    "a playbook starts with `runbook: v1`; `runbook init` writes one to begin with",
                ),
        )),
    }
}

/// Whether there is no document at all, or nothing but its `---`.
fn is_left_out(root: &Node) -> bool {
    root.as_scalar()
        .is_some_and(|scalar| scalar.text.is_empty())
        && root.is_null()
}

/// Whether a syntax error is on the line of an expression that YAML read as a mapping: then that
/// one has been told, with its cure.
fn follows_from(fatal: &Diagnostic, told: &Diagnostics, text: &str) -> bool {
    let place = |diagnostic: &Diagnostic| diagnostic.primary.as_ref().map(|label| label.span);
    let cause = told
        .iter()
        .last()
        .filter(|last| last.code == codes::EXPR_FLOW_STYLE);
    let (Some(cause), Some(at)) = (cause.and_then(place), place(fatal)) else {
        return false;
    };
    let between = text.get(cause.start as usize..at.start as usize);
    fatal.code == codes::YAML_SYNTAX
        && cause.source == at.source
        && between.is_some_and(|between| !between.contains('\n'))
}

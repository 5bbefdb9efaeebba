//! Anchored values, and the budget of their copies.
//!
//! An alias becomes a copy, so that everything after this room sees a plain tree. What a few lines
//! of aliases of aliases can expand to is bounded here ("billion laughs").

use std::collections::HashMap;

use super::node::Node;

/// Nodes that aliases may expand to, in one document.
pub(super) const MAX_COPIED_NODES: usize = 100_000;

/// Bytes of text that aliases may expand to, in one document.
pub(super) const MAX_COPIED_BYTES: usize = 64 * 1024 * 1024;

/// How large a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its nodes and keys.
    pub(super) nodes: usize,
    /// The bytes of their texts.
    pub(super) bytes: usize,
    /// Collections on the longest way down.
    pub(super) height: usize,
}

/// What an anchor stands for.
enum Anchored {
    Value(Node, Extent),
    /// A value of more nodes than aliases may expand to.
    TooLarge,
}

/// What an alias finds.
pub(super) enum Found<'a> {
    /// The value, to be copied.
    Value(&'a Node, Extent),
    /// The copy would not fit the budget.
    OverBudget,
    /// The value is not complete: the alias is inside it.
    Inside,
}

/// The anchors of one document.
pub(super) struct Anchors {
    /// Whether the text can have aliases at all; else nothing needs to be kept.
    used: bool,
    values: HashMap<usize, Anchored>,
    copied: Extent,
    kept: Extent,
}

impl Anchors {
    /// Those of `text`; none so far.
    pub(super) fn new(text: &str) -> Self {
        Self {
            used: memchr::memchr(b'*', text.as_bytes()).is_some(),
            values: HashMap::new(),
            copied: Extent::default(),
            kept: Extent::default(),
        }
    }

    /// Keeps a copy of the value that anchor `id` marks.
    pub(super) fn keep(&mut self, id: usize, node: &Node, extent: Extent) {
        if !self.used {
            return;
        }
        self.kept.nodes += extent.nodes;
        self.kept.bytes += extent.bytes;
        // Anchors inside anchored values are kept once a level: ten times the budget is room for
        // them, and still bounded.
        let fits = extent.nodes <= MAX_COPIED_NODES
            && self.kept.nodes <= 10 * MAX_COPIED_NODES
            && self.kept.bytes <= MAX_COPIED_BYTES;
        let anchored = if fits {
            Anchored::Value(node.clone(), extent)
        } else {
            Anchored::TooLarge
        };
        self.values.insert(id, anchored);
    }

    /// The value that an alias of anchor `id` repeats; counts as copied.
    pub(super) fn repeat(&mut self, id: usize) -> Found<'_> {
        match self.values.get(&id) {
            None => Found::Inside,
            Some(Anchored::TooLarge) => Found::OverBudget,
            Some(Anchored::Value(node, extent)) => {
                self.copied.nodes += extent.nodes;
                self.copied.bytes += extent.bytes;
                if self.copied.nodes > MAX_COPIED_NODES || self.copied.bytes > MAX_COPIED_BYTES {
                    return Found::OverBudget;
                }
                Found::Value(node, *extent)
            }
        }
    }
}

//! Drawings of a DAG: for the terminal, for Mermaid and Graphviz, as a picture.
//!
//! They know nothing of playbooks: whoever has a DAG fills a [`Graph`]. Drawing leaves out what
//! follows from the rest, so that a playbook in which every step waits for all above it is a chain.

mod dag;
mod dot;
mod lanes;
mod layout;
mod mermaid;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use std::str::FromStr;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;
pub use text::text;

use super::terminal::Look;
use crate::base::suggest::nearest;
use crate::event::{EffectClass, Section};

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// What it is of: a playbook's name.
    pub title: String,
    /// The steps, in the order in which they stand.
    pub nodes: Vec<Node>,
    /// What waits for what. Edges that name no node, or close a cycle, are not drawn.
    pub edges: Vec<Edge>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its name; may be empty.
    pub label: String,
    /// Its type.
    pub ty: String,
    /// Where it stands.
    pub section: Section,
    /// What it does to the world, where that is known before it runs: how it is coloured.
    pub effect: Option<EffectClass>,
    /// What else is worth a word: `when`, `foreach`, `retry`.
    pub notes: Vec<String>,
}

/// One step waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// The one that comes first, by its place in [`Graph::nodes`].
    pub from: usize,
    /// The one that waits.
    pub to: usize,
    /// Why it waits.
    pub kind: EdgeKind,
}

/// Why a step waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// It stands below.
    Order,
    /// An expression reads its result.
    Data,
    /// Its author says so.
    Needs,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drawing {
    /// Lines for the terminal.
    #[default]
    Text,
    /// A flowchart for Mermaid, which GitHub and GitLab draw in Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// A picture.
    Svg,
}

impl Drawing {
    /// Every drawing.
    pub const ALL: &[Self] = &[Self::Text, Self::Mermaid, Self::Dot, Self::Svg];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Mermaid => "mermaid",
            Self::Dot => "dot",
            Self::Svg => "svg",
        }
    }
}

impl std::fmt::Display for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text names no drawing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no way to draw a graph; {hint}")]
pub struct DrawingError {
    word: String,
    hint: String,
}

impl FromStr for Drawing {
    type Err = DrawingError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|drawing| drawing.as_str() == word);
        found.copied().ok_or_else(|| {
            let near = nearest(word, Self::ALL.iter().map(|drawing| drawing.as_str()));
            DrawingError {
                word: word.to_owned(),
                hint: near.map_or_else(
                    || "there are text, mermaid, dot, svg".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ),
            }
        })
    }
}

/// `graph` as `drawing`; `look` is for text alone.
pub fn draw(graph: &Graph, drawing: Drawing, look: &Look) -> String {
    match drawing {
        Drawing::Text => text(graph, look),
        Drawing::Mermaid => mermaid(graph),
        Drawing::Dot => dot(graph),
        Drawing::Svg => svg(graph),
    }
}

impl Node {
    /// The second line of its box: its name, else its type.
    fn subtitle(&self) -> &str {
        if self.label.is_empty() {
            &self.ty
        } else {
            &self.label
        }
    }

    /// What is worth a word beside it, the effect first where it is a warning.
    fn remarks(&self) -> Vec<&str> {
        let destroys = (self.effect == Some(EffectClass::Destroy)).then_some("destroys");
        let notes = self.notes.iter().map(String::as_str);
        destroys.into_iter().chain(notes).collect()
    }
}

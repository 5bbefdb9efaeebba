//! A graph as a Mermaid flowchart.

use std::fmt::Write as _;

use super::dag::{last_before_finally, worth_drawing};
use super::{EdgeKind, Graph, Node};
use crate::event::{EffectClass, Section};
use crate::report::clean;

/// Draws `graph` for Mermaid.
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::new();
    if !graph.title.is_empty() {
        // A title stands in YAML; quoted, it is a text whatever it holds.
        let title = serde_json::Value::from(clean::line(&graph.title).as_ref());
        let _ = writeln!(out, "---\ntitle: {title}\n---");
    }
    out.push_str("flowchart TD\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        if node.section == Section::Main {
            draw(&mut out, at, node, "  ");
        }
    }
    if graph
        .nodes
        .iter()
        .any(|node| node.section == Section::Finally)
    {
        out.push_str("  subgraph finally [\"finally\"]\n");
        for (at, node) in graph.nodes.iter().enumerate() {
            if node.section == Section::Finally {
                draw(&mut out, at, node, "    ");
            }
        }
        out.push_str("  end\n");
    }
    for (from, to, kind) in worth_drawing(graph) {
        let arrow = match kind {
            EdgeKind::Data => "-.->",
            EdgeKind::Order | EdgeKind::Needs => "-->",
        };
        let from = name(from, &graph.nodes[from]);
        let to = name(to, &graph.nodes[to]);
        let _ = writeln!(out, "  {from} {arrow} {to}");
    }
    for last in last_before_finally(graph) {
        let _ = writeln!(out, "  {} --> finally", name(last, &graph.nodes[last]));
    }
    out.push_str(
        "  classDef read fill:#eef6ee,stroke:#2e7d32,color:#1b1b1b\n\
         \x20 classDef change fill:#eef3fb,stroke:#1565c0,color:#1b1b1b\n\
         \x20 classDef destroy fill:#fdecea,stroke:#c62828,color:#1b1b1b\n",
    );
    out
}

fn draw(out: &mut String, at: usize, node: &Node, indent: &str) {
    let mut label = format!(
        "<b>{}</b><br/>{}",
        escape(&node.id),
        escape(node.subtitle())
    );
    let remarks = node.remarks();
    if !remarks.is_empty() {
        let _ = write!(label, "<br/><i>{}</i>", escape(&remarks.join(", ")));
    }
    let class = node
        .effect
        .map_or_else(String::new, |effect| format!(":::{effect}"));
    // A destructive step has a shape of its own: not colour alone.
    let (open, close) = match node.effect {
        Some(EffectClass::Destroy) => ("{{", "}}"),
        _ => ("[", "]"),
    };
    let name = name(at, node);
    let _ = writeln!(out, "{indent}{name}{open}\"{label}\"{close}{class}");
}

/// A name that is no word of Mermaid's (`end` is one, and it is a good id of a step).
fn name(at: usize, node: &Node) -> String {
    let plain = node
        .id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain && !node.id.is_empty() {
        format!("s_{}", node.id)
    } else {
        format!("n{at}")
    }
}

/// Mermaid's own entities: `#` and the name or number of the character, then `;`.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in clean::line(text).chars() {
        match c {
            '#' => out.push_str("#35;"),
            ';' => out.push_str("#59;"),
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '`' => out.push_str("#96;"),
            c => out.push(c),
        }
    }
    out
}

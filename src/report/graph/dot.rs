//! A graph for Graphviz.

use std::fmt::Write as _;

use super::dag::{last_before_finally, worth_drawing};
use super::{EdgeKind, Graph, Node};
use crate::event::{EffectClass, Section};
use crate::report::clean;

/// Draws `graph` in the DOT language.
pub fn dot(graph: &Graph) -> String {
    let mut out = format!("digraph {} {{\n", quote(&graph.title));
    out.push_str(
        "  rankdir=TB; compound=true; fontname=\"Helvetica\"; fontsize=11;\n\
         \x20 node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11, fillcolor=\"#f5f5f5\", color=\"#757575\"];\n\
         \x20 edge [color=\"#616161\", arrowsize=0.7];\n",
    );
    for node in graph
        .nodes
        .iter()
        .filter(|node| node.section == Section::Main)
    {
        draw(&mut out, node, "  ");
    }
    let mut finally = graph
        .nodes
        .iter()
        .filter(|node| node.section == Section::Finally)
        .peekable();
    if finally.peek().is_some() {
        out.push_str("  subgraph cluster_finally {\n    label=\"finally\"; style=dashed; color=\"#9e9e9e\";\n");
        finally.for_each(|node| draw(&mut out, node, "    "));
        out.push_str("  }\n");
    }
    for (from, to, kind) in worth_drawing(graph) {
        let style = match kind {
            EdgeKind::Data => " [style=dashed]",
            EdgeKind::Order | EdgeKind::Needs => "",
        };
        let from = quote(&graph.nodes[from].id);
        let to = quote(&graph.nodes[to].id);
        let _ = writeln!(out, "  {from} -> {to}{style};");
    }
    let first = graph
        .nodes
        .iter()
        .find(|node| node.section == Section::Finally);
    for last in last_before_finally(graph) {
        let last = quote(&graph.nodes[last].id);
        let first = first.map_or_else(String::new, |node| quote(&node.id));
        let _ = writeln!(out, "  {last} -> {first} [lhead=cluster_finally];");
    }
    out.push_str("}\n");
    out
}

fn draw(out: &mut String, node: &Node, indent: &str) {
    let mut lines = vec![escape(&node.id), escape(node.subtitle())];
    let remarks = node.remarks();
    if !remarks.is_empty() {
        lines.push(escape(&remarks.join(", ")));
    }
    let look = match node.effect {
        Some(EffectClass::Read) => ", fillcolor=\"#eef6ee\", color=\"#2e7d32\"",
        Some(EffectClass::Change) => ", fillcolor=\"#eef3fb\", color=\"#1565c0\"",
        // A destructive step has a shape of its own: not colour alone.
        Some(EffectClass::Destroy) => ", shape=octagon, fillcolor=\"#fdecea\", color=\"#c62828\"",
        None => "",
    };
    let id = quote(&node.id);
    let _ = writeln!(out, "{indent}{id} [label=\"{}\"{look}];", lines.join("\\n"));
}

fn quote(text: &str) -> String {
    format!("\"{}\"", escape(text))
}

fn escape(text: &str) -> String {
    clean::line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

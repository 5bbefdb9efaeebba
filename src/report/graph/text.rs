//! A graph for the terminal: what stands below waits for what stands above; what hangs on one line
//! runs side by side.

use std::fmt::Write as _;

use super::dag::{self, Dag};
use super::lanes::{self, Row};
use super::{Graph, Node};
use crate::event::{EffectClass, Section};
use crate::report::clean;
use crate::report::terminal::{Ink, Look, blanks, cut, pad, text_width};

/// The widest gutter that anybody can follow, in columns. Of a wider graph, each step says what it
/// waits for.
const MAX_GUTTER: usize = 24;

/// The widest that the column of ids becomes.
const MAX_ID: usize = 24;

/// Draws `graph` in lines, top to bottom.
pub fn text(graph: &Graph, look: &Look) -> String {
    let mut out = String::new();
    if graph.nodes.is_empty() {
        out.push_str("no steps\n");
        return out;
    }
    let (main, dag) = dag::section(graph, Section::Main);
    section(&mut out, graph, look, &main, &dag.reduced());
    let (finally, dag) = dag::section(graph, Section::Finally);
    if !finally.is_empty() {
        let _ = writeln!(out, "{}", look.paint(Ink::Dim, "finally"));
        section(&mut out, graph, look, &finally, &dag.reduced());
    }
    out
}

fn section(out: &mut String, graph: &Graph, look: &Look, nodes: &[usize], dag: &Dag) {
    let ids = nodes.iter().map(|node| graph.nodes[*node].id.len());
    let id = ids.max().unwrap_or(0).min(MAX_ID);
    let rows = lanes::rows(dag);
    let gutter = rows.iter().map(|row| row.gutter.chars().count()).max();
    let gutter = gutter.unwrap_or(0);
    if gutter > MAX_GUTTER.min(look.width.unwrap_or(usize::MAX) / 2) {
        return outline(out, graph, look, nodes, dag, id);
    }
    for Row {
        gutter: lines,
        node,
    } in rows
    {
        let lines = match node.map(|node| graph.nodes[nodes[node]].effect) {
            // A destructive step is another sign: not colour alone.
            Some(Some(EffectClass::Destroy)) => lines.replace('●', "◆"),
            _ => lines,
        };
        let mut padded = String::new();
        pad(&mut padded, &lines, gutter);
        let lines = if look.unicode { padded } else { ascii(&padded) };
        let _ = write!(out, "{}", look.paint(Ink::Dim, lines.trim_end()));
        let Some(node) = node else {
            out.push('\n');
            continue;
        };
        blanks(out, gutter - lines.trim_end().chars().count() + 1);
        describe(out, look, &graph.nodes[nodes[node]], id, gutter + 1, "");
    }
}

/// Each step in turn, with the names of those that it waits for.
fn outline(out: &mut String, graph: &Graph, look: &Look, nodes: &[usize], dag: &Dag, id: usize) {
    for node in &dag.order {
        let waits = dag.before[*node].iter();
        let waits: Vec<&str> = waits
            .map(|other| graph.nodes[nodes[*other]].id.as_str())
            .collect();
        let after = match waits.as_slice() {
            [] => String::new(),
            [one] => format!("after {one}"),
            several => format!("after {}", several.join(", ")),
        };
        let _ = write!(out, "{} ", look.paint(Ink::Dim, look.symbol("●", "*")));
        describe(out, look, &graph.nodes[nodes[*node]], id, 2, &after);
    }
}

/// Writes what a step is: id, name, type, and what is worth a word.
fn describe(out: &mut String, look: &Look, node: &Node, id: usize, at: usize, after: &str) {
    let mut padded = String::new();
    pad(&mut padded, &clean::line(&node.id), id);
    let ink = match node.effect {
        Some(EffectClass::Destroy) => Ink::Bad,
        _ => Ink::Strong,
    };
    let _ = write!(out, "{}  ", look.paint(ink, &padded));
    let remarks = node.remarks().join(", ");
    let mut parts = vec![
        (Ink::Plain, node.label.as_str()),
        (Ink::Warn, remarks.as_str()),
    ];
    // Without a name, the type says what it does.
    let place = if node.label.is_empty() { 0 } else { 2 };
    parts.insert(place, (Ink::Dim, node.ty.as_str()));
    parts.push((Ink::Help, after));
    // Cut, not wrapped: a second line would tear the lines of the gutter.
    let mut left = look
        .width
        .unwrap_or(usize::MAX)
        .saturating_sub(at + text_width(&padded) + 2);
    for (ink, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
        let text = clean::line(text);
        let shown = cut(look, &text, left);
        if left < 4 {
            break;
        }
        left = left.saturating_sub(text_width(&shown) + 2);
        let _ = write!(out, "{}  ", look.paint(ink, shown));
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// The lines of the gutter in ASCII.
fn ascii(lines: &str) -> String {
    let plain = |c| match c {
        '●' => '*',
        '◆' => '#',
        '│' => '|',
        '─' => '-',
        '╭' | '╮' => '.',
        '╰' | '╯' => '\'',
        '├' | '┤' | '┼' | '┴' => '+',
        other => other,
    };
    lines.chars().map(plain).collect()
}

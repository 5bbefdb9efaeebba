//! A graph as a picture that needs nothing else: no script, no font, no stylesheet.

use std::fmt::Write as _;

use super::dag::{self, worth_drawing};
use super::layout::{Layout, Spot};
use super::{EdgeKind, Graph, Node};
use crate::event::{EffectClass, Section};
use crate::report::clean;
use crate::report::terminal::{Look, cut, text_width};

/// The height of a box, and the room between layers for the edges.
const HEIGHT: f64 = 46.0;
const ROOM: f64 = 34.0;

/// The room around everything.
const MARGIN: f64 = 20.0;

/// What a column of text takes in the fonts below, in pixels, with some room: fonts differ.
const ID_COLUMN: f64 = 8.0;
const SMALL_COLUMN: f64 = 6.6;

/// The longest text in a box, in columns.
const MAX_TEXT: usize = 40;

const STYLE: &str = "\
text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1b1b1b}\
.id{font-size:13px;font-weight:600}.sub,.note{font-size:11px}.note{fill:#8a4b00}\
.box{fill:#f5f5f5;stroke:#757575}.read{fill:#eef6ee;stroke:#2e7d32}\
.change{fill:#eef3fb;stroke:#1565c0}.destroy{fill:#fdecea;stroke:#c62828;stroke-width:2.5}\
.edge{fill:none;stroke:#616161;stroke-width:1.3}.data{stroke-dasharray:4 3}\
.rule{stroke:#9e9e9e;stroke-dasharray:2 4}";

/// Draws `graph` as SVG.
pub fn svg(graph: &Graph) -> String {
    let mut body = String::new();
    let mut width: f64 = 0.0;
    let mut y = MARGIN;
    for part in [Section::Main, Section::Finally] {
        let (nodes, _) = dag::section(graph, part);
        if nodes.is_empty() {
            continue;
        }
        if part == Section::Finally {
            // Everything below the line runs after everything above it.
            let _ = writeln!(
                body,
                "<line class=\"rule\" x1=\"{MARGIN}\" x2=\"100%\" y1=\"{:.0}\" y2=\"{:.0}\"/>\n\
                 <text class=\"sub\" x=\"{MARGIN}\" y=\"{:.0}\">finally</text>",
                y - ROOM / 2.0,
                y - ROOM / 2.0,
                y - ROOM / 2.0 + 14.0
            );
            y += 14.0;
        }
        let picture = Picture::of(graph, &nodes, part);
        picture.draw(&mut body, y);
        width = width.max(picture.layout.width);
        y += picture.layout.layers as f64 * (HEIGHT + ROOM);
    }
    let width = width + 2.0 * MARGIN;
    let height = (y - ROOM + MARGIN).max(2.0 * MARGIN);
    let title = escape(&graph.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0,0 L8,4 L0,8 z\" fill=\"#616161\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// The boxes and edges of one section.
struct Picture<'a> {
    nodes: Vec<&'a Node>,
    kinds: Vec<EdgeKind>,
    layout: Layout,
}

impl<'a> Picture<'a> {
    fn of(graph: &'a Graph, nodes: &[usize], part: Section) -> Self {
        let (_, dag) = dag::section(graph, part);
        let place = |node: usize| nodes.binary_search(&node).ok();
        let mut edges = Vec::new();
        let mut kinds = Vec::new();
        for (from, to, kind) in worth_drawing(graph) {
            if let (Some(from), Some(to)) = (place(from), place(to)) {
                edges.push((from, to));
                kinds.push(kind);
            }
        }
        let nodes: Vec<&Node> = nodes.iter().map(|node| &graph.nodes[*node]).collect();
        let widths: Vec<f64> = nodes.iter().map(|node| box_width(node)).collect();
        Self {
            layout: Layout::of(&dag, &widths, &edges),
            nodes,
            kinds,
        }
    }

    fn draw(&self, out: &mut String, top: f64) {
        let spots = &self.layout.spots;
        for (path, kind) in self.layout.paths.iter().zip(&self.kinds) {
            edge(out, top, path.iter().map(|spot| &spots[*spot]), *kind);
        }
        for (node, spot) in self.nodes.iter().zip(spots) {
            draw_box(out, top, node, spot);
        }
    }
}

fn y_of(top: f64, spot: &Spot) -> f64 {
    top + spot.layer as f64 * (HEIGHT + ROOM)
}

/// A line from below one box to above another, past the points between.
fn edge<'a>(out: &mut String, top: f64, path: impl Iterator<Item = &'a Spot>, kind: EdgeKind) {
    let mut line = String::new();
    let mut last: Option<(f64, f64)> = None;
    for spot in path {
        let x = spot.x + MARGIN;
        let y = y_of(top, spot);
        match last {
            None => {
                let _ = write!(line, "M{x:.1},{:.1}", y + HEIGHT);
            }
            Some((before, bottom)) => {
                let middle = (bottom + y) / 2.0;
                let _ = write!(
                    line,
                    " C{before:.1},{middle:.1} {x:.1},{middle:.1} {x:.1},{y:.1}"
                );
                // On a point the line goes straight down the height of its layer.
                let _ = write!(line, " L{x:.1},{:.1}", y + HEIGHT);
            }
        }
        last = Some((x, y + HEIGHT));
    }
    // The last stretch would end inside the box.
    let end = line.rfind(" L").unwrap_or(line.len());
    let class = if kind == EdgeKind::Data {
        "edge data"
    } else {
        "edge"
    };
    let _ = writeln!(
        out,
        "<path class=\"{class}\" d=\"{}\" marker-end=\"url(#arrow)\"/>",
        &line[..end]
    );
}

fn shown(text: &str) -> String {
    cut(&Look::PLAIN, &clean::line(text), MAX_TEXT).into_owned()
}

fn note(node: &Node) -> String {
    shown(&node.remarks().join(", "))
}

fn box_width(node: &Node) -> f64 {
    let columns = |text: &str| text_width(text) as f64;
    let id = columns(&shown(&node.id)) * ID_COLUMN;
    let note = note(node);
    let note = if note.is_empty() {
        0.0
    } else {
        columns(&note) * SMALL_COLUMN + 16.0
    };
    let second = columns(&shown(node.subtitle())) * SMALL_COLUMN;
    (id + note).max(second) + 24.0
}

fn draw_box(out: &mut String, top: f64, node: &Node, spot: &Spot) {
    let class = node.effect.map_or("", EffectClass::as_str);
    let left = spot.x - spot.width / 2.0 + MARGIN;
    let y = y_of(top, spot);
    let _ = writeln!(
        out,
        "<g><title>{}</title><rect class=\"box {class}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{HEIGHT:.0}\" rx=\"6\"/>",
        escape(&tooltip(node)),
        spot.width
    );
    let mut text = |class: &str, x: f64, y: f64, anchor: &str, text: &str| {
        let text = escape(text);
        let _ = writeln!(
            out,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{text}</text>"
        );
    };
    text("id", left + 12.0, y + 19.0, "", &shown(&node.id));
    text("sub", left + 12.0, y + 36.0, "", &shown(node.subtitle()));
    let note = note(node);
    if !note.is_empty() {
        let right = left + spot.width - 10.0;
        text("note", right, y + 18.0, " text-anchor=\"end\"", &note);
    }
    out.push_str("</g>\n");
}

fn tooltip(node: &Node) -> String {
    let mut lines = vec![format!("{} ({})", node.id, node.ty)];
    if !node.label.is_empty() {
        lines.push(node.label.clone());
    }
    lines.extend(node.effect.map(|effect| format!("effect: {effect}")));
    lines.extend(node.notes.iter().cloned());
    clean::block(&lines.join("\n")).into_owned()
}

/// Text inside an element or an attribute.
fn escape(text: &str) -> String {
    clean::block(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

//! Graphs as snapshots: read them before you accept them.

use proptest::prelude::*;

use super::lanes::Row;
use super::{Drawing, Edge, EdgeKind, Graph, Node, dag, dot, draw, lanes, mermaid, svg, text};
use crate::event::{EffectClass, Section};
use crate::report::terminal::Look;

/// A graph from `a: b c` lines: `a` waits for `b` and `c`. `!` marks what destroys, `~` what stands
/// under `finally`, a `?` before a name an edge of data.
fn graph(lines: &str) -> Graph {
    let lines: Vec<&str> = lines
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let head = |line: &str| line.split(':').next().unwrap().trim().to_owned();
    let ids: Vec<String> = lines
        .iter()
        .map(|line| head(line).trim_matches(['!', '~']).to_owned())
        .collect();
    let mut graph = Graph {
        title: "example".to_owned(),
        ..Graph::default()
    };
    for (to, line) in lines.iter().enumerate() {
        let marks = head(line);
        graph.nodes.push(Node {
            id: ids[to].clone(),
            label: String::new(),
            ty: "exec.command".to_owned(),
            section: if marks.starts_with('~') {
                Section::Finally
            } else {
                Section::Main
            },
            effect: marks.ends_with('!').then_some(EffectClass::Destroy),
            notes: Vec::new(),
        });
        let (_, waits) = line.split_once(':').unwrap_or((line, ""));
        for word in waits.split_whitespace() {
            let id = word.trim_start_matches('?');
            graph.edges.push(Edge {
                from: ids.iter().position(|other| other == id).unwrap(),
                to,
                kind: if word.starts_with('?') {
                    EdgeKind::Data
                } else {
                    EdgeKind::Needs
                },
            });
        }
    }
    graph
}

/// Every step waits for all above it, as in a playbook without `needs`.
fn chain(steps: usize) -> Graph {
    let mut graph = graph(
        &(0..steps)
            .map(|n| format!("step_{n}\n"))
            .collect::<String>(),
    );
    for to in 0..steps {
        for from in 0..to {
            graph.edges.push(Edge {
                from,
                to,
                kind: EdgeKind::Order,
            });
        }
    }
    graph
}

/// The weekly maintenance of a database, with what a real one has.
fn weekly() -> Graph {
    let mut graph = graph(
        "connect
         bloat: connect
         purge!: connect
         sizes: connect
         reindex: ?bloat
         vacuum: purge reindex
         analyze: vacuum
         slow: connect
         compare: ?sizes analyze slow
         ~report: ?compare
         ~unlock",
    );
    let describe = |node: &mut Node, label: &str, ty: &str, effect, notes: &[&str]| {
        node.label = label.to_owned();
        node.ty = ty.to_owned();
        node.effect = Some(effect);
        node.notes = notes.iter().map(|note| (*note).to_owned()).collect();
    };
    let nodes = &mut graph.nodes;
    describe(&mut nodes[0], "", "postgres.ping", EffectClass::Read, &[]);
    describe(
        &mut nodes[1],
        "",
        "postgres.index_bloat",
        EffectClass::Read,
        &[],
    );
    describe(
        &mut nodes[2],
        "Purge expired audit rows",
        "postgres.purge",
        EffectClass::Destroy,
        &["approval"],
    );
    describe(
        &mut nodes[4],
        "Rebuild <bloated> indexes",
        "postgres.reindex",
        EffectClass::Change,
        &["foreach", "when"],
    );
    describe(
        &mut nodes[6],
        "刷新统计信息",
        "postgres.analyze",
        EffectClass::Change,
        &[],
    );
    graph
}

fn drawn(lines: &str) -> String {
    text(&graph(lines), &Look::PLAIN)
}

#[test]
fn a_chain_is_a_column() {
    insta::assert_snapshot!(text(&chain(5), &Look::PLAIN));
}

#[test]
fn side_by_side() {
    insta::assert_snapshot!(drawn("a\nb\nc\nd"));
}

#[test]
fn a_diamond() {
    insta::assert_snapshot!(drawn("start\nleft: start\nright: start\nend: left right"));
}

#[test]
fn a_comb() {
    insta::assert_snapshot!(drawn(
        "start\na: start\nb: start\nc: start\nd: start\nreport: a b c d\nmail: report"
    ));
}

#[test]
fn branches_of_several_steps() {
    insta::assert_snapshot!(drawn(
        "start\na1: start\na2: a1\na3: a2\nb1: start\nb2: b1\nc: start\nend: a3 b2 c"
    ));
}

#[test]
fn branches_that_take_turns() {
    insta::assert_snapshot!(drawn(
        "start\na1: start\nb1: start\na2: a1\nb2: b1\na3: a2\nend: a3 b2"
    ));
}

#[test]
fn everyone_waits_for_everyone() {
    insta::assert_snapshot!(drawn("a\nb\nc: a b\nd: a b\ne: c d\nf: c d\ng: e f"));
}

#[test]
fn crossing_edges() {
    insta::assert_snapshot!(drawn("a\nb\nc\nx: a b\ny: b c\nz: a c\nend: x y z"));
}

#[test]
fn a_week() {
    let graph = weekly();
    insta::assert_snapshot!(
        "week_text",
        text(
            &graph,
            &Look {
                width: Some(80),
                ..Look::PLAIN
            }
        )
    );
    insta::assert_snapshot!(
        "week_text_40",
        text(
            &graph,
            &Look {
                width: Some(40),
                ..Look::PLAIN
            }
        )
    );
    insta::assert_snapshot!(
        "week_ascii",
        text(
            &graph,
            &Look {
                unicode: false,
                ..Look::PLAIN
            }
        )
    );
    insta::assert_snapshot!("week_mermaid", mermaid(&graph));
    insta::assert_snapshot!("week_dot", dot(&graph));
    insta::assert_snapshot!("week_svg", svg(&graph));
}

#[test]
fn too_wide_to_follow() {
    let mut lines = String::new();
    for n in 0..16 {
        lines.push_str(&format!("a{n}\nb{n}: a{n}\n"));
    }
    // Each pair ends on its own, at the bottom.
    let order: String = (0..16)
        .map(|n| format!("a{n}\n"))
        .chain((0..16).map(|n| format!("b{n}: a{n}\n")))
        .collect();
    insta::assert_snapshot!(drawn(&order));
}

#[test]
fn nothing_at_all() {
    let empty = Graph::default();
    assert_eq!(text(&empty, &Look::PLAIN), "no steps\n");
    for drawing in Drawing::ALL {
        assert!(!draw(&empty, *drawing, &Look::PLAIN).is_empty());
    }
}

#[test]
fn texts_stay_texts() {
    let mut nasty = graph("end\nb: end");
    nasty.title = "a\" } --- <x>".to_owned();
    nasty.nodes[0].label = "\"<script>&`#;\\\n\u{1b}[2J".to_owned();
    let mermaid = mermaid(&nasty);
    assert!(
        mermaid.contains("s_end[\"<b>end</b><br/>#quot;#lt;script#gt;#amp;#96;#35;#59;\\ ␛[2J\"]"),
        "{mermaid}"
    );
    let dot = dot(&nasty);
    assert!(
        dot.contains("label=\"end\\n\\\"<script>&`#;\\\\ ␛[2J\""),
        "{dot}"
    );
    let svg = svg(&nasty);
    assert!(svg.contains("&quot;&lt;script&gt;&amp;`#;\\ ␛[2J"), "{svg}");
}

/// The edges that a reader sees in a gutter, by the rules that `lanes` states.
fn seen(rows: &[Row]) -> Vec<(usize, usize)> {
    let grid: Vec<Vec<char>> = rows
        .iter()
        .map(|row| row.gutter.chars().collect())
        .collect();
    let glyph = |row: usize, at: usize| {
        grid.get(row)
            .and_then(|r| r.get(at * 2))
            .copied()
            .unwrap_or(' ')
    };
    let link = |row: usize, at: usize| grid[row].get(at * 2 + 1) == Some(&'─');
    let left = |row: usize, at: usize| at > 0 && link(row, at - 1);
    let mut edges = Vec::new();
    for (start, row) in rows.iter().enumerate() {
        let Some(from) = row.node else { continue };
        let column = grid[start].iter().position(|c| *c == '●').unwrap() / 2;
        let mut down = vec![(start, column)];
        // To the right, a line goes out where it ends in `╮` or `┤`; in `╯` it comes in.
        let mut at = column;
        while link(start, at) {
            at += 1;
        }
        if at > column && matches!(glyph(start, at), '╮' | '┤') {
            down.push((start, at));
        }
        while let Some((row, at)) = down.pop() {
            let below = row + 1;
            let mut to_node = || edges.push((from, rows[below].node.unwrap()));
            match glyph(below, at) {
                '│' | '┤' => down.push((below, at)),
                '●' if glyph(row, at) == '●' && left(below, at) => {}
                '●' => to_node(),
                '├' | '┼' if rows[below].node.is_some() => {
                    to_node();
                    down.push((below, at));
                }
                '├' => down.push((below, at)),
                '╰' | '╯' if rows[below].node.is_none() => {
                    let step = if glyph(below, at) == '╰' {
                        1
                    } else {
                        usize::MAX
                    };
                    let mut to = at;
                    while !matches!(glyph(below, to), '├' | '┤') {
                        to = to.wrapping_add(step);
                    }
                    down.push((below, to));
                }
                '╰' | '╯' | '┴' => to_node(),
                _ => {}
            }
        }
    }
    edges.sort_unstable();
    edges
}

fn any_graph() -> impl Strategy<Value = Graph> {
    (1..30_usize).prop_flat_map(|nodes| {
        prop::collection::vec((0..nodes, 0..nodes), 0..60).prop_map(move |edges| {
            let mut graph = graph(&(0..nodes).map(|n| format!("n{n}\n")).collect::<String>());
            let edges = edges.into_iter().map(|(from, to)| Edge {
                from,
                to,
                kind: EdgeKind::Needs,
            });
            graph.edges = edges.collect();
            graph
        })
    })
}

proptest! {
    /// Cycles and all: a drawing never fails, and has every step once.
    #[test]
    fn everything_is_drawn_once(graph in any_graph()) {
        let lines = text(&graph, &Look::PLAIN);
        for node in &graph.nodes {
            let first = |line: &str| line.split_whitespace().find(|w| w.starts_with('n')).map(str::to_owned);
            let named = lines.lines().filter(|line| first(line).as_deref() == Some(&node.id));
            prop_assert_eq!(named.count(), 1, "{} {}", node.id, lines);
        }
        let picture = svg(&graph);
        prop_assert_eq!(picture.matches("<rect class=\"box").count(), graph.nodes.len());
        prop_assert!(!picture.contains("NaN"));
    }

    /// What a reader sees in the gutter is what waits for what, no more and no less.
    #[test]
    fn a_gutter_says_what_is(graph in any_graph()) {
        let (_, dag) = dag::section(&graph, Section::Main);
        let dag = dag.reduced();
        let rows = lanes::rows(&dag);
        let mut edges: Vec<(usize, usize)> = (0..dag.order.len())
            .flat_map(|from| dag.after[from].iter().map(move |to| (from, *to)))
            .collect();
        edges.sort_unstable();
        let drawn: Vec<&str> = rows.iter().map(|row| row.gutter.as_str()).collect();
        prop_assert_eq!(seen(&rows), edges, "\n{}", drawn.join("\n"));
    }
}

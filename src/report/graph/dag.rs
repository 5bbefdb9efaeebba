//! The order of a graph, and its edges without those that follow from others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{EdgeKind, Graph};
use crate::event::Section;

/// A graph without cycles, over nodes that are counted from 0.
#[derive(Debug)]
pub(super) struct Dag {
    /// The nodes, each after all that it waits for, otherwise as they stand.
    pub order: Vec<usize>,
    /// For each node, those that it waits for, in order.
    pub before: Vec<Vec<usize>>,
    /// For each node, those that wait for it, in order.
    pub after: Vec<Vec<usize>>,
}

impl Dag {
    /// Of `nodes` nodes and these edges; what closes a cycle is left out.
    pub(super) fn new(nodes: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut before = vec![Vec::new(); nodes];
        let mut after = vec![Vec::new(); nodes];
        for (from, to) in edges {
            if from < nodes && to < nodes && from != to {
                before[to].push(from);
                after[from].push(to);
            }
        }
        for list in before.iter_mut().chain(&mut after) {
            list.sort_unstable();
            list.dedup();
        }
        let order = order(&before, &after);
        let mut place = vec![0; nodes];
        for (at, node) in order.iter().enumerate() {
            place[*node] = at;
        }
        for node in 0..nodes {
            before[node].retain(|other| place[*other] < place[node]);
            after[node].retain(|other| place[*other] > place[node]);
        }
        Self {
            order,
            before,
            after,
        }
    }

    /// The same order, without the edges that follow from others.
    pub(super) fn reduced(&self) -> Self {
        let nodes = self.order.len();
        let words = nodes.div_ceil(64);
        // Who can be reached from whom: a row of bits for each node.
        let mut reach = vec![0_u64; words * nodes];
        let mut place = vec![0; nodes];
        for (at, node) in self.order.iter().enumerate() {
            place[*node] = at;
        }
        let mut edges = Vec::new();
        let mut reached = vec![0_u64; words];
        for node in self.order.iter().rev() {
            let mut next = self.after[*node].clone();
            next.sort_unstable_by_key(|to| place[*to]);
            reached.fill(0);
            for to in next {
                // The nearest come first: whoever they reach needs no edge.
                if reached[to / 64] & (1 << (to % 64)) != 0 {
                    continue;
                }
                edges.push((*node, to));
                reached[to / 64] |= 1 << (to % 64);
                for (mine, theirs) in reached.iter_mut().zip(&reach[to * words..]) {
                    *mine |= theirs;
                }
            }
            reach[node * words..][..words].copy_from_slice(&reached);
        }
        Self::new(nodes, edges)
    }
}

/// Each node after all that it waits for; among those that may come, the one that stands first.
fn order(before: &[Vec<usize>], after: &[Vec<usize>]) -> Vec<usize> {
    let mut waits: Vec<usize> = before.iter().map(Vec::len).collect();
    let free = (0..waits.len()).filter(|node| waits[*node] == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = free.map(Reverse).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for next in &after[node] {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                ready.push(Reverse(*next));
            }
        }
    }
    // In a cycle nobody comes first; they are drawn as they stand.
    let rest = (0..waits.len()).filter(|node| waits[*node] > 0);
    order.extend(rest);
    order
}

/// The nodes of one section, by their places in the graph, and the edges between them.
pub(super) fn section(graph: &Graph, section: Section) -> (Vec<usize>, Dag) {
    let nodes: Vec<usize> = (0..graph.nodes.len())
        .filter(|node| graph.nodes[*node].section == section)
        .collect();
    let place = |node: usize| nodes.binary_search(&node).ok();
    let edges = graph.edges.iter();
    let edges = edges.filter_map(|edge| Some((place(edge.from)?, place(edge.to)?)));
    let dag = Dag::new(nodes.len(), edges.collect::<Vec<_>>());
    (nodes, dag)
}

/// The edges worth drawing where there is room for more than the order: those that somebody wrote,
/// and of the rest those that do not follow from others. One between any two nodes.
///
/// That `finally` steps come after all others is told by where they stand.
pub(super) fn worth_drawing(graph: &Graph) -> Vec<(usize, usize, EdgeKind)> {
    let all = graph.edges.iter().map(|edge| (edge.from, edge.to));
    let dag = Dag::new(graph.nodes.len(), all);
    let reduced = dag.reduced();
    let mut drawn: BTreeMap<(usize, usize), EdgeKind> = BTreeMap::new();
    for edge in &graph.edges {
        let drawn_at_all = dag
            .after
            .get(edge.from)
            .map(|list| list.binary_search(&edge.to));
        if !matches!(drawn_at_all, Some(Ok(_))) {
            continue;
        }
        let crosses = graph.nodes[edge.from].section != graph.nodes[edge.to].section;
        let follows = reduced.after[edge.from].binary_search(&edge.to).is_err();
        if edge.kind == EdgeKind::Order && (follows || crosses) {
            continue;
        }
        let kind = drawn.entry((edge.from, edge.to)).or_insert(edge.kind);
        *kind = (*kind).max(edge.kind);
    }
    drawn
        .into_iter()
        .map(|((from, to), kind)| (from, to, kind))
        .collect()
}

/// The main steps that no other main step waits for, where `finally` steps follow them.
pub(super) fn last_before_finally(graph: &Graph) -> Vec<usize> {
    let (nodes, dag) = section(graph, Section::Main);
    let finally = graph
        .nodes
        .iter()
        .any(|node| node.section == Section::Finally);
    let last = dag
        .order
        .iter()
        .filter(|node| finally && dag.after[**node].is_empty());
    last.map(|node| nodes[*node]).collect()
}

//! The gutter of a graph in text: a row a node, lines that run down beside it.
//!
//! A lane holds what some steps lead to: everyone who joined it leads to everyone who is still to
//! come. Steps in sequence stand below each other; steps side by side hang on one lane:
//!
//! ```text
//! ●     start
//! ├─●─╮ these two
//! ╰─●─┤ side by side
//! ●───╯ end
//! ```
//!
//! So that a row reads in one way alone: what comes in from another lane comes from the left, or from
//! above by a corner; what goes out to another lane goes to the right, or down in a row of its own.

use std::collections::HashMap;

use super::dag::Dag;

/// A row of the gutter, and the node that stands in it; none for a row of lines alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub gutter: String,
    pub node: Option<usize>,
}

#[derive(Clone, Debug)]
struct Lane {
    /// Who is still to come.
    to: Vec<usize>,
    /// Nobody hangs on it yet: it begins at the first who does.
    fresh: bool,
}

/// The gutter of `dag`, which is reduced.
pub(super) fn rows(dag: &Dag) -> Vec<Row> {
    let mut gutter = Gutter::new(dag);
    for node in &dag.order {
        gutter.place(*node);
    }
    gutter.rows
}

struct Gutter<'a> {
    dag: &'a Dag,
    /// Whether another one waits for the same and leads to the same.
    twins: Vec<bool>,
    lanes: Vec<Option<Lane>>,
    rows: Vec<Row>,
}

impl<'a> Gutter<'a> {
    fn new(dag: &'a Dag) -> Self {
        let mut groups: HashMap<(&[usize], &[usize]), usize> = HashMap::new();
        let key = |node: usize| (dag.before[node].as_slice(), dag.after[node].as_slice());
        for node in 0..dag.order.len() {
            *groups.entry(key(node)).or_default() += 1;
        }
        let twins = (0..dag.order.len()).map(|node| groups[&key(node)] > 1);
        let roots: Vec<usize> = (0..dag.order.len())
            .filter(|node| dag.before[*node].is_empty())
            .collect();
        let mut lanes = Vec::new();
        if roots.len() > 1 {
            // Where nobody comes first, they hang on a lane that comes from nowhere.
            lanes.push(Some(Lane {
                to: roots,
                fresh: true,
            }));
        }
        Self {
            dag,
            twins: twins.collect(),
            lanes,
            rows: Vec::new(),
        }
    }

    fn place(&mut self, node: usize) {
        let hangs: Vec<usize> = (0..self.lanes.len())
            .filter(|at| self.lane(*at).is_some_and(|lane| lane.to.contains(&node)))
            .collect();
        let goes_on = |at: &usize| self.lane(*at).is_some_and(|lane| lane.to.len() > 1);
        let going: Vec<usize> = hangs.iter().copied().filter(goes_on).collect();
        let twin = self.twins[node] && !hangs.is_empty();
        // Right of all lanes that go on: what hangs on the left comes in, what hangs on the right is
        // where it leads to.
        let left = if twin { &hangs } else { &going };
        let base = left.iter().max().map_or(0, |at| at + 1);
        let from_left = |column: usize| hangs.iter().any(|at| *at < column);
        let column = (base..)
            .find(|at| {
                let own = !twin && hangs.contains(at);
                own || (self.lane(*at).is_none() && (from_left(*at) || !self.below_a_node(*at)))
            })
            .unwrap_or(base);
        if hangs.contains(&column) && from_left(column) && self.below_a_node(column) {
            // A node right below another, with a line from the left, comes from there alone: a row of
            // lines shows that this one comes from both.
            let gutter = Cells::of(&self.lanes).text();
            self.rows.push(Row { gutter, node: None });
        }
        self.grow(column);
        let mut cells = Cells::of(&self.lanes);
        self.come_in(&mut cells, node, column, &hangs);
        cells.glyphs[column] = '●';
        let busy_right = hangs.iter().any(|at| *at > column);
        let below = self.go_out(&mut cells, node, column, twin && !busy_right);
        self.rows.push(Row {
            gutter: cells.text(),
            node: Some(node),
        });
        if let Some(to) = below {
            let mut cells = Cells::of(&self.lanes);
            cells.line(column, to);
            cells.glyphs[column] = if to < column { '╯' } else { '╰' };
            cells.glyphs[to] = if to < column { '├' } else { '┤' };
            self.rows.push(Row {
                gutter: cells.text(),
                node: None,
            });
        }
        while self.lanes.last().is_some_and(Option::is_none) {
            self.lanes.pop();
        }
    }

    fn lane(&self, at: usize) -> Option<&Lane> {
        self.lanes.get(at)?.as_ref()
    }

    /// Whether a node stands at this place in the row above.
    fn below_a_node(&self, column: usize) -> bool {
        let above = self
            .rows
            .last()
            .and_then(|row| row.gutter.chars().nth(column * 2));
        above == Some('●')
    }

    fn grow(&mut self, column: usize) {
        if self.lanes.len() <= column {
            self.lanes.resize(column + 1, None);
        }
    }

    /// Draws the lanes that `node` hangs on up to its column, and takes it off them.
    fn come_in(&mut self, cells: &mut Cells, node: usize, column: usize, hangs: &[usize]) {
        let first = hangs.iter().copied().min().unwrap_or(column);
        let last = hangs.iter().copied().max().unwrap_or(column);
        cells.line(first.min(column), last.max(column));
        for at in hangs {
            let Some(lane) = self.lanes[*at].as_mut() else {
                continue;
            };
            lane.to.retain(|other| *other != node);
            let ends = lane.to.is_empty();
            let begins = std::mem::take(&mut lane.fresh);
            cells.glyphs[*at] = match (*at == first, *at < column, ends) {
                (true, true, false) if begins => '╭',
                (true, true, false) => '├',
                (true, true, true) => '╰',
                (false, true, false) => '┼',
                (_, _, true) if *at == last && *at > column => '╯',
                (_, _, true) => '┴',
                (_, _, false) => '┤',
            };
            if ends {
                self.lanes[*at] = None;
            }
        }
    }

    /// Draws where `node` leads to. Gives the lane that it joins in a row of its own, if it does.
    fn go_out(
        &mut self,
        cells: &mut Cells,
        node: usize,
        column: usize,
        hang: bool,
    ) -> Option<usize> {
        let to = &self.dag.after[node];
        if to.is_empty() {
            return None;
        }
        let same: Vec<usize> = (0..self.lanes.len())
            .filter(|at| self.lane(*at).is_some_and(|lane| lane.to == *to))
            .collect();
        let lane = Lane {
            to: to.clone(),
            fresh: false,
        };
        if hang {
            // Twins lead to a lane on their right, which the first of them opens.
            let right = same.iter().copied().find(|at| *at > column);
            let at = right.or_else(|| (column + 1..).find(|at| self.lane(*at).is_none()))?;
            self.grow(at);
            cells.grow(at);
            cells.line(column, at);
            cells.glyphs[at] = if right.is_some() { '┤' } else { '╮' };
            if right.is_none() {
                self.lanes[at] = Some(lane);
            }
            return None;
        }
        match same.into_iter().min_by_key(|at| at.abs_diff(column)) {
            // One target is joined when it comes; several would be drawn several times.
            Some(at) if to.len() > 1 && at != column => Some(at),
            _ => {
                self.lanes[column] = Some(lane);
                None
            }
        }
    }
}

/// One row while it is drawn: a glyph a lane, and whether a line runs between it and the next.
struct Cells {
    glyphs: Vec<char>,
    links: Vec<bool>,
}

impl Cells {
    fn of(lanes: &[Option<Lane>]) -> Self {
        let glyphs = lanes.iter().map(|lane| match lane {
            Some(lane) if !lane.fresh => '│',
            _ => ' ',
        });
        Self {
            glyphs: glyphs.collect(),
            links: vec![false; lanes.len()],
        }
    }

    fn grow(&mut self, column: usize) {
        if self.glyphs.len() <= column {
            self.glyphs.resize(column + 1, ' ');
            self.links.resize(column + 1, false);
        }
    }

    /// A line between two lanes; it passes behind those in between.
    fn line(&mut self, a: usize, b: usize) {
        for at in a.min(b)..a.max(b) {
            self.links[at] = true;
            if at > a.min(b) && self.glyphs[at] == ' ' {
                self.glyphs[at] = '─';
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::with_capacity(self.glyphs.len() * 4);
        for (glyph, link) in self.glyphs.iter().zip(&self.links) {
            out.push(*glyph);
            out.push(if *link { '─' } else { ' ' });
        }
        out.truncate(out.trim_end().len());
        out
    }
}

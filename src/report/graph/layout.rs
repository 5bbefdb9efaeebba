//! Where the boxes of a picture stand: in layers, each below all that it waits for.
//!
//! The way is the usual one for layered drawings (Sugiyama, Tagawa, Toda 1981): layers by the longest
//! path, points on long edges so that they run around boxes, an order within layers that crosses little
//! (by the mean of the neighbours), and places as near to the neighbours as the widths allow.

use super::dag::Dag;

/// A box or, on an edge over several layers, a point.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub layer: usize,
    pub width: f64,
    /// Of its middle.
    pub x: f64,
}

/// Where everything stands.
#[derive(Debug)]
pub(super) struct Layout {
    /// The boxes, as they are counted in the graph, then the points.
    pub spots: Vec<Spot>,
    pub layers: usize,
    /// From the left edge of the leftmost to the right edge of the rightmost.
    pub width: f64,
    /// For each edge, as given, what it passes, its ends too.
    pub paths: Vec<Vec<usize>>,
}

/// Sweeps over the layers, for order and for places: more change nothing that an eye sees.
const SWEEPS: usize = 12;

/// The room between neighbours in a layer.
const GAP: f64 = 24.0;

/// The width of a point on an edge.
const POINT: f64 = 6.0;

impl Layout {
    /// Of boxes with these widths; `edges` are those of `dag` that are drawn.
    pub(super) fn of(dag: &Dag, widths: &[f64], edges: &[(usize, usize)]) -> Self {
        let mut spots: Vec<Spot> = widths
            .iter()
            .map(|width| Spot {
                layer: 0,
                width: *width,
                x: 0.0,
            })
            .collect();
        for node in &dag.order {
            let above = dag.before[*node].iter();
            spots[*node].layer = above
                .map(|other| spots[*other].layer + 1)
                .max()
                .unwrap_or(0);
        }
        let mut paths = Vec::with_capacity(edges.len());
        for (from, to) in edges {
            let mut path = vec![*from];
            for layer in spots[*from].layer + 1..spots[*to].layer {
                path.push(spots.len());
                spots.push(Spot {
                    layer,
                    width: POINT,
                    x: 0.0,
                });
            }
            path.push(*to);
            paths.push(path);
        }
        let mut rows = Rows::of(&spots, &paths);
        rows.untangle();
        rows.settle(&mut spots);
        let left = spots.iter().map(|spot| spot.x - spot.width / 2.0);
        let left = left.fold(f64::INFINITY, f64::min);
        let mut width: f64 = 0.0;
        for spot in &mut spots {
            spot.x -= left;
            width = width.max(spot.x + spot.width / 2.0);
        }
        Self {
            layers: rows.rows.len(),
            spots,
            width,
            paths,
        }
    }
}

/// The layers, each in its order from left to right.
struct Rows {
    rows: Vec<Vec<usize>>,
    up: Vec<Vec<usize>>,
    down: Vec<Vec<usize>>,
}

impl Rows {
    fn of(spots: &[Spot], paths: &[Vec<usize>]) -> Self {
        let layers = spots.iter().map(|spot| spot.layer + 1).max().unwrap_or(0);
        let mut rows = vec![Vec::new(); layers];
        for (at, spot) in spots.iter().enumerate() {
            rows[spot.layer].push(at);
        }
        let mut up = vec![Vec::new(); spots.len()];
        let mut down = vec![Vec::new(); spots.len()];
        for pair in paths.iter().flat_map(|path| path.windows(2)) {
            down[pair[0]].push(pair[1]);
            up[pair[1]].push(pair[0]);
        }
        Self { rows, up, down }
    }

    /// Orders each layer by the mean place of the neighbours, down and up again, and keeps the best.
    fn untangle(&mut self) {
        let mut best = (self.crossings(), self.rows.clone());
        for sweep in 0..SWEEPS {
            let place = self.places();
            let mut place: Vec<f64> = place.iter().map(|at| *at as f64).collect();
            let down = sweep % 2 == 0;
            let neighbours = if down { &self.up } else { &self.down };
            let order: Vec<usize> = if down {
                (0..self.rows.len()).collect()
            } else {
                (0..self.rows.len()).rev().collect()
            };
            for layer in order {
                let row = &mut self.rows[layer];
                let wanted =
                    |node: &usize| mean(&neighbours[*node], |at| place[at]).unwrap_or(place[*node]);
                row.sort_by(|a, b| wanted(a).total_cmp(&wanted(b)));
                for (at, node) in row.iter().enumerate() {
                    place[*node] = at as f64;
                }
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.rows.clone());
            }
        }
        self.rows = best.1;
    }

    fn places(&self) -> Vec<usize> {
        let mut place = vec![0; self.up.len()];
        for row in &self.rows {
            for (at, node) in row.iter().enumerate() {
                place[*node] = at;
            }
        }
        place
    }

    fn crossings(&self) -> usize {
        let place = self.places();
        let mut crossings = 0;
        for row in &self.rows {
            let ends = |node: &usize| {
                let mut ends: Vec<usize> = self.down[*node].iter().map(|to| place[*to]).collect();
                ends.sort_unstable();
                ends
            };
            let ends: Vec<usize> = row.iter().flat_map(ends).collect();
            for (at, end) in ends.iter().enumerate() {
                crossings += ends[at + 1..].iter().filter(|other| *other < end).count();
            }
        }
        crossings
    }

    /// Gives each spot its place: as near to the mean of its neighbours as those beside it allow.
    fn settle(&self, spots: &mut [Spot]) {
        for row in &self.rows {
            let mut x = 0.0;
            for node in row {
                spots[*node].x = x + spots[*node].width / 2.0;
                x += spots[*node].width + GAP;
            }
        }
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let layers: Vec<usize> = if down {
                (0..self.rows.len()).collect()
            } else {
                (0..self.rows.len()).rev().collect()
            };
            for layer in layers {
                let row = &self.rows[layer];
                let neighbours = if down { &self.up } else { &self.down };
                let wanted: Vec<f64> = row
                    .iter()
                    .map(|node| {
                        mean(&neighbours[*node], |at| spots[at].x).unwrap_or(spots[*node].x)
                    })
                    .collect();
                let widths: Vec<f64> = row.iter().map(|node| spots[*node].width).collect();
                for (node, x) in row.iter().zip(apart(&wanted, &widths)) {
                    spots[*node].x = x;
                }
            }
        }
    }
}

fn mean(nodes: &[usize], place: impl Fn(usize) -> f64) -> Option<f64> {
    let sum: f64 = nodes.iter().map(|node| place(*node)).sum();
    (!nodes.is_empty()).then(|| sum / nodes.len() as f64)
}

/// The places nearest to those `wanted` (by the sum of squares) in which neighbours do not touch:
/// isotonic regression, by pooling those that would.
fn apart(wanted: &[f64], widths: &[f64]) -> Vec<f64> {
    // How far each stands from the first when all touch.
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wanted.len());
    for (at, width) in widths.iter().enumerate() {
        if at > 0 {
            offset += widths[at - 1] / 2.0 + GAP + width / 2.0;
        }
        offsets.push(offset);
    }
    // Pools of neighbours that stand together: their mean, and how many.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (want, offset) in wanted.iter().zip(&offsets) {
        let mut pool = (want - offset, 1);
        while let Some((mean, count)) = pools.last().copied()
            && mean > pool.0
        {
            let total = count + pool.1;
            let sum = mean * count as f64 + pool.0 * pool.1 as f64;
            pool = (sum / total as f64, total);
            pools.pop();
        }
        pools.push(pool);
    }
    let starts = pools
        .iter()
        .flat_map(|(mean, count)| std::iter::repeat_n(*mean, *count));
    starts
        .zip(&offsets)
        .map(|(start, offset)| start + offset)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{GAP, apart};

    proptest! {
        #[test]
        fn neighbours_never_touch(
            spots in prop::collection::vec((-500.0..500.0_f64, 1.0..200.0_f64), 1..20),
        ) {
            let (wanted, widths): (Vec<f64>, Vec<f64>) = spots.into_iter().unzip();
            let places = apart(&wanted, &widths);
            for at in 1..places.len() {
                let room = places[at] - places[at - 1] - (widths[at] + widths[at - 1]) / 2.0;
                prop_assert!(room > GAP - 1e-6, "{room}");
            }
        }
    }
}

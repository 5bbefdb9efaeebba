//! The order of steps: from `needs`, from the order of the lines, and from what expressions read.
//!
//! A step without `needs` waits for every step above it. Drawn as edges to all of them, 10,000
//! lines would be 50 million edges; so it waits for the frontier alone, the steps above it that
//! nothing in between waits for already.

use petgraph::graph::{DiGraph, NodeIndex};

use super::context::Context;
use crate::base::{Span, suggest};
use crate::diag::{Diagnostic, Diagnostics, codes, did_you_mean};
use crate::event::Section;
use crate::model;

/// What each step waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// By place: the places that it waits for, sorted, each once.
    pub needs: Vec<Vec<usize>>,
    /// Of these, the ones that it names or reads itself.
    pub asks_for: Vec<Vec<usize>>,
    /// The places in an order in which each comes after those that it needs.
    pub topological: Vec<usize>,
}

/// Why a step waits for another one.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// `needs` says so.
    Needs(Span),
    /// It stands below.
    Line,
    /// Its expression reads the other one.
    Reads(Span),
}

/// The order of the steps; what is wrong with it is told.
pub(super) fn order(context: &Context<'_>, diagnostics: &mut Diagnostics) -> Order {
    let mut edges: Vec<Vec<(usize, Why)>> = vec![Vec::new(); context.steps.len()];
    let main = context.playbook.steps.len();
    by_lines(context, 0..main, &mut edges, diagnostics);
    by_lines(context, main..context.steps.len(), &mut edges, diagnostics);
    by_reading(context, &mut edges, diagnostics);

    let mut graph = DiGraph::<(), ()>::with_capacity(edges.len(), edges.len());
    for _ in 0..edges.len() {
        graph.add_node(());
    }
    for (at, needs) in edges.iter().enumerate() {
        for (need, _) in needs {
            graph.add_edge(NodeIndex::new(*need), NodeIndex::new(at), ());
        }
    }
    let topological = match petgraph::algo::toposort(&graph, None) {
        Ok(order) => order.into_iter().map(NodeIndex::index).collect(),
        Err(_) => {
            cycles(context, &graph, &edges, diagnostics);
            Vec::new()
        }
    };
    let places = |wanted: fn(&Why) -> bool| {
        let of_step = |edges: &Vec<(usize, Why)>| {
            let wanted = edges.iter().filter(|(_, why)| wanted(why));
            let mut places: Vec<usize> = wanted.map(|(need, _)| *need).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        edges.iter().map(of_step).collect()
    };
    Order {
        needs: places(|_| true),
        asks_for: places(|why| !matches!(why, Why::Line)),
        topological,
    }
}

/// Edges from `needs`, and from the order of the lines where there is none.
fn by_lines(
    context: &Context<'_>,
    section: std::ops::Range<usize>,
    edges: &mut [Vec<(usize, Why)>],
    diagnostics: &mut Diagnostics,
) {
    let mut frontier: Vec<usize> = Vec::new();
    for at in section {
        let step = context.steps[at];
        match &step.needs {
            Some(needs) => {
                for need in needs {
                    match find_need(context, at, need, diagnostics) {
                        Some(other) => edges[at].push((other, Why::Needs(need.span))),
                        None => continue,
                    }
                }
                // Whoever waits for this one also waits for what it waits for.
                frontier.retain(|other| !edges[at].iter().any(|(need, _)| need == other));
            }
            None if context.playbook.order == model::Order::Parallel => {}
            None => {
                edges[at].extend(frontier.drain(..).map(|other| (other, Why::Line)));
            }
        }
        frontier.push(at);
    }
}

fn find_need(
    context: &Context<'_>,
    at: usize,
    need: &crate::base::Spanned<crate::base::StepId>,
    diagnostics: &mut Diagnostics,
) -> Option<usize> {
    let id = need.value.as_str();
    let Some(other) = context.index.get(id).copied() else {
        let near = suggest::nearest(id, context.index.keys().copied());
        diagnostics.push(
            Diagnostic::error(codes::UNKNOWN_STEP, format!("there is no step `{id}`"))
                .at(need.span)
                .maybe_help(did_you_mean(near)),
        );
        return None;
    };
    if other == at {
        let message = format!("step `{id}` needs itself");
        diagnostics.push(Diagnostic::error(codes::SELF_REFERENCE, message).at(need.span));
        return None;
    }
    match (context.section(at), context.section(other)) {
        (Section::Main, Section::Finally) => {
            diagnostics.push(
                Diagnostic::error(
                    codes::NEEDS_FINALLY,
                    format!("`{id}` is a `finally` step, which runs after all main steps"),
                )
                .at(need.span)
                .also(context.steps[other].id.span, "it stands here"),
            );
            None
        }
        // Main steps are over before any `finally` step starts.
        (Section::Finally, Section::Main) => None,
        _ => Some(other),
    }
}

/// Edges from what expressions read.
fn by_reading(
    context: &Context<'_>,
    edges: &mut [Vec<(usize, Why)>],
    diagnostics: &mut Diagnostics,
) {
    for (at, references) in context.references.iter().enumerate() {
        for reference in references {
            let [root, id, ..] = &*reference.path else {
                continue;
            };
            if &**root != "steps" {
                continue;
            }
            // A step that does not exist is told where the types are checked.
            let Some(other) = context.index.get(&**id).copied() else {
                continue;
            };
            if other == at {
                diagnostics.push(
                    Diagnostic::error(
                        codes::SELF_REFERENCE,
                        format!("step `{id}` reads its own result, which is not there yet"),
                    )
                    .at(reference.span),
                );
                continue;
            }
            match (context.section(at), context.section(other)) {
                (Section::Main, Section::Finally) => diagnostics.push(
                    Diagnostic::error(
                        codes::NOT_BEFORE,
                        format!("`{id}` is a `finally` step, which runs after all main steps"),
                    )
                    .label(reference.span, "its result is not there yet")
                    .also(context.steps[other].id.span, "it stands here"),
                ),
                (Section::Finally, Section::Main) => {}
                _ => match edges[at].iter_mut().find(|(need, _)| *need == other) {
                    Some((_, why @ Why::Line)) => *why = Why::Reads(reference.span),
                    Some(_) => {}
                    None => edges[at].push((other, Why::Reads(reference.span))),
                },
            }
        }
    }
}

/// Tells each circle once, from the step that stands first.
fn cycles(
    context: &Context<'_>,
    graph: &DiGraph<(), ()>,
    edges: &[Vec<(usize, Why)>],
    diagnostics: &mut Diagnostics,
) {
    for component in petgraph::algo::tarjan_scc(graph) {
        if component.len() < 2 {
            continue;
        }
        let mut members: Vec<usize> = component.into_iter().map(NodeIndex::index).collect();
        members.sort_unstable();
        let way = shortest_way_round(members[0], &members, edges);
        diagnostics.push(describe(context, &way, edges));
    }
}

/// The shortest way from `start` over what it waits for back to itself: `start` first, each next
/// one being needed by the one before.
fn shortest_way_round(start: usize, members: &[usize], edges: &[Vec<(usize, Why)>]) -> Vec<usize> {
    let mut from: std::collections::HashMap<usize, usize> = std::collections::HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for (need, _) in &edges[at] {
            if *need == start {
                let mut way = vec![at];
                let mut back = at;
                while back != start {
                    back = from[&back];
                    way.push(back);
                }
                way.reverse();
                return way;
            }
            if members.binary_search(need).is_ok() && !from.contains_key(need) {
                from.insert(*need, at);
                queue.push_back(*need);
            }
        }
    }
    vec![start]
}

fn describe(context: &Context<'_>, way: &[usize], edges: &[Vec<(usize, Why)>]) -> Diagnostic {
    let id = |at: usize| context.steps[at].id.value.as_str();
    let mut path: Vec<&str> = way.iter().map(|at| id(*at)).collect();
    path.push(id(way[0]));
    let arrows: Vec<(usize, usize, Why)> = way
        .iter()
        .zip(way.iter().cycle().skip(1))
        .filter_map(|(at, need)| {
            edges[*at]
                .iter()
                .find(|(other, _)| other == need)
                .map(|(_, why)| (*at, *need, *why))
        })
        .collect();
    // One that reads what stands below it: say just that.
    let reads = arrows.iter().find_map(|(at, need, why)| match why {
        Why::Reads(span) => Some((*at, *need, *span)),
        _ => None,
    });
    let by_lines = arrows.iter().any(|(_, _, why)| matches!(why, Why::Line));
    if let (Some((at, need, span)), true) = (reads, by_lines) {
        return Diagnostic::error(
            codes::NOT_BEFORE,
            format!(
                "step `{}` reads the result of `{}`, which runs later",
                id(at),
                id(need)
            ),
        )
        .label(span, "its result is not there yet")
        .also(context.steps[need].id.span, "it stands here")
        .help(format!(
            "move `{}` above, or give it `needs:` so that it does not wait",
            id(need)
        ));
    }
    let mut diagnostic = Diagnostic::error(
        codes::CYCLE,
        format!("steps wait for each other: {}", path.join(" → ")),
    );
    for (at, need, why) in arrows {
        let (span, text) = match why {
            Why::Needs(span) => (span, format!("`{}` needs `{}`", id(at), id(need))),
            Why::Reads(span) => (span, format!("`{}` reads `{}`", id(at), id(need))),
            Why::Line => (
                context.steps[at].id.span,
                format!(
                    "`{}` has no `needs`, so it waits for `{}` above it",
                    id(at),
                    id(need)
                ),
            ),
        };
        diagnostic = match diagnostic.primary {
            None => diagnostic.label(span, text),
            Some(_) => diagnostic.also(span, text),
        };
    }
    diagnostic.help("take one of these arrows out")
}

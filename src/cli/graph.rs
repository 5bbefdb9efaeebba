//! `runbook graph PLAYBOOK`: the steps, and what they wait for.

use super::args::GraphArgs;
use super::output::Output;
use super::{exit, load};
use crate::compile::Program;
use crate::expr::Template;
use crate::report::graph::{Edge, EdgeKind, Graph, Node, draw};
use crate::report::terminal::Look;

pub(super) fn run(out: &mut Output, args: GraphArgs) -> u8 {
    let registry = crate::steps::registry();
    let Some(program) = load::program(out, &args.playbook, &registry) else {
        return exit::USAGE;
    };
    let graph = graph_of(&program);
    let look = Look::detect(&std::io::stdout(), out.color);
    out.data(draw(&graph, args.format, &look));
    exit::DONE
}

fn graph_of(program: &Program) -> Graph {
    let title = program.playbook().name.value.clone();
    let mut graph = Graph {
        title,
        ..Graph::default()
    };
    for (at, node) in program.nodes().iter().enumerate() {
        let step = program.step(at);
        let label = match &step.name {
            Some(Template::Literal(text)) => text.to_string(),
            _ => String::new(),
        };
        let notes = [
            ("when", step.when.is_some()),
            ("foreach", step.foreach.is_some()),
            ("retry", step.retry.is_some()),
        ];
        graph.nodes.push(Node {
            id: step.id.value.to_string(),
            label,
            ty: step.ty.name().to_owned(),
            section: node.section,
            effect: Some(node.effect),
            notes: notes
                .iter()
                .filter(|(_, has)| *has)
                .map(|(note, _)| (*note).to_owned())
                .collect(),
        });
        for need in &node.needs {
            let id = &program.step(*need).id.value;
            let named = step.needs.iter().flatten().any(|need| need.value == *id);
            let kind = match (named, node.asks_for.contains(need)) {
                (true, _) => EdgeKind::Needs,
                (false, true) => EdgeKind::Data,
                (false, false) => EdgeKind::Order,
            };
            graph.edges.push(Edge {
                from: *need,
                to: at,
                kind,
            });
        }
    }
    graph
}

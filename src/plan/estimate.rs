//! How long a run is expected to take: what its steps took in past runs, along the path that takes
//! longest.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Decision, Plan, places};
use crate::base::StepId;
use crate::compile::Program;
use crate::event::Section;

/// What steps took in past runs.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    /// How many runs were looked at.
    pub runs: usize,
    /// By step, what it took each time that it succeeded, with all its attempts and items, in
    /// milliseconds.
    pub steps: BTreeMap<StepId, Vec<u64>>,
}

/// How long a run is expected to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Along the path that takes longest, in milliseconds. Waits for people and for locks are in it
    /// as they were.
    pub total_ms: u64,
    /// From how many past runs.
    pub runs: usize,
    /// By step, the median of what it took, in milliseconds.
    pub steps: BTreeMap<StepId, u64>,
    /// The steps that would run, or may, and of which nothing is known: they count as nothing.
    pub unknown: Vec<StepId>,
}

/// How long a run as in `plan` is expected to take; nothing where no past run tells.
pub fn estimate(program: &Program, plan: &Plan, past: &Durations) -> Option<Estimate> {
    let mut estimate = Estimate {
        total_ms: 0,
        runs: past.runs,
        steps: BTreeMap::new(),
        unknown: Vec::new(),
    };
    // When each step would be over, by its place; and when the main steps would.
    let mut over = vec![0_u64; program.nodes().len()];
    let mut main_over = 0;
    for at in places(program) {
        let (id, node) = (&program.step(at).id.value, &program.nodes()[at]);
        let mut begins = node.needs.iter().map(|need| over[*need]).max().unwrap_or(0);
        if node.section == Section::Finally {
            begins = begins.max(main_over);
        }
        let took = if runs(plan, id) {
            match past.steps.get(id).and_then(|took| median(took)) {
                Some(took) => {
                    estimate.steps.insert(id.clone(), took);
                    took
                }
                None => {
                    estimate.unknown.push(id.clone());
                    0
                }
            }
        } else {
            0
        };
        over[at] = begins.saturating_add(took);
        if node.section == Section::Main {
            main_over = main_over.max(over[at]);
        }
        estimate.total_ms = estimate.total_ms.max(over[at]);
    }
    (!estimate.steps.is_empty()).then_some(estimate)
}

/// Whether a step would run, or may.
fn runs(plan: &Plan, id: &StepId) -> bool {
    let mut planned = plan.steps.iter();
    planned.any(|step| {
        let described = &step.described;
        described.path.step == *id
            && matches!(described.decision, Decision::Run | Decision::MayRun { .. })
    })
}

/// The one in the middle; of an even number, the lower of the two.
fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle_one_counts() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7]), Some(7));
        assert_eq!(median(&[9, 1, 5]), Some(5));
        assert_eq!(median(&[9, 1, 5, 7]), Some(5));
    }
}

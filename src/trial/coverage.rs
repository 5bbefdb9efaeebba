//! What the cases of a file came to of its playbook: steps, and the ways that a run can take at each.

use std::collections::BTreeSet;

use super::play::Played;
use crate::base::StepId;
use crate::compile::Program;
use crate::event::{
    ApprovalAnswer, ApprovalKind, EffectClass, Event, Happening, RunStatus, SkipKind, Status,
};
use crate::model::OnError;

/// A way that a run can take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Branch {
    /// At which step; none for the playbook as a whole.
    pub step: Option<StepId>,
    /// Which: `when is false`.
    pub way: &'static str,
}

impl std::fmt::Display for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.step {
            Some(step) => write!(f, "{step}: {}", self.way),
            None => write!(f, "{}", self.way),
        }
    }
}

mod way {
    pub const WHEN_TRUE: &str = "`when` is true";
    pub const WHEN_FALSE: &str = "`when` is false";
    pub const ITEMS: &str = "`foreach` has items";
    pub const NO_ITEMS: &str = "`foreach` has none";
    pub const RECOVERED: &str = "succeeds after a retry";
    pub const EXHAUSTED: &str = "fails after all retries";
    pub const ALLOWED: &str = "fails, and the run goes on";
    pub const GRANTED: &str = "approval is given";
    pub const DENIED: &str = "approval is not given";
    pub const NOT_ASKED: &str = "approval is not needed";
    pub const UNDONE: &str = "is taken back";
    pub const HAPPENED: &str = "`verify` finds that it happened";
    pub const NOT_HAPPENED: &str = "`verify` finds that it did not happen";
    pub const SUCCEEDS: &str = "the run succeeds";
    pub const FAILS: &str = "the run fails";
}

/// What the cases of a file came to.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Every step, and whether it ran.
    pub steps: Vec<(StepId, bool)>,
    /// Every way, and whether it was taken.
    pub branches: Vec<(Branch, bool)>,
}

impl Coverage {
    /// Of these cases of `program`.
    pub fn of<'a>(program: &Program, played: impl IntoIterator<Item = &'a Played>) -> Self {
        let mut taken = Taken {
            steps: BTreeSet::new(),
            branches: BTreeSet::new(),
        };
        for case in played {
            taken.case(program, &case.happenings);
        }
        let steps = (0..program.nodes().len()).map(|at| program.step(at).id.value.clone());
        Self {
            steps: steps
                .map(|id| (id.clone(), taken.steps.contains(&id)))
                .collect(),
            branches: { branches(program).into_iter() }
                .map(|branch| (branch.clone(), taken.branches.contains(&branch)))
                .collect(),
        }
    }

    /// How many of all steps and branches were covered, and how many there are.
    pub fn counts(&self) -> (usize, usize) {
        let covered = |flags: &mut dyn Iterator<Item = bool>| flags.filter(|flag| *flag).count();
        let steps = covered(&mut self.steps.iter().map(|(_, ran)| *ran));
        let branches = covered(&mut self.branches.iter().map(|(_, taken)| *taken));
        (steps + branches, self.steps.len() + self.branches.len())
    }

    /// The covered part, in percent, rounded down: 100 is all.
    pub fn percent(&self) -> u8 {
        let (covered, all) = self.counts();
        u8::try_from((covered * 100).checked_div(all).unwrap_or(100)).unwrap_or(100)
    }
}

/// Every way that a run of `program` can take.
fn branches(program: &Program) -> Vec<Branch> {
    let mut all = Vec::new();
    for at in 0..program.nodes().len() {
        let (step, node) = (program.step(at), &program.nodes()[at]);
        let asks = step.approval.is_some() || node.effect == EffectClass::Destroy;
        let asks_when = { step.approval.as_ref() }.is_some_and(|approval| approval.when.is_some());
        let ways = [
            (
                step.when.is_some(),
                [way::WHEN_TRUE, way::WHEN_FALSE].as_slice(),
            ),
            (step.foreach.is_some(), &[way::ITEMS, way::NO_ITEMS]),
            (step.retry.is_some(), &[way::RECOVERED, way::EXHAUSTED]),
            (step.on_error == OnError::Continue, &[way::ALLOWED]),
            (asks, &[way::GRANTED, way::DENIED]),
            (asks_when, &[way::NOT_ASKED]),
            (step.undo.is_some(), &[way::UNDONE]),
            (step.verify.is_some(), &[way::HAPPENED, way::NOT_HAPPENED]),
        ];
        let ways = { ways.into_iter() }.filter(|(has, _)| *has);
        all.extend(ways.flat_map(|(_, ways)| ways).map(|way| Branch {
            step: Some(step.id.value.clone()),
            way,
        }));
    }
    all.extend([way::SUCCEEDS, way::FAILS].map(|way| Branch { step: None, way }));
    all
}

struct Taken {
    steps: BTreeSet<StepId>,
    branches: BTreeSet<Branch>,
}

impl Taken {
    fn take(&mut self, step: Option<&StepId>, way: &'static str) {
        self.branches.insert(Branch {
            step: step.cloned(),
            way,
        });
    }

    fn case(&mut self, program: &Program, happenings: &[Happening]) {
        let mut asked: BTreeSet<StepId> = BTreeSet::new();
        // Asked because they destroy, and not because somebody has to approve of them.
        let mut implied: BTreeSet<StepId> = BTreeSet::new();
        let mut retried = BTreeSet::new();
        for happening in happenings {
            if let Event::RunEnd(end) = &happening.event {
                match end.status {
                    RunStatus::Waiting => {}
                    RunStatus::Succeeded => self.take(None, way::SUCCEEDS),
                    _ => self.take(None, way::FAILS),
                }
            }
            let Some(path) = &happening.path else {
                continue;
            };
            let id = &path.step;
            match &happening.event {
                Event::StepStart(_) => {
                    self.steps.insert(id.clone());
                    self.take(Some(id), way::WHEN_TRUE);
                    if !asked.contains(id) {
                        self.take(Some(id), way::NOT_ASKED);
                    }
                }
                Event::ForeachExpand(expand) => {
                    self.steps.insert(id.clone());
                    let empty = expand.items.is_empty();
                    self.take(Some(id), if empty { way::NO_ITEMS } else { way::ITEMS });
                }
                Event::StepAttempt(_) => drop(retried.insert(path.clone())),
                Event::StepResult(result) => {
                    if result.skip == Some(SkipKind::When) {
                        self.take(Some(id), way::WHEN_FALSE);
                    }
                    if result.skip == Some(SkipKind::Denied) && !implied.contains(id) {
                        self.take(Some(id), way::DENIED);
                    }
                    if result.allowed {
                        self.take(Some(id), way::ALLOWED);
                    }
                    if retried.contains(path) {
                        let good = result.status == Status::Succeeded;
                        self.take(Some(id), if good { way::RECOVERED } else { way::EXHAUSTED });
                    }
                }
                Event::ApprovalAsk(ask) => {
                    asked.insert(id.clone());
                    self.take(Some(id), way::WHEN_TRUE);
                    if is_implied(program, id, ask.kind) {
                        implied.insert(id.clone());
                        self.take(Some(id), way::NOT_ASKED);
                    } else {
                        implied.remove(id);
                    }
                }
                Event::ApprovalAnswer(_) if implied.contains(id) => {}
                Event::ApprovalAnswer(ApprovalAnswer { granted, .. }) => {
                    self.take(Some(id), if *granted { way::GRANTED } else { way::DENIED });
                }
                Event::UndoStart(_) => self.take(Some(id), way::UNDONE),
                Event::StepVerify(verify) => match verify.happened {
                    Some(true) => self.take(Some(id), way::HAPPENED),
                    Some(false) => self.take(Some(id), way::NOT_HAPPENED),
                    None => {}
                },
                _ => {}
            }
        }
    }
}

/// Whether a question of this kind is about what a step destroys, and not what its `approval` asks.
pub(super) fn is_implied(program: &Program, id: &StepId, kind: ApprovalKind) -> bool {
    let at = program.find(id.as_str());
    let approval = at.and_then(|at| program.step(at).approval.as_ref());
    kind == ApprovalKind::Confirm
        && approval.is_some_and(|approval| approval.kind == ApprovalKind::Approve)
}

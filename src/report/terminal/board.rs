//! What runs right now: filled by the sink, read by the thread that draws it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::step::Columns;
use crate::base::StepPath;
use crate::event::{Event, Happening};

/// Steps that are over sooner than this are never drawn as running: they would only flicker.
const SOON: Duration = Duration::from_millis(150);

/// The running steps, shared between the sink and the drawing.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    running: IndexMap<StepPath, Row>,
    counts: Counts,
    /// The columns of the ids in the lines above.
    columns: Columns,
    hidden: bool,
}

/// How far the run is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub since: Instant,
    pub total: usize,
    pub over: usize,
    pub bad: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            total: 0,
            over: 0,
            bad: 0,
        }
    }
}

/// A running step or item.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub since: Instant,
    pub name: Option<String>,
    pub progress: Option<Progress>,
    /// The attempt that will follow, and when.
    pub retry: Option<(u32, Instant)>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub done: u64,
    pub total: Option<u64>,
    pub unit: &'static str,
}

/// What there is to draw.
#[derive(Debug)]
pub(super) struct Picture {
    pub rows: Vec<(StepPath, Row)>,
    pub counts: Counts,
    pub columns: Columns,
    pub hidden: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run of so many steps begins, with their ids in these columns.
    pub(super) fn expect(&self, steps: usize, columns: Columns) {
        let mut state = self.lock();
        state.columns = columns;
        state.counts = Counts {
            total: steps,
            ..Counts::default()
        };
    }

    /// A step is over.
    pub(super) fn count(&self, bad: bool) {
        let counts = &mut self.lock().counts;
        counts.over += 1;
        counts.bad += usize::from(bad);
    }

    /// Draws nothing, or draws again.
    pub(super) fn hide(&self, hidden: bool) {
        self.lock().hidden = hidden;
    }

    /// A step will be tried again.
    pub(super) fn retry(&self, path: &StepPath, failed: u32, delay_ms: u64) {
        if let Some(row) = self.lock().running.get_mut(path) {
            let at = Instant::now() + Duration::from_millis(delay_ms);
            row.retry = Some((failed + 1, at));
            row.progress = None;
        }
    }

    /// A step came forward.
    pub(super) fn progress(
        &self,
        path: &StepPath,
        done: u64,
        total: Option<u64>,
        unit: &'static str,
    ) {
        if let Some(row) = self.lock().running.get_mut(path) {
            row.progress = Some(Progress { done, total, unit });
        }
    }

    /// Keeps up with what starts and ends; `name` is that of the step that it is about.
    pub(super) fn follow(&self, happening: &Happening, name: Option<&str>) {
        let Some(path) = &happening.path else { return };
        let mut state = self.lock();
        match &happening.event {
            Event::ForeachExpand(expand) => {
                let row = state.running.entry(path.clone()).or_insert_with(Row::new);
                row.name = name.map(str::to_owned);
                row.progress = Some(Progress {
                    done: 0,
                    total: u64::try_from(expand.items.len()).ok(),
                    unit: "items",
                });
            }
            Event::StepStart(start) => {
                let row = state.running.entry(path.clone()).or_insert_with(Row::new);
                row.name = start.name.clone().or_else(|| name.map(str::to_owned));
                row.retry = None;
            }
            Event::StepResult(_) => {
                state.running.shift_remove(path);
                let parent = StepPath::step(path.step.clone());
                if path.item.is_some()
                    && let Some(progress) = state
                        .running
                        .get_mut(&parent)
                        .and_then(|row| row.progress.as_mut())
                {
                    progress.done += 1;
                }
            }
            _ => {}
        }
    }

    /// What there is to draw now.
    pub(super) fn picture(&self) -> Picture {
        let state = self.lock();
        let old = state
            .running
            .iter()
            .filter(|(_, row)| row.since.elapsed() >= SOON);
        Picture {
            rows: old.map(|(path, row)| (path.clone(), row.clone())).collect(),
            counts: state.counts,
            columns: state.columns,
            hidden: state.hidden,
        }
    }
}

impl Row {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            name: None,
            progress: None,
            retry: None,
        }
    }
}

//! Tests as JSON. Lines and columns count from 1, columns in characters; times are virtual.

use serde::Serialize;

use super::Tested;
use crate::diag::{Diagnostic, Sources};
use crate::report::json::{SCHEMA_VERSION, document};
use crate::trial::{Coverage, Played};

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    passed: usize,
    failed: usize,
    /// Files that are not valid; nothing of them was played.
    invalid: usize,
    files: Vec<File<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    playbook: &'a str,
    errors: Vec<Failure<'a>>,
    tests: Vec<Test<'a>>,
    /// Null where not all of its cases were played.
    coverage: Option<Covered>,
}

#[derive(Serialize)]
struct Test<'a> {
    name: &'a str,
    passed: bool,
    /// Null where the run never began.
    status: Option<&'static str>,
    exit_code: Option<u8>,
    duration_ms: u64,
    /// How often it was gone on with, after a crash or an answer.
    resumed: u32,
    failures: Vec<Failure<'a>>,
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: &'a str,
    message: &'a str,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    help: &'a [String],
}

#[derive(Serialize)]
struct Step<'a> {
    path: String,
    status: &'static str,
    allowed: bool,
    attempts: u32,
    /// Since the run's begin; null where it did not begin.
    began_ms: Option<i64>,
    duration_ms: Option<u64>,
    outputs: &'a serde_json::Value,
    error: Option<&'a str>,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Covered {
    percent: u8,
    covered: usize,
    all: usize,
    steps_missing: Vec<String>,
    branches_missing: Vec<Way>,
}

#[derive(Serialize)]
struct Way {
    step: Option<String>,
    way: &'static str,
}

pub(super) fn render(files: &[Tested], sources: &Sources) -> String {
    let failed: usize = files.iter().map(Tested::failed).sum();
    let all: usize = files.iter().map(|file| file.cases.len()).sum();
    document(&Document {
        schema_version: SCHEMA_VERSION,
        passed: all - failed,
        failed,
        invalid: files.iter().filter(|file| !file.errors.is_empty()).count(),
        files: { files.iter() }
            .map(|file| File {
                path: &file.path,
                playbook: &file.playbook,
                errors: failures(&file.errors, sources),
                tests: file.cases.iter().map(|case| test(case, sources)).collect(),
                coverage: file.coverage.as_ref().map(covered),
            })
            .collect(),
    })
}

fn failures<'a>(diagnostics: &'a [Diagnostic], sources: &'a Sources) -> Vec<Failure<'a>> {
    let one = |diagnostic: &'a Diagnostic| {
        let place = { diagnostic.primary.as_ref() }.and_then(|label| sources.locate(label.span));
        Failure {
            code: diagnostic.code.as_str(),
            message: &diagnostic.message,
            file: place.map(|(file, _)| file),
            line: place.map(|(_, at)| at.line),
            column: place.map(|(_, at)| at.column),
            help: &diagnostic.help,
        }
    };
    diagnostics.iter().map(one).collect()
}

fn test<'a>(case: &'a Played, sources: &'a Sources) -> Test<'a> {
    let steps = case.state.iter().flat_map(|state| {
        let began = state.started_at;
        state.steps.values().map(move |step| Step {
            path: step.path.to_string(),
            status: step.status.as_str(),
            allowed: step.allowed,
            attempts: step.attempts,
            began_ms: step
                .started_at
                .map(|at| i64::try_from(at.duration_since(began).as_millis()).unwrap_or(0)),
            duration_ms: step.duration_ms,
            outputs: &step.outputs,
            error: step.error.as_deref(),
            reason: step.reason.as_deref(),
        })
    });
    Test {
        name: &case.name,
        passed: case.passed(),
        status: case.state.as_ref().map(|state| state.status.as_str()),
        exit_code: case.exit_code,
        duration_ms: case.duration.as_millis(),
        resumed: case.resumed,
        failures: failures(&case.failures, sources),
        steps: steps.collect(),
    }
}

fn covered(coverage: &Coverage) -> Covered {
    let (covered, all) = coverage.counts();
    let missing = { coverage.steps.iter() }.filter(|(_, ran)| !ran);
    let untaken = { coverage.branches.iter() }.filter(|(_, taken)| !taken);
    Covered {
        percent: coverage.percent(),
        covered,
        all,
        steps_missing: missing.map(|(id, _)| id.to_string()).collect(),
        branches_missing: untaken
            .map(|(branch, _)| Way {
                step: branch.step.as_ref().map(ToString::to_string),
                way: branch.way,
            })
            .collect(),
    }
}

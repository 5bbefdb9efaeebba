//! JUnit XML, which every CI server draws: a run as a suite of tests, one a step.
//!
//! JUnit has no word for a failure that is allowed: it is told as skipped, with a message that says
//! so, because it neither fails the run nor is well. A step whose outcome is unknown is an error.

use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::tally::{is_allowed, is_told_by_items, word};
use super::{brief, clean};
use crate::event::{Finding, RunState, Section, Status, StepState};

pub use quick_junit::SerializeError;

/// A run: a suite for its steps, and one for its `finally` steps. Items are tests of their own.
///
/// # Errors
/// When the XML cannot be written, which memory never causes.
pub fn run(state: &RunState) -> Result<String, SerializeError> {
    let mut report = Report::new(state.playbook.name.as_str());
    report.timestamp = state.started_at.to_string().parse().ok();
    report.time = state.duration_ms.map(Duration::from_millis);
    for (section, name) in [(Section::Main, "steps"), (Section::Finally, "finally")] {
        let mut suite = TestSuite::new(format!("{}/{name}", state.playbook.name));
        suite.timestamp = state.started_at.to_string().parse().ok();
        for step in state.steps.values().filter(|step| step.section == section) {
            if is_test(state, step) {
                suite.add_test_case(case(state, step));
            }
        }
        if suite.test_cases.is_empty() {
            continue;
        }
        for (key, value) in [
            ("run", state.run.as_str()),
            ("host", state.host.as_str()),
            ("user", state.user.as_str()),
            ("engine", state.engine.as_str()),
            ("playbook", state.playbook.path.as_str()),
        ] {
            suite.add_property((key, value));
        }
        report.add_test_suite(suite);
    }
    xml(&report)
}

/// `report` as XML. What XML 1.0, 2.2 has no place for, and the library leaves, is replaced.
pub(super) fn xml(report: &Report) -> Result<String, SerializeError> {
    let text = report.to_string()?;
    Ok(text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}

/// The items of a step are its tests. It is one of its own where there are none, or where it went
/// wrong and none of them did.
fn is_test(state: &RunState, step: &StepState) -> bool {
    !is_told_by_items(state, step)
}

fn case(state: &RunState, step: &StepState) -> TestCase {
    let mut case = TestCase::new(step.path.to_string(), status(state, step));
    case.set_classname(format!("{}.{}", state.playbook.name, step.ty));
    case.timestamp = step.started_at.and_then(|at| at.to_string().parse().ok());
    case.time = step.duration_ms.map(Duration::from_millis);
    if let Some(name) = &step.name {
        case.add_property(("name", name.as_str()));
    }
    let mut told = findings(&step.findings);
    let put_out = brief::brief(&step.outputs);
    if !put_out.is_empty() {
        let _ = writeln!(told, "outputs: {put_out}");
    }
    for log in &step.logs {
        let _ = writeln!(told, "log: {} ({} bytes)", log.file, log.bytes);
    }
    if !told.is_empty() {
        case.set_system_out(told);
    }
    case
}

fn status(state: &RunState, step: &StepState) -> TestCaseStatus {
    let why = step.error.as_deref().or(step.reason.as_deref());
    let first = why.and_then(|why| why.lines().next()).unwrap_or_default();
    let said = format!("{}: {first}", word(step.status));
    let mut status = match step.status {
        Status::Succeeded => TestCaseStatus::success(),
        _ if step.status.is_bad() && is_allowed(state, step) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("{} (allowed): {first}", word(step.status)));
            return status;
        }
        Status::Skipped | Status::Pending | Status::Running => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(said);
            return status;
        }
        Status::Failed | Status::TimedOut | Status::Cancelled => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
        Status::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let mut text = findings(&step.findings);
    if let Some(why) = why.filter(|why| why.lines().nth(1).is_some()) {
        let _ = writeln!(text, "{why}");
    }
    if let Some(help) = &step.help {
        let _ = writeln!(text, "help: {help}");
    }
    status.set_message(said).set_type(step.status.as_str());
    if !text.is_empty() {
        status.set_description(text);
    }
    for failed in &step.failed_attempts {
        let mut rerun = TestRerun::new(NonSuccessKind::Failure);
        rerun
            .set_message(failed.error.as_str())
            .set_type(format!("attempt {}", failed.attempt));
        status.add_rerun(rerun);
    }
    status
}

fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(
            text,
            "{:<8} {}: {}",
            finding.level,
            clean::line(&finding.subject),
            clean::line(&finding.message)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::report::script;

    #[test]
    fn a_run() {
        insta::assert_snapshot!(run(&script::fold(&script::daily_check())).unwrap());
    }

    #[test]
    fn texts_from_outside_stay_texts() {
        let xml = run(&script::fold(&script::chinese())).unwrap();
        assert!(xml.contains("&lt;b>") || xml.contains("&lt;b&gt;"), "{xml}");
        assert!(!xml.contains('\x1b'));
    }
}

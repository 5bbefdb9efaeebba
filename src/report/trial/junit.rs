//! Tests as JUnit XML: a file is a suite, a case a test; a file that is not valid is one test in error.
//! Times are virtual.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Tested, drawn};
use crate::diag::{Diagnostic, Sources, Style};
use crate::report::junit::{SerializeError, xml};

pub(super) fn render(files: &[Tested], sources: &Sources) -> Result<String, SerializeError> {
    let mut report = Report::new("runbook test");
    for file in files {
        let mut suite = TestSuite::new(file.path.as_str());
        if !file.playbook.is_empty() {
            suite.add_property(("playbook", file.playbook.as_str()));
        }
        if let Some(coverage) = &file.coverage {
            suite.add_property(("coverage_percent", coverage.percent().to_string().as_str()));
        }
        if !file.errors.is_empty() {
            let status = status(NonSuccessKind::Error, &file.errors, sources);
            let mut case = TestCase::new("the file is valid", status);
            case.set_classname(file.path.as_str());
            suite.add_test_case(case);
        }
        for played in &file.cases {
            let status = match played.passed() {
                true => TestCaseStatus::success(),
                false => status(NonSuccessKind::Failure, &played.failures, sources),
            };
            let mut case = TestCase::new(played.name.as_str(), status);
            case.set_classname(file.path.as_str());
            case.time = Some(Duration::from_millis(played.duration.as_millis()));
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    xml(&report)
}

fn status(kind: NonSuccessKind, found: &[Diagnostic], sources: &Sources) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    if let Some(first) = found.first() {
        status.set_message(first.message.as_str());
        status.set_type(first.code.as_str());
    }
    let texts = found
        .iter()
        .map(|diagnostic| drawn(diagnostic, sources, Style::Plain));
    let texts: Vec<String> = texts.collect();
    status.set_description(texts.join("\n\n"));
    status
}

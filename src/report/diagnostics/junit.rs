//! Diagnostics as JUnit XML: a playbook is a test, which its errors fail.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{Checked, Counts};
use crate::diag::{self, Sources, Style};
use crate::report::junit::xml;

pub(super) fn render(checked: &[Checked], sources: &Sources) -> Result<String, SerializeError> {
    let mut report = Report::new("runbook validate");
    let mut suite = TestSuite::new("playbooks");
    for playbook in checked {
        let counts = Counts::of(playbook.diagnostics);
        let texts = playbook.diagnostics.iter();
        let texts: Vec<String> = texts
            .map(|diagnostic| diag::render(diagnostic, sources, Style::Plain))
            .collect();
        let text = texts.join("\n\n");
        let mut status = TestCaseStatus::success();
        if counts.errors > 0 {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(counts.in_words()).set_type("invalid");
            status.set_description(text.as_str());
        }
        let mut case = TestCase::new(playbook.name, status);
        case.set_classname("validate");
        if counts.errors == 0 && !text.is_empty() {
            case.set_system_out(text);
        }
        suite.add_test_case(case);
    }
    report.add_test_suite(suite);
    xml(&report)
}

//! Workflow commands of GitHub Actions: they become annotations beside the code and in the summary.
//!
//! The syntax is `::error file=…,line=…,col=…,endLine=…,endColumn=…,title=…::message`; see "Workflow
//! commands for GitHub Actions" in GitHub's documentation.

use std::fmt::Write as _;

use super::tally::{Tally, is_allowed, is_told_by_items, repeats_items, word};
use super::{amount, clean};
use crate::event::{Level, RunState, RunStatus, StepState};

/// How an annotation is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Notice,
    Warning,
    Error,
}

/// Appends a command. Properties without a value are left out.
pub(crate) fn command(
    out: &mut String,
    weight: Weight,
    properties: &[(&str, String)],
    message: &str,
) {
    out.push_str(match weight {
        Weight::Notice => "::notice",
        Weight::Warning => "::warning",
        Weight::Error => "::error",
    });
    let mut separator = ' ';
    for (name, value) in properties {
        if !value.is_empty() {
            let _ = write!(out, "{separator}{name}={}", property(value));
            separator = ',';
        }
    }
    out.push_str("::");
    out.push_str(&data(message));
    out.push('\n');
}

/// A message: only what would end it, or its line, is escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property's value: what would end it is escaped too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A run: an annotation for each step that is worth one, and one for the verdict.
pub fn run(state: &RunState) -> String {
    let mut out = String::new();
    for step in state.steps.values() {
        annotate(&mut out, state, step);
    }
    let tally = Tally::of(state);
    let mut text = format!("{} {}", state.playbook.name, state.status);
    if let Some(took) = state.duration_ms {
        let _ = write!(text, " after {}", amount::duration(took));
    }
    let _ = write!(text, "\nsteps: {}", tally.main.in_words());
    if tally.finally.total() > 0 {
        let _ = write!(text, "\nfinally: {}", tally.finally.in_words());
    }
    if tally.levels.total() > 0 {
        let _ = write!(text, "\nfindings: {}", tally.levels.in_words());
    }
    let well = matches!(state.status, RunStatus::Running | RunStatus::Succeeded);
    let weight = if well && state.exit_code.unwrap_or(0) == 0 {
        Weight::Notice
    } else {
        Weight::Error
    };
    let title = format!("{} (run {})", state.playbook.name, state.run);
    command(&mut out, weight, &[("title", title)], &clean::block(&text));
    out
}

/// One annotation a step: GitHub shows ten of a kind.
fn annotate(out: &mut String, state: &RunState, step: &StepState) {
    // The items tell it.
    if is_told_by_items(state, step) {
        return;
    }
    let found = step.findings.iter().filter(|_| !repeats_items(step));
    let mut told: Vec<_> = found.filter(|f| f.level > Level::Ok).collect();
    told.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let allowed = is_allowed(state, step);
    let worst = told.first().map(|finding| finding.level);
    let weight = match (step.status.is_bad(), allowed, worst) {
        (true, false, _) | (_, _, Some(Level::Critical)) => Weight::Error,
        (true, true, _) | (_, _, Some(_)) => Weight::Warning,
        (false, _, None) => return,
    };
    let mut lines = Vec::new();
    if step.status.is_bad() {
        let allowed = if allowed { " (allowed)" } else { "" };
        let word = word(step.status);
        let why = step.error.as_deref().or(step.reason.as_deref());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        lines.push(format!("{word}{allowed}{why}"));
    }
    for finding in told {
        lines.push(format!(
            "{} {}: {}",
            finding.level, finding.subject, finding.message
        ));
        lines.extend(finding.help.iter().map(|help| format!("help: {help}")));
    }
    lines.extend(step.help.iter().map(|help| format!("help: {help}")));
    let title = format!("{}: {}", state.playbook.name, step.path);
    let message = lines.join("\n");
    command(out, weight, &[("title", title)], &clean::block(&message));
}

#[cfg(test)]
mod tests {
    use super::{Weight, command, run};
    use crate::report::script;

    #[test]
    fn nothing_ends_a_command_early() {
        let mut out = String::new();
        command(
            &mut out,
            Weight::Error,
            &[("file", "a,b:c%.yaml".to_owned()), ("title", String::new())],
            "50 %\r\n::error::injected",
        );
        assert_eq!(
            out,
            "::error file=a%2Cb%3Ac%25.yaml::50 %25%0D%0A::error::injected\n"
        );
        assert_eq!(out.lines().count(), 1);
    }

    #[test]
    fn a_run_with_problems() {
        insta::assert_snapshot!(run(&script::fold(&script::daily_check())));
    }

    #[test]
    fn a_good_run_is_one_notice() {
        insta::assert_snapshot!(run(&script::fold(&script::quiet_night())));
    }
}

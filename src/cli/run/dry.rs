//! `runbook run --dry-run`: says what would be done, and touches nothing but a report that was
//! asked for.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::base::count::plural;
use crate::base::{Format, ReportFile};
use crate::cli::engine::reports;
use crate::cli::exit;
use crate::cli::output::Output;
use crate::compile::Program;
use crate::event::{EffectClass, Section};
use crate::plan::{self, Decision, Described, DryRun};

pub(super) fn run(
    out: &mut Output,
    program: &Program,
    params: Map<String, Value>,
    format: Format,
    asked: &[ReportFile],
) -> u8 {
    let dry = match plan::dry_run(program, params) {
        Ok(dry) => dry,
        Err(error) => {
            out.error(&error.to_string(), None);
            return exit::USAGE;
        }
    };
    match format {
        Format::Text => out.data(text(&dry, out.verbose)),
        Format::Markdown => out.data(markdown(&dry)),
        Format::Json => out.json(&json(&dry)),
        Format::Jsonl => {
            for step in &dry.steps {
                out.line(json!({ "schema_version": 1, "dry_run": true, "step": step }));
            }
        }
        format => {
            out.error(
                &format!("a dry-run is not told as {format}"),
                Some("text, json, jsonl, markdown"),
            );
            return exit::USAGE;
        }
    }
    for report in asked {
        let content = match report.format {
            Format::Json => format!("{:#}\n", json(&dry)),
            _ => markdown(&dry),
        };
        if !reports::write(out, &report.path, content.as_bytes()) {
            return exit::FAILED;
        }
    }
    if dry.fails() {
        exit::FAILED
    } else {
        exit::DONE
    }
}

fn json(dry: &DryRun) -> Value {
    json!({
        "schema_version": 1,
        "dry_run": true,
        "playbook": dry.playbook,
        "params": dry.params,
        "steps": dry.steps,
    })
}

/// What a step's effect is called where people read it.
fn effect(step: &Described) -> &'static str {
    if step.is_empty() {
        return "-";
    }
    match step.effect {
        EffectClass::Read => "looks",
        EffectClass::Change => "changes",
        EffectClass::Destroy => "DESTROYS",
    }
}

fn text(dry: &DryRun, verbose: bool) -> String {
    let mut text = format!(
        "Dry run of {}: nothing is looked at, nothing is touched\n\n",
        dry.playbook
    );
    let width = dry
        .steps
        .iter()
        .map(|step| step.path.to_string().len())
        .max()
        .unwrap_or(0)
        .min(40);
    let mut finally = false;
    for step in &dry.steps {
        if step.section == Section::Finally && !finally {
            finally = true;
            text.push_str("\nfinally:\n");
        }
        let path = step.path.to_string();
        let (word, note) = match &step.decision {
            Decision::Run => ("would run", None),
            Decision::MayRun { because } => ("may run", Some(because.clone())),
            Decision::Skip { reason } => ("skipped", Some(reason.clone())),
            Decision::Fail { error } => ("would FAIL", Some(error.clone())),
        };
        let _ = writeln!(
            text,
            "  {path:width$}  {word:10}  {:8}  {}",
            effect(step),
            step.description.summary
        );
        let indent = " ".repeat(width + 4);
        if let Some(note) = note {
            let _ = writeln!(text, "{indent}{note}");
        }
        if verbose {
            for line in &step.description.details {
                let _ = writeln!(text, "{indent}| {line}");
            }
        }
    }
    let whole = || dry.steps.iter().filter(|step| step.path.item.is_none());
    let count = |class: EffectClass| {
        let does = whole().filter(|step| step.effect == class && !step.is_empty());
        does.count()
    };
    let _ = writeln!(
        text,
        "\n{}: {} look, {} change, {} destroy",
        plural(whole().count(), "step"),
        count(EffectClass::Read),
        count(EffectClass::Change),
        count(EffectClass::Destroy)
    );
    text
}

fn markdown(dry: &DryRun) -> String {
    let cell = |text: &str| {
        text.replace('|', "\\|")
            .replace('\n', " ")
            .replace('<', "&lt;")
    };
    let mut text = format!(
        "# Dry run of {}\n\nNothing was looked at, nothing was touched.\n\n",
        dry.playbook
    );
    text.push_str(
        "| step | type | decision | effect | what it would do |\n|---|---|---|---|---|\n",
    );
    for step in &dry.steps {
        let decision = match &step.decision {
            Decision::Run => "would run".to_owned(),
            Decision::MayRun { because } => format!("may run ({because})"),
            Decision::Skip { reason } => format!("skipped ({reason})"),
            Decision::Fail { error } => format!("would fail ({error})"),
        };
        let _ = writeln!(
            text,
            "| `{}` | `{}` | {} | {} | {} |",
            step.path,
            step.ty,
            cell(&decision),
            effect(step),
            cell(&step.description.summary)
        );
    }
    text
}

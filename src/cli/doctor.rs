//! `runbook doctor`: whether this machine has what runbook needs, and how fast its disk says "done".

use std::path::Path;

use serde_json::json;

use super::args::DoctorArgs;
use super::exit;
use super::output::Output;
use crate::base::Format;
use crate::event::{Finding, Level};
use crate::host::StateDir;
use crate::host::doctor as probe;

pub(super) fn run(out: &mut Output, args: DoctorArgs) -> u8 {
    let mut findings = vec![Finding::ok("runbook", env!("CARGO_PKG_VERSION"))];
    findings.extend(state());
    findings.push(bus());
    findings.extend(programs());
    match args.format {
        Format::Json => out.json(&json!({ "schema_version": 1, "findings": findings })),
        _ => {
            let width = findings.iter().map(|f| f.subject.len()).max().unwrap_or(0);
            for finding in &findings {
                let (level, subject) = (finding.level, &finding.subject);
                out.line(format_args!(
                    "{level:8}  {subject:width$}  {}",
                    finding.message
                ));
                if let Some(help) = &finding.help {
                    out.line(format_args!("{:8}  {:width$}  {help}", "", ""));
                }
            }
        }
    }
    let bad = findings
        .iter()
        .any(|finding| finding.level >= Level::Unknown);
    if bad { exit::FAILED } else { exit::DONE }
}

/// The state folder can be written to, and what it costs to bring a record to disk.
fn state() -> Vec<Finding> {
    let subject = "state folder";
    let state = match StateDir::locate().and_then(|state| state.create().map(|()| state)) {
        Ok(state) => state,
        Err(error) => {
            let mut finding = Finding::critical(subject, error.to_string());
            finding.help = error.help;
            return vec![finding];
        }
    };
    let path = state.path().display().to_string();
    match probe::fsync_cost(state.path()) {
        Ok(cost) => vec![
            Finding::ok(subject, path),
            Finding::ok(
                "fsync",
                format!("{:.2} ms (median of {})", cost.median_ms, cost.samples),
            ),
        ],
        Err(error) => vec![Finding::critical(subject, error.to_string())],
    }
}

/// systemd can be asked over D-Bus.
fn bus() -> Finding {
    if probe::is_socket(Path::new("/run/dbus/system_bus_socket")) {
        Finding::ok("systemd", "the system bus is there: service.check can ask")
    } else {
        Finding::warning(
            "systemd",
            "there is no system bus, so service.check answers `unknown`",
        )
        .with_help("it is there on a machine that systemd has booted, with the package dbus")
    }
}

fn programs() -> Vec<Finding> {
    let wanted = [
        ("bash", "exec.script"),
        ("sh", "exec.script with `shell: sh`"),
    ];
    let look = |(program, user): (&str, &str)| match probe::find_program(program) {
        Some(path) => Finding::ok(program, path.display().to_string()),
        None => Finding::warning(program, format!("not in PATH; {user} needs it")),
    };
    wanted.into_iter().map(look).collect()
}

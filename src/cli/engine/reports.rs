//! Reports that are written when a run is over: those of the playbook, and those of `--report`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::base::{Format, ReportFile};
use crate::cli::output::Output;
use crate::compile::{Program, World, run_value};
use crate::diag::codes;
use crate::event::RunState;
use crate::expr::Evaluated;
use crate::host::Store;
use crate::host::store::IfExists;
use crate::report::{FOR_STATES, render};

/// Reads `markdown=report.md`, as often as it was given.
fn parse(given: &[String]) -> Result<Vec<ReportFile>, String> {
    given
        .iter()
        .map(|text| {
            let report: ReportFile = text.parse().map_err(|error| format!("{error}"))?;
            report
                .format
                .one_of(FOR_STATES)
                .map_err(|error| error.to_string())?;
            Ok(report)
        })
        .collect()
}

/// The reports that were asked for; what is wrong with them is told.
pub(in crate::cli) fn asked(out: &Output, given: &[String]) -> Option<Vec<ReportFile>> {
    let told = |message: String| {
        let help = Some("write `--report markdown=report.md`");
        out.coded_error(codes::BAD_REPORT, &message, help);
    };
    parse(given).map_err(told).ok()
}

/// Whether no report would overwrite what the run is made of; one that would is told.
pub(in crate::cli) fn keep_off(
    out: &Output,
    program: &Program,
    params: &Map<String, Value>,
    asked: &[ReportFile],
) -> bool {
    let told = |message: &String| {
        out.coded_error(codes::BAD_REPORT, message, Some("name another file"));
    };
    refuse(program, params, asked).inspect_err(told).is_ok()
}

/// Says which report would overwrite what the run is made of. What a path needs of a run that has not
/// begun is not known yet; [`write_all`] looks once more.
fn refuse(
    program: &Program,
    params: &Map<String, Value>,
    asked: &[ReportFile],
) -> Result<(), String> {
    let world = World::new(program, params.clone(), None, Map::new());
    let declared = world.iter().flat_map(|world| {
        let reports = program.playbook().reports.iter();
        reports.filter_map(|report| match report.path.eval(world) {
            Ok(Evaluated::Known(path)) => Some(program.info().base_dir.join(path.to_string())),
            _ => None,
        })
    });
    let asked = asked.iter().map(|report| report.path.clone());
    { asked.chain(declared) }.try_for_each(|path| keeps_inputs(program, &path))
}

/// Whether a report at `path` leaves the playbook and its project file alone.
fn keeps_inputs(program: &Program, path: &Path) -> Result<(), String> {
    let info = program.info();
    let real = |path: &Path| path.canonicalize().ok();
    let is = |input: &Path| real(path).is_some_and(|path| Some(path) == real(input));
    let what = if is(&info.path) {
        "the playbook"
    } else if info.project.as_deref().is_some_and(is) {
        "the project file"
    } else {
        return Ok(());
    };
    let path = path.display();
    Err(format!("the report {path} would overwrite {what} itself"))
}

/// Writes a report, and says where it is or why not.
pub(in crate::cli) fn write(out: &Output, path: &Path, content: &[u8]) -> bool {
    match Store::new().write(path, content, IfExists::Replace) {
        Ok(()) => {
            out.note_line(&format!("report: {}", path.display()));
            true
        }
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            false
        }
    }
}

/// Writes all reports; whether every one could be.
pub(in crate::cli) fn write_all(
    out: &Output,
    program: &Program,
    state: &RunState,
    asked: &[ReportFile],
) -> bool {
    let mut all = true;
    let asked = asked
        .iter()
        .map(|report| (report.format, report.path.clone()));
    let declared = match declared(program, state) {
        Ok(declared) => declared,
        Err(message) => {
            out.error(&message, None);
            all = false;
            Vec::new()
        }
    };
    for (format, path) in asked.chain(declared) {
        let text = keeps_inputs(program, &path)
            .and_then(|()| render(state, format).map_err(|error| error.to_string()));
        all &= match text {
            Ok(text) => write(out, &path, text.as_bytes()),
            Err(message) => {
                out.error(&message, None);
                false
            }
        };
    }
    all
}

/// The reports that the playbook asks for, each with its path.
fn declared(program: &Program, state: &RunState) -> Result<Vec<(Format, PathBuf)>, String> {
    let reports = &program.playbook().reports;
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    let (name, began) = (&state.playbook.name, state.started_at);
    let run = run_value(&state.run, name, state.status, began);
    let world = World::new(program, state.params.clone(), None, run)
        .map_err(|error| format!("no report could be written: {error}"))?;
    reports
        .iter()
        .map(|report| match report.path.eval(&world) {
            Ok(Evaluated::Known(path)) => Ok((
                report.format,
                program.info().base_dir.join(path.to_string()),
            )),
            Ok(Evaluated::Unknown(unknown)) => Err(format!(
                "the path of a report is not known: {}",
                unknown.why
            )),
            Err(error) => Err(format!("the path of a report has no value: {error}")),
        })
        .collect()
}

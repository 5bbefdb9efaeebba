//! `runbook test [PATH…]`: plays the cases of test files, and touches nothing but the files named.

use std::path::PathBuf;

use anstream::ColorChoice;

use super::args::TestArgs;
use super::output::Output;
use super::{exit, list};
use crate::base::{Format, ReportFile};
use crate::diag::{Severity, Sources, codes};
use crate::host::Store;
use crate::host::store::IfExists;
use crate::report::trial::{How, Tested, render};
use crate::step::Registry;
use crate::trial::{self, Coverage};

pub(super) fn run(out: &mut Output, args: TestArgs) -> u8 {
    let Some(reports) = reports(out, &args.reports) else {
        return exit::USAGE;
    };
    let paths = match paths(&args.paths) {
        Ok(paths) => paths,
        Err(message) => {
            out.error(&message, None);
            return exit::USAGE;
        }
    };
    if paths.is_empty() {
        out.error(
            "there is no test file here",
            Some("name one, or a folder of files that end in `.test.yaml`"),
        );
        return exit::USAGE;
    }
    let registry = crate::steps::registry();
    let mut sources = Sources::new();
    let mut files = Vec::new();
    for path in paths {
        files.push(test(path, &args, &registry, &mut sources));
    }
    if let Some(name) = &args.run
        && files
            .iter()
            .all(|file| file.cases.is_empty() && file.errors.is_empty())
    {
        out.error(&format!("there is no case with `{name}` in its name"), None);
        return exit::USAGE;
    }
    if !tell(out, &args, &reports, &files, &sources) {
        return exit::USAGE;
    }
    let covered = is_covered(out, &args, &files);
    if files.iter().any(|file| !file.errors.is_empty()) {
        exit::USAGE
    } else if !covered || files.iter().any(|file| file.failed() > 0) {
        exit::FAILED
    } else {
        exit::DONE
    }
}

fn test(path: PathBuf, args: &TestArgs, registry: &Registry, sources: &mut Sources) -> Tested {
    let loaded = trial::load(&path, registry, sources);
    let mut tested = Tested {
        path: path.display().to_string(),
        playbook: String::new(),
        errors: Vec::new(),
        cases: Vec::new(),
        coverage: None,
    };
    let Some(file) = loaded.file else {
        let found = loaded.diagnostics.into_sorted().into_iter();
        tested.errors = found
            .filter(|found| found.severity == Severity::Error)
            .collect();
        return tested;
    };
    tested.playbook = file.playbook.display().to_string();
    let wanted = |name: &str| {
        args.run
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
    };
    let cases = file.cases.iter().filter(|case| wanted(&case.name.value));
    tested.cases = cases.map(|case| trial::play(&file.program, case)).collect();
    if tested.cases.len() == file.cases.len() {
        tested.coverage = Some(Coverage::of(&file.program, &tested.cases));
    }
    tested
}

/// Prints what came of it, and writes the reports that were asked for.
fn tell(
    out: &mut Output,
    args: &TestArgs,
    reports: &[ReportFile],
    files: &[Tested],
    sources: &Sources,
) -> bool {
    let how = How {
        color: out.color != ColorChoice::Never,
        quiet: out.quiet,
        verbose: out.verbose,
    };
    match render(args.format, files, sources, how) {
        Ok(text) => out.data(text),
        Err(error) => {
            out.error(&error.to_string(), None);
            return false;
        }
    }
    let plain = How {
        color: false,
        ..how
    };
    let mut written = true;
    for report in reports {
        let text = match render(report.format, files, sources, plain) {
            Ok(text) => text,
            Err(error) => {
                out.error(&error.to_string(), None);
                return false;
            }
        };
        if let Err(error) = Store::new().write(&report.path, text.as_bytes(), IfExists::Replace) {
            out.coded_error(codes::BAD_REPORT, &error.to_string(), error.help.as_deref());
            written = false;
        }
    }
    written
}

/// Whether every file covers as much of its playbook as was asked for.
fn is_covered(out: &Output, args: &TestArgs, files: &[Tested]) -> bool {
    let Some(least) = args.min_coverage else {
        return true;
    };
    let mut covered = true;
    for file in files {
        let Some(coverage) = &file.coverage else {
            continue;
        };
        let percent = coverage.percent();
        if percent < least {
            let path = &file.path;
            out.error(
                &format!(
                    "{path} covers {percent} % of {}, and {least} % are wanted",
                    file.playbook
                ),
                None,
            );
            covered = false;
        }
    }
    covered
}

fn reports(out: &Output, given: &[String]) -> Option<Vec<ReportFile>> {
    let mut all = Vec::new();
    for text in given {
        let report = text.parse::<ReportFile>().and_then(|report| {
            report.format.one_of(Format::FOR_TESTS)?;
            Ok(report)
        });
        match report {
            // What is tested is not overwritten with what came of it.
            Ok(report)
                if report
                    .path
                    .extension()
                    .is_some_and(|ext| ext == "yaml" || ext == "yml") =>
            {
                let message = format!("{} looks like a playbook or a test", report.path.display());
                out.coded_error(codes::BAD_REPORT, &message, Some("name another file"));
                return None;
            }
            Ok(report) => all.push(report),
            Err(error) => {
                let help = Some("write `--report junit=report.xml`");
                out.coded_error(codes::BAD_REPORT, &error.to_string(), help);
                return None;
            }
        }
    }
    Some(all)
}

fn paths(given: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    if given.is_empty() {
        return list::find_tests(&PathBuf::from("."));
    }
    let mut paths = Vec::new();
    for path in given {
        if path.is_dir() {
            paths.extend(list::find_tests(path)?);
        } else {
            // A file that is not there is told like everything else that is wrong with it.
            paths.push(path.clone());
        }
    }
    Ok(paths)
}

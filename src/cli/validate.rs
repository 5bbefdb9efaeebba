//! `runbook validate`: playbooks and their tests, offline; touches nothing but the files named.

use std::path::PathBuf;

use super::args::ValidateArgs;
use super::output::Output;
use super::{exit, list};
use crate::base::Format;
use crate::diag::{Diagnostic, Severity, Sources, Style};
use crate::report::diagnostics::{self, Checked};
use crate::{compile, trial};

pub(super) fn run(out: &mut Output, args: ValidateArgs) -> u8 {
    let paths = match paths(&args.paths) {
        Ok(paths) => paths,
        Err(message) => {
            out.error(&message, None);
            return exit::USAGE;
        }
    };
    if paths.is_empty() {
        let folders: Vec<String> = args
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let place = match folders.as_slice() {
            [] => "here".to_owned(),
            folders => format!("in {}", folders.join(", ")),
        };
        out.error(
            &format!("there is no playbook {place}"),
            Some("name a playbook, or a folder of them"),
        );
        return exit::USAGE;
    }
    let registry = crate::steps::registry();
    let mut sources = Sources::new();
    let all: Vec<(String, bool, Vec<Diagnostic>)> = paths
        .into_iter()
        .map(|path| {
            let name = path.display().to_string();
            let is_test = trial::says_test(&path);
            let found = if is_test {
                trial::load(&path, &registry, &mut sources).diagnostics
            } else {
                compile::load(&path, &registry, &mut sources).diagnostics
            };
            (name, is_test, found.into_sorted())
        })
        .collect();
    let checked: Vec<Checked<'_>> = all
        .iter()
        .map(|(name, is_test, diagnostics)| Checked {
            name,
            is_test: *is_test,
            diagnostics,
        })
        .collect();
    let count = |severity| {
        let found = all.iter().flat_map(|(_, _, found)| found);
        found
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let failed = errors > 0 || (args.strict && warnings > 0);
    match diagnostics::render(args.format, &checked, &sources, Style::Colored) {
        Ok(text) if failed || !out.quiet || args.format != Format::Text => out.data(text),
        Ok(_) => {}
        Err(error) => {
            out.error(&error.to_string(), None);
            return exit::USAGE;
        }
    }
    if failed { exit::FAILED } else { exit::DONE }
}

fn paths(given: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let here = [PathBuf::from(".")];
    let given = if given.is_empty() { &here } else { given };
    let mut paths = Vec::new();
    for path in given {
        if path.is_dir() {
            paths.extend(list::find(path)?);
            paths.extend(list::find_tests(path)?);
        } else {
            // A file that is not there is told like everything else that is wrong with it.
            paths.push(path.clone());
        }
    }
    Ok(paths)
}

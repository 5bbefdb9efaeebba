//! `runbook list`: the playbooks of a folder.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::ListArgs;
use super::exit;
use super::output::Output;
use crate::base::Format;
use crate::base::count::plural;
use crate::compile;
use crate::diag::Sources;
use crate::report::clean;

/// A playbook in a folder, as far as it could be read.
struct Listed {
    path: PathBuf,
    name: Option<String>,
    description: String,
    steps: usize,
    errors: usize,
}

pub(super) fn run(out: &mut Output, args: ListArgs) -> u8 {
    let folder = args.folder.unwrap_or_else(|| PathBuf::from("."));
    let paths = match find(&folder) {
        Ok(paths) => paths,
        Err(message) => {
            out.error(&message, None);
            return exit::USAGE;
        }
    };
    let registry = crate::steps::registry();
    let listed: Vec<Listed> = paths
        .into_iter()
        .map(|path| {
            let loaded = compile::load(&path, &registry, &mut Sources::new());
            let errors = loaded
                .diagnostics
                .iter()
                .filter(|d| d.severity == crate::diag::Severity::Error);
            let errors = errors.count();
            match &loaded.program {
                Some(program) => Listed {
                    name: Some(program.playbook().name.value.clone()),
                    description: program.playbook().description.clone().unwrap_or_default(),
                    steps: program.nodes().len(),
                    errors,
                    path,
                },
                None => Listed {
                    name: None,
                    description: String::new(),
                    steps: 0,
                    errors,
                    path,
                },
            }
        })
        .collect();
    match args.format {
        Format::Json => {
            let playbooks: Vec<_> = listed
                .iter()
                .map(|playbook| {
                    json!({
                        "path": playbook.path.display().to_string(),
                        "name": playbook.name,
                        "description": playbook.description,
                        "steps": playbook.steps,
                        "errors": playbook.errors,
                    })
                })
                .collect();
            out.json(&json!({ "schema_version": 1, "playbooks": playbooks }));
        }
        _ => print(out, &folder, &listed),
    }
    exit::DONE
}

fn print(out: &mut Output, folder: &Path, listed: &[Listed]) {
    if listed.is_empty() {
        out.note_line(&format!("there is no playbook in {}", folder.display()));
        return;
    }
    let width = listed
        .iter()
        .map(|p| p.path.display().to_string().len())
        .max()
        .unwrap_or(0);
    for playbook in listed {
        let path = playbook.path.display().to_string();
        let about = match (&playbook.name, playbook.errors) {
            (None, errors) => format!("has {}: runbook validate {path}", plural(errors, "error")),
            (Some(name), _) if playbook.description.is_empty() => name.clone(),
            (Some(_), _) => playbook.description.clone(),
        };
        let about = clean::line(&about);
        out.line(format_args!("{path:width$}  {about}"));
    }
}

/// The playbooks below `folder`, sorted: files that end in `.yaml` or `.yml` and say in their text
/// that they are one. Folders that are hidden, and `target` and `node_modules`, are left out.
pub(super) fn find(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    if folder.is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    walk(folder, 0, &says_playbook, &mut found)?;
    found.sort();
    Ok(found)
}

/// The test files below `folder`, sorted: those whose names end in `.test.yaml` or `.test.yml`.
pub(super) fn find_tests(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    walk(folder, 0, &is_test, &mut found)?;
    found.sort();
    Ok(found)
}

fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".test.yaml") || name.ends_with(".test.yml")
}

/// How deep folders are looked into.
const DEEPEST: usize = 16;

fn walk(
    folder: &Path,
    depth: usize,
    wanted: &dyn Fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|e| {
        format!(
            "could not list {}: {}",
            folder.display(),
            crate::host::error::io_cause(&e)
        )
    })?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("could not list {}: {e}", folder.display()))?;
        let file_name = entry.file_name();
        let name = file_name.to_string_lossy();
        let path = if folder == Path::new(".") {
            PathBuf::from(&file_name)
        } else {
            entry.path()
        };
        // Links are not followed: a circle of them would never end.
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            let skipped = name.starts_with('.') || matches!(&*name, "target" | "node_modules");
            if !skipped && depth < DEEPEST {
                walk(&path, depth + 1, wanted, found)?;
            }
        } else if (name.ends_with(".yaml") || name.ends_with(".yml")) && wanted(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a line of the file begins with `runbook:`, so that other YAML files are left alone.
fn says_playbook(path: &Path) -> bool {
    let Ok(bytes) = crate::host::files::read_limited(path, 128 << 20) else {
        return false;
    };
    bytes.starts_with(b"runbook:") || memchr::memmem::find(&bytes, b"\nrunbook:").is_some()
}

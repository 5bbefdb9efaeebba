//! `runbook schema`: prints a schema, or writes and checks all generated files.

use std::path::Path;

use super::args::{SchemaArgs, SchemaKind};
use super::exit;
use super::output::Output;
use crate::host::store::{IfExists, Store};
use crate::schema;

pub(super) fn run(out: &mut Output, args: SchemaArgs) -> u8 {
    let registry = crate::steps::registry();
    if let Some(folder) = &args.write {
        return write(out, folder, &schema::generated(&registry));
    }
    if let Some(folder) = &args.check {
        return check(out, folder, &schema::generated(&registry));
    }
    out.json(&match args.kind {
        SchemaKind::Playbook => schema::playbook(&registry),
        SchemaKind::Project => schema::project(),
        SchemaKind::Test => schema::test(),
        SchemaKind::Audit => crate::model::audit_schema(),
    });
    exit::DONE
}

fn write(out: &Output, folder: &Path, files: &[schema::Generated]) -> u8 {
    for file in files {
        let path = folder.join(&file.path);
        if let Err(error) = Store::new().write(&path, file.content.as_bytes(), IfExists::Replace) {
            out.error(&error.to_string(), None);
            return exit::FAILED;
        }
        out.note_line(&path.display().to_string());
    }
    exit::DONE
}

fn check(out: &Output, folder: &Path, files: &[schema::Generated]) -> u8 {
    let stale: Vec<String> = files
        .iter()
        .filter(|file| {
            let now = std::fs::read(folder.join(&file.path));
            now.ok().as_deref() != Some(file.content.as_bytes())
        })
        .map(|file| file.path.display().to_string())
        .collect();
    if stale.is_empty() {
        out.note_line(&format!(
            "{} generated files are as they should be",
            files.len()
        ));
        return exit::DONE;
    }
    out.error(
        &format!("generated files are stale: {}", stale.join(", ")),
        Some("`runbook schema --write` writes them"),
    );
    exit::FAILED
}

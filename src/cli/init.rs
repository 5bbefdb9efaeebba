//! `runbook init [FOLDER]`: begins a project.

use std::path::PathBuf;

use super::args::InitArgs;
use super::exit;
use super::output::Output;
use crate::host::store::{IfExists, Store};

/// The files of a new project. None replaces one that is there.
const FILES: &[(&str, &str)] = &[
    ("runbook.yaml", include_str!("init/runbook.yaml")),
    (
        "playbooks/check-host.yaml",
        include_str!("init/check-host.yaml"),
    ),
    (
        ".github/workflows/playbooks.yaml",
        include_str!("init/workflow.yaml"),
    ),
];

pub(super) fn run(out: &mut Output, args: InitArgs) -> u8 {
    let folder = args.folder.unwrap_or_else(|| PathBuf::from("."));
    let taken: Vec<String> = FILES
        .iter()
        .map(|(name, _)| folder.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !taken.is_empty() {
        out.error(
            &format!("{} is there already; nothing was written", taken.join(", ")),
            Some("begin in an empty folder: `runbook init FOLDER`"),
        );
        return exit::USAGE;
    }
    for (name, content) in FILES {
        let path = folder.join(name);
        if let Err(error) = Store::new().write(&path, content.as_bytes(), IfExists::Refuse) {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::FAILED;
        }
        out.line(path.display());
    }
    let playbook = folder.join("playbooks/check-host.yaml");
    out.note_line(&format!("run it: runbook run {}", playbook.display()));
    exit::DONE
}

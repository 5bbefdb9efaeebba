//! Reading a playbook and its project file from disk, through to a program.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Program, SourceInfo, compile};
use crate::base::{SourceId, Span};
use crate::diag::{Diagnostic, Diagnostics, Sources, codes};
use crate::host::files;
use crate::model::{self, PROJECT_FILE, Playbook, Project};
use crate::step::Registry;
use crate::{doc, host::HostError};

/// A playbook as far as it could be read.
#[derive(Debug)]
pub struct Loaded {
    /// What was found.
    pub diagnostics: Diagnostics,
    /// The program, where there is no error.
    pub program: Option<Program>,
}

/// The largest file that is read as a playbook, in bytes; the limit on texts is `doc`'s own.
const LARGEST: u64 = 128 << 20;

/// Reads and compiles the playbook at `path`, with the project file that is found upward from it.
/// Touches nothing but these two files; their texts are kept in `sources`, for the diagnostics.
pub fn load(path: &Path, registry: &Registry, sources: &mut Sources) -> Loaded {
    let mut diagnostics = Diagnostics::new();
    let program = (|| {
        let text = read(path, sources, &mut diagnostics)?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut info = SourceInfo {
            base_dir: absolute.parent().map(Path::to_owned).unwrap_or_default(),
            path: absolute,
            sha256: text.sha256.clone(),
            ..SourceInfo::default()
        };
        let playbook = decode_playbook(&text, sources, registry, &mut diagnostics);
        let project = match find_project(&info.path, &mut diagnostics) {
            Some(project_path) => {
                let text = read(&project_path, sources, &mut diagnostics)?;
                info.project = Some(project_path);
                info.project_sha256 = Some(text.sha256.clone());
                Some(decode_project(&text, sources, registry, &mut diagnostics)?)
            }
            None => None,
        };
        finish(
            playbook?,
            project.as_ref(),
            info,
            registry,
            &mut diagnostics,
        )
    })();
    Loaded {
        diagnostics,
        program,
    }
}

/// Compiles a playbook that is in no file: an example of the documentation, a built-in one.
pub fn load_text(name: &str, text: &str, registry: &Registry, sources: &mut Sources) -> Loaded {
    let mut diagnostics = Diagnostics::new();
    let id = sources.add(name, text);
    let text = Text {
        id,
        sha256: hex::encode(Sha256::digest(text.as_bytes())),
    };
    let info = SourceInfo {
        path: PathBuf::from(name),
        base_dir: std::env::current_dir().unwrap_or_default(),
        sha256: text.sha256.clone(),
        ..SourceInfo::default()
    };
    let program = decode_playbook(&text, sources, registry, &mut diagnostics)
        .and_then(|playbook| finish(playbook, None, info, registry, &mut diagnostics));
    Loaded {
        diagnostics,
        program,
    }
}

fn finish(
    mut playbook: Playbook,
    project: Option<&Project>,
    info: SourceInfo,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Program> {
    if let Some(project) = project {
        playbook.join(project);
    }
    compile(playbook, info, registry, diagnostics)
}

/// A text that was read.
struct Text {
    id: SourceId,
    sha256: String,
}

fn read(path: &Path, sources: &mut Sources, diagnostics: &mut Diagnostics) -> Option<Text> {
    let bytes = match files::read_limited(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) => {
            diagnostics.push(unreadable(path, &error));
            return None;
        }
    };
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let name = path.display().to_string();
    match doc::decode_utf8(bytes) {
        Ok(text) => Some(Text {
            id: sources.add_once(&name, &text),
            sha256,
        }),
        Err(place) => {
            let id = sources.add_once(&name, &place.text);
            diagnostics.push(place.diagnostic(id));
            None
        }
    }
}

fn unreadable(path: &Path, error: &HostError) -> Diagnostic {
    let message = error.to_string();
    let help = if path.is_dir() {
        Some("name a file in it; `runbook list` shows the playbooks of a folder".to_owned())
    } else {
        None
    };
    Diagnostic::error(codes::FILE_UNREADABLE, message).maybe_help(help)
}

fn decode_playbook(
    text: &Text,
    sources: &Sources,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Playbook> {
    let source = sources.get(text.id)?;
    let document = doc::parse(text.id, &source.text, diagnostics)?;
    let other = [
        (
            "runbook-project",
            "this is a project file, not a playbook",
            "name one of the playbooks beside it",
        ),
        (
            "runbook-test",
            "this is a test file, not a playbook",
            "`runbook test` plays it",
        ),
    ];
    if let Some((_, what, help)) = other.iter().find(|(key, ..)| has_key(&document, key)) {
        diagnostics.push(
            Diagnostic::error(codes::NOT_A_PLAYBOOK, *what)
                .at(Span::new(text.id, 0, 0))
                .help(*help),
        );
        return None;
    }
    model::decode_playbook(&document, &source.text, registry, diagnostics)
}

fn decode_project(
    text: &Text,
    sources: &Sources,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Project> {
    let source = sources.get(text.id)?;
    let document = doc::parse(text.id, &source.text, diagnostics)?;
    model::decode_project(&document, &source.text, registry, diagnostics)
}

fn has_key(document: &doc::Document, key: &str) -> bool {
    let map = document.root.as_map();
    map.is_some_and(|map| map.get(key).is_some())
}

/// The project file of the playbook at `path`: the first `runbook.yaml` upward from its folder that
/// is not a playbook itself.
///
/// A project file can name commands whose output is a secret, so one that belongs to somebody else
/// (`/tmp/runbook.yaml`) is refused.
fn find_project(path: &Path, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    let candidate = path
        .ancestors()
        .skip(1)
        .map(|folder| folder.join(PROJECT_FILE))
        .find(|candidate| candidate != path && candidate.is_file() && !is_playbook(candidate))?;
    let owner = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.uid()).ok();
    let trusted = [
        Some(0),
        Some(rustix::process::geteuid().as_raw()),
        owner(path),
    ];
    if !trusted.contains(&owner(&candidate)) {
        let message = format!(
            "the project file {} belongs to another user",
            candidate.display()
        );
        diagnostics.push(
            Diagnostic::error(codes::PROJECT_CONFLICT, message)
                .help("put a `runbook.yaml` of your own beside the playbook, or remove that one"),
        );
        return None;
    }
    Some(candidate)
}

fn is_playbook(path: &Path) -> bool {
    let project = |bytes: Vec<u8>| memchr::memmem::find(&bytes, b"runbook-project").is_some();
    files::read_limited(path, LARGEST).is_ok_and(|bytes| !project(bytes))
}

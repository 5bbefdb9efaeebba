//! The project file `runbook.yaml`: what the playbooks of a folder share.

use indexmap::IndexMap;

use super::declare::{Connection, SecretDecl, Var};
use super::playbook::{Defaults, Playbook};
use super::read::Decoder;
use crate::base::SourceId;
use crate::diag::Diagnostics;
use crate::doc::Document;
use crate::step::Registry;

/// The project file's name; it is found upward from the playbook.
pub const PROJECT_FILE: &str = "runbook.yaml";

/// What the playbooks of a folder share.
#[derive(Clone, Debug)]
pub struct Project {
    /// The text that it was read from.
    pub source: SourceId,
    /// Its name.
    pub name: Option<String>,
    /// Secrets.
    pub secrets: IndexMap<String, SecretDecl>,
    /// Connections.
    pub connections: IndexMap<String, Connection>,
    /// Variables.
    pub vars: IndexMap<String, Var>,
    /// What steps take that do not say otherwise.
    pub defaults: Defaults,
}

/// Reads a project file from its tree.
pub fn decode(
    document: &Document,
    text: &str,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Project> {
    let mut decoder = Decoder {
        registry,
        text,
        diagnostics,
    };
    let node = &document.root;
    let mut map = decoder.map(node, "a project file")?;
    if !decoder.header(&mut map, "runbook-project", node.span) {
        return None;
    }
    let name = map
        .take("name")
        .and_then(|e| decoder.text(e))
        .map(|t| t.value);
    let _ = map.take("description").and_then(|e| decoder.text(e));
    let secrets = map
        .take("secrets")
        .map(|e| decoder.secrets(e))
        .unwrap_or_default();
    let connections = map
        .take("connections")
        .map(|e| decoder.connections(e))
        .unwrap_or_default();
    let vars = map
        .take("vars")
        .map(|e| decoder.vars(e))
        .unwrap_or_default();
    let defaults = map
        .take("defaults")
        .map(|e| decoder.defaults(e))
        .unwrap_or_default();
    map.finish(decoder.diagnostics);
    Some(Project {
        source: document.source,
        name,
        secrets,
        connections,
        vars,
        defaults,
    })
}

impl Playbook {
    /// Takes in what the project declares; the playbook's own entries win.
    pub fn join(&mut self, project: &Project) {
        fn add<T: Clone>(own: &mut IndexMap<String, T>, shared: &IndexMap<String, T>) {
            for (name, value) in shared {
                if !own.contains_key(name) {
                    own.insert(name.clone(), value.clone());
                }
            }
        }
        add(&mut self.secrets, &project.secrets);
        add(&mut self.connections, &project.connections);
        add(&mut self.vars, &project.vars);
        self.defaults.timeout = self.defaults.timeout.or(project.defaults.timeout);
        self.defaults.fail_on = self.defaults.fail_on.or(project.defaults.fail_on);
    }
}

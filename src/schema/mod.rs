//! Generated files, from the registry: the JSON Schemas for editors and the reference pages.
//!
//! Writing and checking go over one path: [`generated`] makes every file, and `runbook schema`
//! writes them or compares them with those on disk.

mod keys;
mod language;
mod reference;
mod trial;

use std::path::PathBuf;

use serde_json::Value;

use crate::step::Registry;

pub use reference::{Row, fields, page};

/// The JSON Schema of playbooks.
pub fn playbook(registry: &Registry) -> Value {
    language::playbook(registry)
}

/// The JSON Schema of project files.
pub fn project() -> Value {
    language::project()
}

/// The JSON Schema of test files.
pub fn test() -> Value {
    trial::schema()
}

/// A file that is generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its path below the project's root.
    pub path: PathBuf,
    /// What is in it.
    pub content: String,
}

/// Every generated file.
pub fn generated(registry: &Registry) -> Vec<Generated> {
    let json = |path: &str, schema: &Value| Generated {
        path: PathBuf::from(path),
        content: format!("{schema:#}\n"),
    };
    let mut files = vec![
        json("schemas/playbook.schema.json", &playbook(registry)),
        json("schemas/project.schema.json", &project()),
        json("schemas/test.schema.json", &test()),
        json("schemas/audit.schema.json", &crate::model::audit_schema()),
    ];
    files.extend(reference::pages(registry));
    files
}

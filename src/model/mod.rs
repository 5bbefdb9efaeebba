//! A playbook as Rust types, decoded from the tree with the registry's help.
//!
//! Decoding collects every finding instead of stopping at the first: what it cannot read it leaves
//! out, and the diagnostics say so. Whether the parts fit together (names, order, types) is the
//! compiler's to say.

mod audit;
mod config;
mod declare;
mod playbook;
mod project;
mod read;
mod steering;
mod step;
mod tree;

pub use audit::{AUDIT_FILE, AuditConfig, Retention, audit_schema, decode as decode_audit};
pub use declare::{
    Connection, Param, ParamType, REPORT_FORMATS, ReportDecl, SecretDecl, SecretSource, Var,
};
pub use playbook::{Defaults, Order, Playbook, decode as decode_playbook};
pub use project::{PROJECT_FILE, Project, decode as decode_project};
pub use read::{Decoder, is_name};
pub use steering::{Approval, Foreach, Lock, OnConflict, OnTimeout, Retry, Verify};
pub use step::FailOn;
pub use step::{OnError, Step, Typed};
pub use tree::{Scope, Text, Tree, Visited};

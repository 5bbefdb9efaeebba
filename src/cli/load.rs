//! Reading a playbook for a verb: what is wrong with it is told, and the verb ends.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::args::ParamArgs;
use super::output::Output;
use crate::base::suggest;
use crate::compile::params::{self, Given};
use crate::compile::{self, Loaded, Program};
use crate::diag::{Severity, Sources};
use crate::event::MASK;
use crate::host::files;
use crate::step::Registry;

/// The program of the playbook at `path`; `None` where it has errors, which were told.
pub(super) fn program(out: &Output, path: &Path, registry: &Registry) -> Option<Program> {
    let mut sources = Sources::new();
    let Loaded {
        diagnostics,
        program,
    } = compile::load(path, registry, &mut sources);
    let findings = diagnostics.into_sorted();
    let errors = findings
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .count();
    if errors > 0 {
        out.diagnostics(&findings, &sources);
        let name = path.display();
        let plural = if errors == 1 { "" } else { "s" };
        out.error(
            &format!("{name} has {errors} error{plural}; nothing ran"),
            None,
        );
    } else if !out.quiet {
        out.diagnostics(&findings, &sources);
    }
    program
}

/// The values of a program's parameters; `None` where something is wrong with them, which was told.
pub(super) fn params(
    out: &Output,
    program: &Program,
    args: &ParamArgs,
) -> Option<Map<String, Value>> {
    let given = given(out, args)?;
    if !out.quiet {
        stray(out, program);
    }
    resolve(out, program, &given, &|name| std::env::var(name).ok())
}

fn resolve(
    out: &Output,
    program: &Program,
    given: &IndexMap<String, Given>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Option<Map<String, Value>> {
    match params::resolve(program.playbook(), given, lookup) {
        Ok(values) => Some(values),
        Err(errors) => {
            for error in errors {
                out.coded_error(error.code(), &error.to_string(), None);
            }
            None
        }
    }
}

/// The parameters that a run began with, or that a plan was made for. One that held a secret stands in
/// no record, and is given again; the others stay as they are.
pub(super) fn params_again(
    out: &Output,
    program: &Program,
    before: &Map<String, Value>,
    args: &ParamArgs,
) -> Option<Map<String, Value>> {
    let said = given(out, args)?;
    let hidden = |value: &Value| value.to_string().contains(MASK);
    // What an edit took out of the playbook is nobody's parameter any more.
    let before: Vec<(&String, &Value)> = { before.iter() }
        .filter(|(name, _)| program.playbook().params.contains_key(*name))
        .collect();
    let lost = { before.iter() }.find(|(name, value)| hidden(value) && !said.contains_key(*name));
    if let Some((name, _)) = lost {
        let message = format!("parameter `{name}` held a secret, and is in no record");
        out.error(&message, Some(&format!("give it again: `-p {name}=…`")));
        return None;
    }
    let kept = before.iter().filter(|(_, value)| !hidden(value));
    let mut all: IndexMap<String, Given> = kept
        .map(|(name, value)| ((*name).clone(), Given::Typed((*value).clone())))
        .collect();
    all.extend(said);
    let values = resolve(out, program, &all, &|_| None)?;
    let differs = |(name, before): &&(&String, &Value)| {
        !hidden(before) && values.get(*name).is_some_and(|now| now != *before)
    };
    if let Some((name, before)) = before.iter().find(differs) {
        let now = &values[*name];
        let message = format!("parameter `{name}` was {before}, and is {now} now; nothing ran");
        out.error(
            &message,
            Some("its parameters stay as they are: begin anew"),
        );
        return None;
    }
    Some(values)
}

/// What the command line says of parameters.
fn given(out: &Output, args: &ParamArgs) -> Option<IndexMap<String, Given>> {
    let mut given = IndexMap::new();
    if let Some(path) = &args.params_file {
        match params_file(path) {
            Ok(values) => given.extend(values.into_iter().map(|(k, v)| (k, Given::Typed(v)))),
            Err(message) => {
                out.error(&message, None);
                return None;
            }
        }
    }
    for param in &args.params {
        let Some((name, value)) = param.split_once('=') else {
            out.error(
                &format!("`{param}` is not NAME=VALUE"),
                Some("write `-p days=30`"),
            );
            return None;
        };
        given.insert(name.to_owned(), Given::Text(value.to_owned()));
    }
    Some(given)
}

/// Warns of variables that would set a parameter, if there were one of that name.
fn stray(out: &Output, program: &Program) {
    const PREFIX: &str = "RUNBOOK_PARAM_";
    let params = program.playbook().params.keys();
    let known: Vec<String> = params
        .map(|name| format!("{PREFIX}{}", name.to_uppercase()))
        .collect();
    let mut set: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name))
        .collect();
    set.sort();
    for name in set {
        let near = suggest::nearest(
            &name[PREFIX.len()..],
            known.iter().map(|n| &n[PREFIX.len()..]),
        );
        let near = near.map(|near| format!("; did you mean `{PREFIX}{near}`?"));
        out.warn(&format!(
            "the environment variable `{name}` sets no parameter of this playbook{}",
            near.unwrap_or_default()
        ));
    }
}

/// The largest file of parameters, in bytes.
const LARGEST: u64 = 16 << 20;

fn params_file(path: &Path) -> Result<Map<String, Value>, String> {
    let bytes = files::read_limited(path, LARGEST).map_err(|error| error.to_string())?;
    // JSON is YAML too. YAML's own values refuse a key that stands twice; JSON's would take the last.
    let read = serde_yaml::from_slice::<serde_yaml::Value>(&bytes)
        .map_err(|error| error.to_string())
        .and_then(|value| serde_json::to_value(value).map_err(|error| error.to_string()));
    match read.map_err(|error| format!("{} is neither YAML nor JSON: {error}", path.display()))? {
        Value::Object(map) => Ok(map),
        _ => Err(format!("{} is not a mapping of parameters", path.display())),
    }
}

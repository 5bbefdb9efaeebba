//! `runbook show PLAYBOOK`: what it takes, and what it does.

use serde_json::{Value, json};

use super::args::PlaybookArgs;
use super::output::Output;
use super::{exit, load};
use crate::base::Format;
use crate::compile::Program;
use crate::event::Section;
use crate::expr::{Part, Template};
use crate::model::{Param, SecretSource};
use crate::report::clean;

pub(super) fn run(out: &mut Output, args: PlaybookArgs) -> u8 {
    let registry = crate::steps::registry();
    let Some(program) = load::program(out, &args.playbook, &registry) else {
        return exit::USAGE;
    };
    match args.format {
        Format::Json => out.json(&as_json(&program)),
        _ => text(out, &program),
    }
    exit::DONE
}

/// A template as it is written.
fn written(template: &Template) -> String {
    match template {
        Template::Literal(text) => text.to_string(),
        Template::Whole(expr) => format!("${{{{ {} }}}}", expr.source().trim()),
        Template::Mixed(parts) => parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.to_string(),
                Part::Expr(expr) => format!("${{{{ {} }}}}", expr.source().trim()),
            })
            .collect(),
    }
}

fn source(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("environment variable {name}"),
        SecretSource::File(path) => format!("file {path}"),
        SecretSource::Command(argv) => format!("command {}", argv.join(" ")),
    }
}

fn param(param: &Param) -> String {
    let mut text = param.ty.as_str().to_owned();
    for (keyword, word) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("enum", "one of"),
    ] {
        if let Some(value) = param.schema.get(keyword) {
            text.push_str(&format!(", {word} {value}"));
        }
    }
    match &param.default {
        Some(default) => text.push_str(&format!(", default {}", default.value)),
        None => text.push_str(", required"),
    }
    if let Some(name) = &param.from_env {
        text.push_str(&format!(", from {name}"));
    }
    text
}

fn text(out: &mut Output, program: &Program) {
    let playbook = program.playbook();
    out.line(&playbook.name.value);
    if let Some(description) = &playbook.description {
        out.line(format_args!("  {}", clean::block(description)));
    }
    for (key, value) in &playbook.labels {
        out.line(format_args!(
            "  {key}: {}",
            value.as_str().unwrap_or_default()
        ));
    }
    if !playbook.params.is_empty() {
        out.line("\nParameters");
        for (name, declared) in &playbook.params {
            out.line(format_args!("  {name}  {}", param(declared)));
            if let Some(description) = &declared.description {
                out.line(format_args!("    {}", clean::block(description)));
            }
        }
    }
    let used: Vec<&str> = program.used_secrets().collect();
    if !used.is_empty() {
        out.line("\nSecrets");
        for name in used {
            if let Some(secret) = playbook.secrets.get(name) {
                out.line(format_args!("  {name}  {}", source(&secret.source)));
            }
        }
    }
    let used: Vec<&str> = program.used_connections().collect();
    if !used.is_empty() {
        out.line("\nConnections");
        for name in used {
            if let Some(connection) = playbook.connections.get(name) {
                out.line(format_args!("  {name}  {}", connection.kind));
            }
        }
    }
    for (title, section) in [("\nSteps", Section::Main), ("\nFinally", Section::Finally)] {
        let places: Vec<usize> = (0..program.nodes().len())
            .filter(|at| program.nodes()[*at].section == section)
            .collect();
        if places.is_empty() {
            continue;
        }
        out.line(title);
        let width = |f: &dyn Fn(usize) -> usize| places.iter().map(|at| f(*at)).max().unwrap_or(0);
        let ids = width(&|at| program.step(at).id.value.as_str().len());
        let types = width(&|at| program.step(at).ty.name().len());
        for at in places {
            let (step, node) = (program.step(at), &program.nodes()[at]);
            let id = step.id.value.as_str();
            let name = step.name.as_ref().map(written).unwrap_or_default();
            let line = format!(
                "  {id:ids$}  {:types$}  {:8}{name}",
                step.ty.name(),
                node.effect
            );
            out.line(clean::line(line.trim_end()));
            if let Some(when) = &step.when {
                out.line(format_args!("  {:ids$}  when {}", "", when.source().trim()));
            }
        }
    }
}

fn as_json(program: &Program) -> Value {
    let playbook = program.playbook();
    let steps: Vec<Value> = (0..program.nodes().len())
        .map(|at| {
            let (step, node) = (program.step(at), &program.nodes()[at]);
            let needs: Vec<&str> = node
                .needs
                .iter()
                .map(|need| program.step(*need).id.value.as_str())
                .collect();
            json!({
                "id": step.id.value.as_str(),
                "type": step.ty.name(),
                "name": step.name.as_ref().map(written),
                "section": node.section,
                "needs": needs,
                "when": step.when.as_ref().map(|when| when.source().trim()),
                "effect": node.effect,
                "repeat": node.repeat,
                "claimed_by": node.claimed_by,
            })
        })
        .collect();
    let params: Value = playbook
        .params
        .iter()
        .map(|(name, param)| {
            let mut schema = param.schema.clone();
            schema["type"] = json!(param.ty.as_str());
            schema["default"] = param
                .default
                .as_ref()
                .map_or(Value::Null, |d| d.value.clone());
            schema["required"] = json!(param.default.is_none());
            schema["description"] = json!(param.description);
            (name.clone(), schema)
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "schema_version": 1,
        "name": playbook.name.value,
        "description": playbook.description,
        "labels": playbook.labels,
        "path": program.info().path.display().to_string(),
        "sha256": program.info().sha256,
        "project": program.info().project.as_ref().map(|path| path.display().to_string()),
        "params": params,
        "secrets": program.used_secrets().collect::<Vec<_>>(),
        "connections": program.used_connections().collect::<Vec<_>>(),
        "steps": steps,
    })
}

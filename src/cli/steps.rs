//! `runbook steps [TYPE]`: the step types, or one of them.

use serde_json::json;

use super::args::{StepsArgs, StepsFormat};
use super::exit;
use super::output::Output;
use crate::diag::did_you_mean;
use crate::report::terminal::{Ink, Look, Pieces};
use crate::schema;
use crate::step::{AnyStep, Registry};

pub(super) fn run(out: &mut Output, args: StepsArgs) -> u8 {
    let registry = crate::steps::registry();
    let Some(name) = &args.name else {
        return list(
            out,
            &registry,
            &registry.iter().collect::<Vec<_>>(),
            args.format,
        );
    };
    if let Some(ty) = registry.get(name) {
        return show(out, &registry, ty, args.format);
    }
    let domain: Vec<&dyn AnyStep> = registry
        .iter()
        .filter(|ty| ty.name().split('.').next() == Some(name))
        .collect();
    if !domain.is_empty() {
        return list(out, &registry, &domain, args.format);
    }
    let help = did_you_mean(registry.suggest(name));
    let help = help.unwrap_or_else(|| "`runbook steps` lists all of them".to_owned());
    out.error(&format!("there is no step type `{name}`"), Some(&help));
    exit::USAGE
}

fn list(
    out: &mut Output,
    registry: &Registry,
    types: &[&'static dyn AnyStep],
    format: StepsFormat,
) -> u8 {
    let summary = |ty: &dyn AnyStep| {
        registry
            .doc(ty.name())
            .map(|d| d.summary)
            .unwrap_or_default()
    };
    match format {
        StepsFormat::Json => {
            let steps: Vec<_> = types
                .iter()
                .map(|ty| {
                    json!({
                        "type": ty.name(),
                        "summary": summary(*ty),
                        "effect": ty.effect(),
                        "repeat": ty.repeat(),
                    })
                })
                .collect();
            out.json(&json!({ "schema_version": 1, "steps": steps }));
        }
        StepsFormat::Markdown => {
            for ty in types {
                out.line(schema::page(registry, *ty));
            }
        }
        StepsFormat::Text => {
            let width = types.iter().map(|ty| ty.name().len()).max().unwrap_or(0);
            let look = Look::detect(&std::io::stdout(), out.color);
            for ty in types {
                let (name, effect) = (ty.name(), ty.effect());
                let mut line = format!("{name:width$}  {effect:8}  ");
                let indent = line.len();
                let summary = Pieces::new().and(Ink::Plain, summary(*ty));
                summary.write(&mut line, &look, indent, indent);
                out.line(line.trim_end());
            }
        }
    }
    exit::DONE
}

fn show(
    out: &mut Output,
    registry: &Registry,
    ty: &'static dyn AnyStep,
    format: StepsFormat,
) -> u8 {
    match format {
        StepsFormat::Json => out.json(&json!({
            "schema_version": 1,
            "type": ty.name(),
            "summary": registry.doc(ty.name()).map(|doc| doc.summary),
            "effect": ty.effect(),
            "repeat": ty.repeat(),
            "generic": ty.is_generic(),
            "config": ty.config_schema(),
            "outputs": ty.output_schema(),
        })),
        StepsFormat::Markdown => out.data(schema::page(registry, ty)),
        StepsFormat::Text => text(out, registry, ty),
    }
    exit::DONE
}

/// The page as plain text: the doc comment without Markdown's marks, then the fields in columns.
fn text(out: &mut Output, registry: &Registry, ty: &'static dyn AnyStep) {
    let doc = registry
        .doc(ty.name())
        .map(|doc| doc.text)
        .unwrap_or_default();
    out.line(format_args!("{}\n", ty.name()));
    let mut code = false;
    for line in doc.lines() {
        if line.starts_with("```") {
            code = !code;
        } else if code {
            out.line(format_args!("    {line}"));
        } else {
            out.line(line.trim_start_matches("# "));
        }
    }
    let generic = if ty.is_generic() {
        " (its author may say otherwise)"
    } else {
        ""
    };
    out.line(format_args!(
        "\nEffect {}, repeat {}{generic}",
        ty.effect(),
        ty.repeat()
    ));
    for (title, schema) in [
        ("Configuration", ty.config_schema()),
        ("Outputs", ty.output_schema()),
    ] {
        out.line(format_args!("\n{title}"));
        let rows = schema::fields(&schema);
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        for row in &rows {
            let default = match row.default.as_str() {
                "" => String::new(),
                "required" => ", required".to_owned(),
                default => format!(", default {}", default.trim_matches('`')),
            };
            out.line(format_args!(
                "  {:width$}  {}",
                row.name,
                row.about.replace('\n', " ")
            ));
            out.line(format_args!("  {:width$}  ({}{default})", "", row.ty));
        }
    }
}

//! Every step type keeps the contract: a bad entry cannot land.

use std::collections::BTreeSet;

use runbook::compile;
use runbook::diag::{Severity, Sources};
use runbook::event::{EffectClass, RepeatClass};
use runbook::step::Partial;
use runbook::steps::{ALL, registry};

#[test]
fn names_are_unique_and_well_formed() {
    let mut seen = BTreeSet::new();
    for step in ALL {
        let name = step.name();
        assert!(seen.insert(name), "{name} is twice in the list");
        let parts: Vec<&str> = name.split('.').collect();
        assert_eq!(parts.len(), 2, "{name} has one dot");
        for part in parts {
            let fits = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(!part.is_empty() && part.chars().all(fits), "{name}");
        }
    }
}

#[test]
fn classes_make_sense() {
    for step in ALL {
        if step.effect() == EffectClass::Read {
            assert_eq!(
                step.repeat(),
                RepeatClass::Idempotent,
                "{} only looks",
                step.name()
            );
        }
    }
}

#[test]
fn every_page_is_complete() {
    let registry = registry();
    for step in registry.iter() {
        let name = step.name();
        let doc = registry.doc(name).unwrap();
        assert!(doc.summary.len() > 15, "{name} has no summary");
        assert!(
            doc.text.contains("\n# Changes\n"),
            "{name} does not say what it changes"
        );
        assert!(doc.example.is_some(), "{name} has no example");
        for field in registry.shape(name).unwrap().fields() {
            assert!(
                !field.doc.is_empty(),
                "{name}: field `{}` has no doc",
                field.name
            );
        }
        let outputs = step.output_schema();
        for (field, schema) in outputs["properties"].as_object().into_iter().flatten() {
            let doc = schema["description"].as_str().unwrap_or_default();
            assert!(!doc.is_empty(), "{name}: output `{field}` has no doc");
        }
    }
}

#[test]
fn every_example_compiles_and_uses_its_type() {
    let registry = registry();
    for step in registry.iter() {
        let example = registry.doc(step.name()).unwrap().example.unwrap();
        let mut sources = Sources::new();
        let loaded = compile::load_text(step.name(), &example, &registry, &mut sources);
        let shown: Vec<String> = loaded
            .diagnostics
            .iter()
            .map(|d| runbook::diag::render(d, &sources, runbook::diag::Style::Plain))
            .collect();
        let clean = loaded
            .diagnostics
            .iter()
            .all(|d| d.severity < Severity::Warning);
        assert!(
            clean,
            "the example of {}:\n{}",
            step.name(),
            shown.join("\n")
        );
        let program = loaded.program.unwrap();
        let uses = (0..program.nodes().len()).any(|at| program.step(at).ty.name() == step.name());
        assert!(uses, "the example of {} does not use it", step.name());
    }
}

#[test]
fn every_type_describes_itself_without_knowing_anything() {
    for step in ALL {
        for config in [
            Partial::Known(serde_json::json!({})),
            Partial::Unknown("known later".into()),
            Partial::Map(vec![(
                "path".to_owned(),
                Partial::Unknown("known later".into()),
            )]),
        ] {
            let description = step.describe(&config);
            assert!(!description.summary.is_empty(), "{}", step.name());
        }
    }
}

#[test]
fn unknown_fields_are_refused_by_every_type() {
    for step in ALL {
        let error = step
            .check(&serde_json::json!({ "no_such_field": 1 }))
            .unwrap_err();
        assert!(!error.is_empty(), "{}", step.name());
    }
}

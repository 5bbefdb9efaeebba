//! The JSON Schema of test files, and the reference of their keys.
//!
//! It is for editors; what is played is checked by `trial`, whose diagnostics say more.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::keys::table;
use super::language::{DRAFT, NAME, duration, extend, object, words};
use crate::event::{Level, RunStatus, Status};
use crate::trial::{Crash, Decided};

/// A step or an item of one.
const PATH: &str = "^[a-z][a-z0-9_]{0,39}(\\[[0-9]+\\])?$";
/// What an answer or a call can be of.
const TARGET: &str = "^[a-z][a-z0-9_]{0,39}(\\[[0-9]+\\])?(\\.undo|\\.verify)?$";
/// A look at what a step would do.
const PREVIEW: &str = "^[a-z][a-z0-9_]{0,39}(\\[[0-9]+\\])?\\.preview$";

/// The schema.
pub(super) fn schema() -> Value {
    let mut schema = object(
        json!({
            "runbook-test": { "const": "v1", "description": "Marks a test file, and the version of its language" },
            "playbook": { "type": "string", "description": "The playbook that is tested, relative to this file" },
            "defaults": described("What holds for all cases that do not say otherwise: params, secrets and answers one by one", object(common(), &[])),
            "tests": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/case" }, "description": "The cases" },
        }),
        &["runbook-test", "playbook", "tests"],
    );
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!("Tests of a runbook playbook");
    schema["$defs"] = json!({
        "case": case(),
        "answer": answer(),
        "said": said(),
        "step": step(),
        "call": call(),
    });
    schema
}

fn by(pattern: &str, value: &Value, about: &str) -> Value {
    json!({
        "type": "object", "description": about,
        "patternProperties": { pattern: value }, "additionalProperties": false,
    })
}

fn described(about: &str, mut schema: Value) -> Value {
    schema["description"] = json!(about);
    schema
}

fn flag(about: &str) -> Value {
    json!({ "type": "boolean", "description": about })
}

fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn whole(least: u64, most: u64, about: &str) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most, "description": about })
}

fn one_or_more(name: &str) -> Value {
    let one = json!({ "$ref": format!("#/$defs/{name}") });
    json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
}

fn paths(about: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": PATH }, "description": about })
}

fn answers() -> Value {
    let mut answers = by(
        TARGET,
        &one_or_more("answer"),
        "What steps come to: by step (`purge`), by item (`reindex[0]`), of what belongs to one (`purge.verify`, `purge.undo`), or what it would do (`purge.preview: { rows: 3 }`, or `no_change`)",
    );
    answers["patternProperties"][PREVIEW] =
        json!({ "anyOf": [{ "type": "object" }, { "const": "no_change" }] });
    answers
}

/// What a case has that the file can say for all of them.
fn common() -> Value {
    json!({
        "params": { "type": "object", "propertyNames": { "pattern": NAME }, "description": "Parameters; those left out have their defaults" },
        "secrets": { "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": { "type": "string" }, "description": "The values of secrets; those left out have one that says which it is" },
        "at": { "type": "string", "format": "date-time", "default": "2026-01-01T00:00:00Z", "description": "The wall time at which the run begins" },
        "yes": { "type": "boolean", "default": false, "description": "Whether whoever runs it says yes to confirmations, as `run --yes` does" },
        "answers": answers(),
    })
}

fn case() -> Value {
    let mut said = one_or_more("said");
    said["anyOf"]
        .as_array_mut()
        .into_iter()
        .for_each(|choices| choices.push(json!({ "const": "times_out" })));
    let mut properties = json!({ "name": text("What the case shows") });
    extend(&mut properties, common());
    extend(
        &mut properties,
        json!({
            "max_parallel": { "type": "integer", "minimum": 1, "maximum": 10000, "default": 4, "description": "How many steps run side by side" },
            "approvals": by(NAME, &said, "What people say to steps that ask: one answer, a list of them, or `times_out`. Where nobody says anything, the run waits"),
            "cancel": described("Somebody ends the run, as `runbook cancel` does", object(json!({
                "after": duration("How long after the run's begin"),
                "by": text("Who"),
                "reason": text("Why"),
            }), &["after"])),
            "resolve": by(PATH, &json!({ "enum": ["done", "not-done"] }), "What a person says of steps whose outcome is not known, before the run is gone on with"),
            "expect": described("What must come of it", expect()),
        }),
    );
    object(properties, &["name", "expect"])
}

fn answer() -> Value {
    let levels: Vec<&str> = Level::ALL.iter().map(|level| level.as_str()).collect();
    object(
        json!({
            "outputs": { "type": "object", "description": "Its outputs, checked against its type; what nothing reads may be left out" },
            "findings": { "type": "array", "description": "What it finds; `fail_on` decides whether that fails it", "items": object(json!({
                "level": { "enum": levels, "description": "How much it weighs" },
                "subject": text("What it is about"),
                "message": text("What is the matter"),
                "help": text("What to do"),
            }), &["level"]) },
            "changed": flag("Whether it changed something; true by default for steps that may"),
            "fails": text("It fails with this error"),
            "transient": { "type": "boolean", "default": false, "description": "The failure may pass: a typed step is tried again" },
            "unknown": { "type": "boolean", "default": false, "description": "It failed so that nobody knows whether it happened" },
            "after": duration("How long it takes; no time by default"),
            "crash": { "enum": words(Crash::WORDS), "description": "The engine dies here, once: before the step is recorded as begun, between its begin and its result, or once its result is recorded. The run is gone on with as `resume` does" },
        }),
        &[],
    )
}

fn said() -> Value {
    object(
        json!({
            "by": text("Who"),
            "groups": { "type": "array", "items": { "type": "string" }, "description": "The groups that they are in, for `approval.from`" },
            "deny": { "type": "boolean", "default": false, "description": "They do not agree" },
            "after": duration("How long after the question; at once by default"),
            "reason": text("Why"),
        }),
        &["by"],
    )
}

fn expect() -> Value {
    let statuses = RunStatus::ALL
        .iter()
        .filter(|status| **status != RunStatus::Running);
    let statuses: Vec<&str> = statuses.map(|status| status.as_str()).collect();
    let step = json!({ "anyOf": [{ "enum": step_words() }, { "$ref": "#/$defs/step" }] });
    let condition = json!({ "type": ["string", "boolean"] });
    object(
        json!({
            "status": { "enum": statuses, "default": "succeeded", "description": "How the run ends; `succeeded` where neither this nor `exit` is said" },
            "exit": whole(0, 255, "The exit status of `run`, or of the last `resume`"),
            "steps": by(PATH, &step, "How steps and items end: a status, or more"),
            "order": paths("Steps in the order in which they begin; others may be in between"),
            "calls": by(TARGET, &json!({ "$ref": "#/$defs/call" }), "With what steps are called"),
            "that": { "anyOf": [condition, { "type": "array", "items": condition }], "description": "Expressions that are true in the end" },
            "approvals": by(NAME, &json!({ "enum": words(Decided::WORDS) }), "What came of questions"),
            "duration": { "anyOf": [duration("The virtual time that it takes, to the millisecond"), object(json!({
                "min": duration("The shortest"),
                "max": duration("The longest"),
            }), &[])], "description": "The virtual time that it takes: to the millisecond, or `min` and `max`" },
        }),
        &[],
    )
}

fn step_words() -> Vec<&'static str> {
    let all = Status::ALL
        .iter()
        .filter(|status| **status != Status::Running);
    all.map(|status| status.as_str()).collect()
}

fn step() -> Value {
    object(
        json!({
            "status": { "enum": step_words(), "description": "Its status; `pending` where the run waits" },
            "attempts": whole(0, u64::from(u32::MAX), "Its attempts in all"),
            "changed": flag("Whether it changed something"),
            "allowed": flag("Whether its failure lets the run go on"),
            "after": paths("Steps that are over before it begins"),
            "error": text("A part of its error"),
            "reason": text("A part of the reason why it was skipped"),
            "outputs": { "description": "A part of its outputs: of a mapping, some of its keys" },
            "undo": { "enum": step_words(), "description": "How it was taken back" },
        }),
        &[],
    )
}

fn call() -> Value {
    object(
        json!({
            "with": { "description": "A part of the configuration of one of its calls: of a mapping, some of its keys" },
            "times": whole(0, u64::from(u32::MAX), "How many calls there are, those of its items included"),
        }),
        &[],
    )
}

/// What stands above the tables.
const HEAD: &str = "\
# Test files

`runbook test FILE` plays the cases of a test file; [testing.md](../testing.md) shows how to write one.
Its first key is `runbook-test: v1`. Unknown keys are errors, as in playbooks.
";

/// The reference page.
pub(super) fn page(generated: &str) -> String {
    let schema = schema();
    let mut page = format!("{generated}\n{HEAD}\n");
    let parts = [
        ("A test file", &schema),
        ("A case (`tests[]`)", &schema["$defs"]["case"]),
        ("An answer (`answers.<step>`)", &schema["$defs"]["answer"]),
        (
            "What somebody says (`approvals.<step>`)",
            &schema["$defs"]["said"],
        ),
        (
            "Of a step (`expect.steps.<step>`)",
            &schema["$defs"]["step"],
        ),
        (
            "Of a call (`expect.calls.<step>`)",
            &schema["$defs"]["call"],
        ),
    ];
    for (title, part) in parts {
        let _ = writeln!(page, "## {title}\n");
        table(&mut page, &schema, &part["properties"], part);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

//! Records as snapshots: read them before you accept them.

use serde_json::{Value, json};

use super::render;
use crate::event::{Finding, RunStatus, Status, StepResult};
use crate::report::script::{self, Script, found, planned, put_out};

#[test]
fn a_record() {
    insta::assert_snapshot!(render(&script::fold(&script::daily_check())));
}

#[test]
fn a_record_of_a_good_run() {
    insta::assert_snapshot!(render(&script::fold(&script::quiet_night())));
}

#[test]
fn a_record_of_texts_that_bite() {
    insta::assert_snapshot!(render(&script::fold(&script::chinese())));
}

/// Outputs of every shape, and longer than a record has room for.
#[test]
fn a_record_of_long_outputs() {
    let tables: Vec<_> = (0..60)
        .map(|n| json!({ "table": format!("t|{n}"), "total_bytes": n * 1_000_000, "rows": n, "note": null }))
        .collect();
    let lines: Vec<String> = (0..50).map(|n| format!("line {n} ```")).collect();
    let mut script = Script::new(
        "outputs",
        json!({}),
        vec![planned("out", "exec.command", "")],
    );
    script.step(
        "out",
        StepResult {
            findings: vec![Finding::ok("a", "b")],
            ..put_out(1, json!({ "tables": tables, "stdout": lines.join("\n"), "names": ["a", "b"],
                "many": Value::Object((0..41).map(|n| (format!("k{n}"), json!({ "a": n }))).collect()),
                "nested": { "x": [1, { "y": 2 }] },
                "memory": { "used_bytes": 3 << 20, "policy": "lru", "max_bytes": null, "banks": [{ "size": 1024 }] },
                "empty": "", "none": null, "yes": true, "bytes": 1 << 20 }))
        },
    );
    insta::assert_snapshot!(render(&script::fold(
        &script.finish(RunStatus::Succeeded, 0)
    )));
}

/// A table is one only where every line has as many cells as its head.
#[test]
fn tables_hold_together() {
    let nasty = "a|b\nc\\|d `e|f` <br> ![x](y)\r\u{1b}[0m";
    let mut script = Script::new(
        nasty,
        json!({ nasty: nasty }),
        vec![planned("s", "x.y", nasty)],
    );
    script.step(
        "s",
        StepResult {
            error: Some(nasty.to_owned()),
            help: Some(nasty.to_owned()),
            outputs: json!({ "rows": [{ nasty: nasty }], nasty: nasty }),
            ..found(
                Status::Failed,
                1,
                vec![Finding::critical(nasty, nasty).with_help(nasty)],
            )
        },
    );
    let text = render(&script::fold(&script.finish(RunStatus::Failed, 1)));
    let mut width = None;
    for line in text.lines() {
        let cells = line.starts_with('|').then(|| cells(line));
        if let (Some(cells), Some(width)) = (cells, width) {
            assert_eq!(cells, width, "{line}");
        }
        width = cells;
    }
}

/// The cells of a line, as GFM counts them: a bar after a backslash is none.
fn cells(line: &str) -> usize {
    let mut number = 0;
    let mut escaped = false;
    for c in line.chars() {
        number += usize::from(c == '|' && !escaped);
        escaped = c == '\\' && !escaped;
    }
    number
}

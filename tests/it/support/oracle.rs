//! A judge that the engine never reads: each effect of a run appends a line to a file and inserts a
//! row into a table of a real PostgreSQL. And the mixed run whose effects these are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use super::lifetime;
use super::postgres::Postgres;
use super::process;
use super::run::{Ran, Runbook};

/// How often each effect took place.
pub type Told = BTreeMap<String, usize>;

/// `effect NAME` tells both. With `deaf` it cannot be ended halfway by a polite signal, so that the
/// two say the same. `keyed` is refused a second time by the table itself. A run in the shell of the
/// step, so that no time is spent on processes.
const EFFECT: &str = "\
effect() { # NAME
  psql -X -q --no-password -d 'URL' -c \"insert into effects values ('TAG', '$1')\"
  printf '%s\\n' \"$1\" >> 'FOLDER/oracle'
}
deaf() { trap '' TERM INT HUP; effect \"$1\"; }
keyed() {
  psql -X -q --no-password -d 'URL' -c \"insert into keyed values ('TAG', '$1') on conflict do nothing\"
}
";

/// The oracles of one run in one folder.
#[derive(Clone)]
pub struct Oracle {
    tag: String,
    file: PathBuf,
}

/// The database of all oracles.
fn database() -> &'static str {
    static DATABASE: OnceLock<String> = OnceLock::new();
    DATABASE.get_or_init(|| {
        let server = Postgres::shared();
        let name = server.new_database();
        let tables = "CREATE TABLE effects (run text, name text); \
                      CREATE TABLE keyed (run text, name text, UNIQUE (run, name))";
        server.psql_in(&name, tables);
        name
    })
}

impl Oracle {
    /// For the effects of a run in this folder, which gets a file `effects` to be sourced.
    pub fn of(run: Runbook) -> (Oracle, Runbook) {
        process::program("psql", "postgresql-client");
        let tag = format!("run-{}", lifetime::serial());
        let functions = EFFECT
            .replace("URL", &Postgres::shared().url(database()))
            .replace("TAG", &tag)
            .replace("FOLDER", &run.folder().display().to_string());
        let file = run.folder().join("oracle");
        (Oracle { tag, file }, run.file("effects", functions))
    }

    /// The lines of the file.
    pub fn lines(&self) -> Told {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        count(text.lines())
    }

    /// The rows of the table.
    pub fn rows(&self) -> Told {
        let tag = &self.tag;
        let sql = format!("SELECT name FROM effects WHERE run = '{tag}'");
        count(Postgres::shared().psql_in(database(), &sql).lines())
    }

    /// The rows of the table that takes each name once.
    pub fn keys(&self) -> Told {
        let tag = &self.tag;
        let sql = format!("SELECT name FROM keyed WHERE run = '{tag}'");
        count(Postgres::shared().psql_in(database(), &sql).lines())
    }
}

fn count<'a>(names: impl Iterator<Item = &'a str>) -> Told {
    let mut told = Told::new();
    for name in names.filter(|name| !name.is_empty()) {
        *told.entry(name.to_owned()).or_default() += 1;
    }
    told
}

/// A run of everything that a run can hold: steps of all repeat classes, a list, steps side by side,
/// attempts, outputs, a lock, an agreement, `undo`, `finally`. With `end` as `bad` its last step fails,
/// and what can be taken back is. Effects are named after their steps (`items 0` of `items[0]`).
pub fn mixed(bulk: bool) -> String {
    let script = |text: &str| format!("exec.script: {{ script: '. ./effects; {text}' }}");
    let lock = format!("test-{}-{}", lifetime::name(), lifetime::serial());
    let rows = script(r#"effect rows; echo "rows=7" >> "$RUNBOOK_OUTPUT"; echo said"#);
    let (first, undo_first) = (script("deaf first"), script("deaf \"undo first\""));
    let probed = script("deaf probed");
    let keyed = script("keyed keyed");
    let (left, right) = (script("deaf left"), script("effect right"));
    let flaky = script("effect flaky; [ -e tried ] || { touch tried; exit 1; }");
    let locked = script("deaf locked");
    let bye = script("deaf bye");
    let bulk = if bulk { BULK } else { "" };
    format!(
        "\
runbook: v1
name: mixed
params: {{ end: {{ type: string, default: good }} }}
lock: {{ key: {lock} }}
steps:
  - {{ id: rows, repeat: idempotent, {rows} }}
  - {{ id: first, {first}, undo: {{ {undo_first} }} }}
  - id: probed
    verify: {{ exec.command: {{ argv: [grep, -qx, probed, oracle] }}, expect: probe.outputs.exit_code == 0 }}
    {probed}
  - {{ id: keyed, repeat: keyed, {keyed} }}
  - id: items
    foreach: {{ in: 'range(3)', as: n }}
    exec.script: {{ env: {{ N: '${{{{ n }}}}' }}, script: '. ./effects; deaf \"items $N\"' }}
    undo: {{ exec.script: {{ env: {{ N: '${{{{ n }}}}' }}, script: '. ./effects; deaf \"undo items $N\"' }} }}
  - {{ id: left, needs: [items], {left} }}
  - {{ id: right, needs: [items], repeat: idempotent, {right} }}
  - {{ id: flaky, repeat: idempotent, retry: {{ attempts: 3, delay: 1ms }}, {flaky} }}
  - {{ id: locked, lock: {{ key: {lock}-step }}, approval: {{ kind: confirm, message: now }}, {locked} }}
  - {{ id: never, when: params.end == 'never', exec.command: {{ argv: [touch, never] }} }}
  - id: reader
    repeat: idempotent
    exec.script: {{ env: {{ R: '${{{{ steps.rows.outputs.values.rows }}}}' }}, script: '. ./effects; effect \"reader $R\"' }}
{bulk}  - {{ id: last, flow.assert: {{ that: [\"params.end == 'good'\"] }} }}
finally:
  - {{ id: bye, {bye} }}
"
    )
}

/// Steps that write some 2.4 MB: half of it logs, half of it records. That there is no place for their
/// outputs is none of their own failures.
const BULK: &str = r#"
  - id: bulk
    foreach: { in: 'range(12)', as: n }
    exec.script:
      env: { N: "${{ n }}" }
      script: |
        . ./effects
        deaf "bulk $N"
        head -c 100000 /dev/zero | tr '\0' x
        echo "text=$(head -c 100000 /dev/zero | tr '\0' y)" >> "$RUNBOOK_OUTPUT" || true
"#;

/// The effects that may take place more than once: their steps said so.
pub const REPEATABLE: &[&str] = &["rows", "right", "flaky", "reader 7"];

/// The name of the effect of a step, or of taking it back.
pub fn effect_of(path: &str, undo: bool) -> String {
    let name = path.replace('[', " ").replace(']', "");
    match (name.as_str(), undo) {
        ("reader", _) => "reader 7".to_owned(),
        (_, true) => format!("undo {name}"),
        (_, false) => name,
    }
}

/// The records of the newest run's journal that are whole; none where there is none.
pub fn records(state: &Path) -> Vec<Value> {
    let runs = std::fs::read_dir(state.join("runs")).into_iter().flatten();
    let newest = runs.flatten().map(|run| run.path()).max();
    let journal = newest.and_then(|run| std::fs::read(run.join("journal.jsonl")).ok());
    let bytes = journal.unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// The effects with a record of this kind (`step.start`, `undo.result`, …) that `holds`.
pub fn recorded(records: &[Value], kind: &str, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    let undo = kind.starts_with("undo");
    let of_kind = records.iter().filter(|record| record["kind"] == kind);
    of_kind
        .filter(|record| holds(record))
        .filter_map(|record| Some(effect_of(record["path"].as_str()?, undo)))
        .collect()
}

/// The paths of what began and has no result, and whether that was taking back.
pub fn open(records: &[Value]) -> Vec<(String, bool)> {
    let mut open: Vec<(String, bool)> = Vec::new();
    for record in records {
        let (Some(kind), Some(path)) = (record["kind"].as_str(), record["path"].as_str()) else {
            continue;
        };
        let at = (path.to_owned(), kind.starts_with("undo"));
        match kind {
            "step.start" | "undo.start" if !open.contains(&at) => open.push(at),
            "step.result" | "undo.result" => open.retain(|other| *other != at),
            _ => {}
        }
    }
    open
}

/// How the newest run stands: its status, and each step's. What led there (attempts, who said what) may
/// differ.
pub fn end_state(ran: &Ran) -> Value {
    let status = ran.then().args(["status", "last", "--format", "json"]);
    let status = status.run().json();
    let steps = status["steps"].as_array().expect("steps").iter();
    let steps: Vec<Value> = steps
        .map(|step| serde_json::json!([step["path"], step["status"]]))
        .collect();
    serde_json::json!({ "run": status["run"]["status"], "steps": steps })
}

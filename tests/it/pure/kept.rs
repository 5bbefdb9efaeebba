//! A saved plan is kept to: whatever the playbook, and whatever becomes of the world meanwhile, no
//! effect happens that the plan did not list.
//!
//! Playbooks are made up at random. Every effect appends a line to a file, the oracle.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::support::run::{Ran, Runbook};

/// What the file `list` holds when the plan looks at it.
const PLANNED: &str = "a b";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Looks at `list`.
    Look,
    /// Has an effect, and tells something that no plan can know.
    Change,
    Destroy,
    /// Has an effect, and fails.
    Fails,
    /// Has an effect, fails, has it again and succeeds.
    Flaky,
    /// Has an effect, and changes what later steps look at.
    Meddles,
    /// A look of a type of its own.
    Load,
    Assert,
}

use Kind::{Assert, Change, Destroy, Fails, Flaky, Load, Look, Meddles};

#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    Param(bool),
    /// A look says so: known to a plan.
    Looked(bool),
    /// A change says so: known to the run alone.
    Told(bool),
    /// By how the step before it ended.
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Items {
    One,
    Listed,
    Looked,
    Told,
}

#[derive(Clone, Debug)]
struct Step {
    kind: Kind,
    when: When,
    items: Items,
    /// Whether its configuration holds what was looked at.
    uses: bool,
    goes_on: bool,
    undo: bool,
    approval: bool,
    /// Bits: which of the steps before it it waits for, if it says so at all.
    needs: Option<u8>,
    finally: bool,
}

impl Step {
    fn plain(kind: Kind) -> Step {
        Step {
            kind,
            when: When::Always,
            items: Items::One,
            uses: false,
            goes_on: false,
            undo: false,
            approval: false,
            needs: None,
            finally: false,
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(vec![
        Look, Change, Change, Destroy, Fails, Flaky, Meddles, Load, Assert,
    ]);
    let when = prop_oneof![
        3 => Just(When::Always),
        1 => any::<bool>().prop_map(When::Param),
        1 => any::<bool>().prop_map(When::Looked),
        1 => any::<bool>().prop_map(When::Told),
        1 => Just(When::Ended),
    ];
    let items = prop_oneof![
        3 => Just(Items::One),
        1 => Just(Items::Listed),
        2 => Just(Items::Looked),
        1 => Just(Items::Told),
    ];
    let rest = (
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    );
    let order = (
        prop::option::weighted(0.3, any::<u8>()),
        prop::bool::weighted(0.15),
    );
    (kind, when, items, rest, order).prop_map(|(kind, when, items, rest, order)| Step {
        kind,
        when,
        items,
        uses: rest.0,
        goes_on: rest.1,
        undo: rest.2,
        approval: rest.3,
        needs: order.0,
        finally: order.1,
    })
}

fn script(id: &str, kind: Kind) -> String {
    let end = match kind {
        Fails => "exit 1",
        Flaky => "[ -e tried-$ID-$N ] || { touch tried-$ID-$N; exit 1; }",
        Meddles => "echo c d e > list",
        _ => ":",
    };
    format!(
        "ID={id}; echo \"$ID $N $V\" >> oracle; echo \"list=x y\" >> \"$RUNBOOK_OUTPUT\"; {end}"
    )
}

/// The first two steps are there for the others to refer to.
fn playbook(steps: &[Step]) -> String {
    let look =
        "effect: read, exec.script: { script: 'echo \"list=$(cat list)\" >> \"$RUNBOOK_OUTPUT\"' }";
    let mut main = format!("  - {{ id: s0, {look} }}\n");
    let told = script("s1", Change);
    writeln!(
        main,
        "  - {{ id: s1, exec.script: {{ env: {{ N: '-', V: '-' }}, script: '{told}' }} }}"
    )
    .unwrap();
    let mut finally = String::new();
    let mut looked = "s0".to_owned();
    let mut before: Vec<String> = vec!["s0".to_owned(), "s1".to_owned()];
    for (at, step) in steps.iter().enumerate() {
        let id = format!("s{}", at + 2);
        let mut text = format!("  - {{ id: {id}");
        if step.goes_on && step.kind != Look {
            text.push_str(", on_error: continue");
        }
        if let (Some(bits), false) = (step.needs, step.finally) {
            let needs = before
                .iter()
                .enumerate()
                .filter(|(at, _)| bits & (1 << (at % 8)) != 0);
            let needs: Vec<&str> = needs.map(|(_, id)| id.as_str()).collect();
            write!(text, ", needs: [{}]", needs.join(", ")).unwrap();
        }
        if step.kind == Look {
            writeln!(text, ", {look} }}").unwrap();
            if !step.finally {
                looked.clone_from(&id);
            }
        } else {
            body(&mut text, step, &id, &looked, before.last().unwrap());
        }
        match step.finally {
            true => finally.push_str(&text),
            false => {
                main.push_str(&text);
                before.push(id);
            }
        }
    }
    let mut text = format!(
        "runbook: v1\nname: random\nparams: {{ yes: {{ type: boolean, default: true }} }}\nsteps:\n{main}"
    );
    if !finally.is_empty() {
        write!(text, "finally:\n{finally}").unwrap();
    }
    text
}

/// The rest of a step that does not just look at the list.
fn body(text: &mut String, step: &Step, id: &str, looked: &str, last: &str) {
    let when = match step.when {
        When::Always => None,
        When::Param(is) => Some(format!("params.yes == {is}")),
        When::Looked(is) => Some(format!(
            "('b' in steps.{looked}.outputs.values.list) == {is}"
        )),
        When::Told(is) => Some(format!("('x' in steps.s1.outputs.values.list) == {is}")),
        When::Ended => Some(format!("steps.{last}.status == 'succeeded'")),
    };
    // A step of `finally` may look back at what never ran.
    if let Some(when) = when.filter(|_| !step.finally) {
        write!(text, ", when: \"{when}\"").unwrap();
    }
    match step.kind {
        Load => text.push_str(", fail_on: never, host.load: {} }\n"),
        Assert => text.push_str(", flow.assert: { that: [params.yes] } }\n"),
        kind => {
            let items = match step.items {
                Items::One => None,
                Items::Listed => Some("['a', 'b', 'c']".to_owned()),
                Items::Looked => Some(format!("steps.{looked}.outputs.values.list | split(' ')")),
                Items::Told => Some("steps.s1.outputs.values.list | split(' ')".to_owned()),
            };
            let items = items.filter(|_| !step.finally);
            if let Some(items) = &items {
                write!(text, ", foreach: {{ in: \"{items}\", as: item }}").unwrap();
            }
            match kind {
                Destroy => text.push_str(", effect: destroy"),
                Flaky => text.push_str(", repeat: idempotent, retry: { attempts: 2, delay: 1ms }"),
                _ => {}
            }
            if step.approval {
                text.push_str(", approval: { kind: confirm, message: Well }");
            }
            if step.undo && items.is_none() {
                let script = script(id, Change);
                write!(text, ", undo: {{ exec.script: {{ env: {{ N: undo, V: '-' }}, script: '{script}' }} }}").unwrap();
            }
            let number = if items.is_some() {
                "'${{ loop.index - 1 }}'"
            } else {
                "'-'"
            };
            let value = match step.uses && !step.finally {
                true => format!("'${{{{ steps.{looked}.outputs.values.list }}}}'"),
                false => "'-'".to_owned(),
            };
            let script = script(id, kind);
            writeln!(
                text,
                ", exec.script: {{ env: {{ N: {number}, V: {value} }}, script: '{script}' }} }}"
            )
            .unwrap();
        }
    }
}

/// By path, whether all that a step or item would do is known, of those that would or may change
/// something.
fn listed(plan: &Value) -> BTreeMap<String, bool> {
    let steps = plan["steps"].as_array().expect("steps");
    let text = |step: &Value, field: &str| step[field].as_str().unwrap_or_default().to_owned();
    let changes = steps.iter().filter(|step| {
        step["effect"] != "read" && ["run", "may_run"].contains(&&*text(step, "decision"))
    });
    let mut listed: BTreeMap<String, bool> = changes
        .map(|step| (text(step, "path"), step["digest"].is_string()))
        .collect();
    // A list whose items are told does nothing beside them.
    for step in steps {
        if let Some((step, _)) = text(step, "path").split_once('[') {
            listed.remove(step);
        }
    }
    listed
}

/// What came of one playbook.
#[derive(Default)]
struct Told {
    effects: usize,
    completed: usize,
    refused: usize,
    stopped: usize,
}

fn kept(steps: &[Step], change_first: bool, told: &mut Told) {
    let text = playbook(steps);
    let planned = Runbook::new()
        .file("list", PLANNED)
        .args(["plan", "-o", "plan.json"])
        .playbook(&text)
        .run();
    assert!([0, 1].contains(&planned.code), "{text}\n{planned}");
    assert!(
        !planned.folder().join("oracle").exists(),
        "the plan had an effect\n{text}"
    );
    let plan: Value = serde_json::from_str(&planned.read("plan.json")).unwrap();
    let listed = listed(&plan);
    if change_first {
        fs::write(planned.folder().join("list"), "a b c").unwrap();
    }
    let ran: Ran = planned
        .then()
        .args(["run", "--plan", "plan.json", "--no-input", "-y"])
        .run();
    assert!([0, 1, 3].contains(&ran.code), "{text}\n{ran}");
    let oracle = fs::read_to_string(ran.folder().join("oracle")).unwrap_or_default();
    for line in oracle.lines() {
        let [id, number, value] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let item = format!("{id}[{number}]");
        let path = if number == "-" || number == "undo" {
            id
        } else {
            &item
        };
        let Some(known) = listed.get(path).or(listed.get(id)) else {
            panic!("`{line}` was not planned: {listed:?}\n{text}\n{planned}\n{ran}");
        };
        assert!(
            !known || value == "-" || value == PLANNED,
            "`{line}` was planned otherwise\n{text}\n{planned}\n{ran}"
        );
    }
    told.effects += oracle.lines().count();
    match (ran.code, oracle.is_empty()) {
        (0, _) => told.completed += 1,
        (3, true) => told.refused += 1,
        _ if ran.stderr.contains("planned") || ran.stdout.contains("planned") => told.stopped += 1,
        _ => {}
    }
}

#[test]
fn no_effect_happens_that_was_not_planned() {
    // `RUNBOOK_TEST_PLANS=1000` for a longer look.
    let plans = std::env::var("RUNBOOK_TEST_PLANS").ok();
    let cases = plans.and_then(|plans| plans.parse().ok()).unwrap_or(96);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let told = std::cell::RefCell::new(Told::default());
    let playbooks = (
        prop::collection::vec(step(), 1..8),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.3),
    );
    let result = TestRunner::new(config).run(&playbooks, |(mut steps, change_first, meddled)| {
        // What others look at after this is not what the plan saw.
        if meddled {
            steps.splice(0..0, [Meddles, Look].map(Step::plain));
        }
        kept(&steps, change_first, &mut told.borrow_mut());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let Told {
        effects,
        completed,
        refused,
        stopped,
    } = told.into_inner();
    println!("{effects} effects; {completed} completed, {refused} refused, {stopped} stopped");
    assert!(effects > 0 && completed > 0 && refused > 0 && stopped > 0);
}

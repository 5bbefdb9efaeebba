//! A dry-run is pure, whatever the step types in it: the kernel is asked for nothing but the
//! playbook, on a machine that cannot be written to and has no network it says the same, and the
//! real run fails each of these trials.

use std::collections::BTreeMap;

use crate::support::process::need_root;
use crate::support::run::{Ran, Runbook};

mod kept;
mod plans;
mod targets;
pub mod trace;

use targets::{Step, Trip, World};
use trace::{Call, is_pure, traced};

const DRY: &[&str] = &["run", "--dry-run", "--verbose", "playbook.yaml"];

/// Everything that is mounted is remounted to be read alone; a folder that is named is given a new
/// file system to write to. That nothing else can be written is tried before the program starts.
const READ_ONLY: &str = "\
cut -d' ' -f5 /proc/self/mountinfo | while read -r at; do mount -o remount,bind,ro \"$at\" 2>&- || :; done
for at in . / /tmp /dev/shm /run /var/tmp; do
  if touch \"$at/probe\" 2>&-; then echo \"$at can be written\"; exit 99; fi
done
if [ -n \"$1\" ]; then mount -t tmpfs state \"$1\" || exit 98; fi
shift; exec \"$@\"";

fn read_only(run: Runbook, state: &str) -> Runbook {
    need_root("a machine that cannot be written to");
    run.under(["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", state])
}

/// A network of its own, in which nothing is up, loopback neither.
fn no_network(run: Runbook) -> Runbook {
    need_root("a machine without a network");
    run.under(["unshare", "--net"])
}

/// Whether a call gives away that such a step is at work.
fn trips(call: &Call, trip: Trip) -> bool {
    let has = |text: &str| call.rest.contains(text);
    match trip {
        Trip::Process(file) => call.name == "execve" && has(&format!("\"{file}\"")),
        Trip::Connect(port) => call.name == "connect" && has(&format!("htons({port})")),
        Trip::Socket(name) => call.name == "connect" && has(&format!("/{name}\"")),
        Trip::Read(file) => call.name.starts_with("open") && call.path().ends_with(file),
        Trip::Call(name) => call.name == name,
        Trip::Nothing => false,
    }
}

#[track_caller]
fn expect_pure(calls: &[Call]) {
    let touched: Vec<_> = calls
        .iter()
        .filter(|call| !is_pure(call))
        .map(Call::to_string)
        .collect();
    assert!(touched.is_empty(), "not pure: {touched:#?}");
    assert!(
        calls.iter().any(|call| call.name == "write"),
        "it said nothing"
    );
}

/// How each step ended, by its id.
fn statuses(ran: &Ran) -> BTreeMap<String, String> {
    let json = ran.json();
    let steps = json["steps"].as_array().expect("steps").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    steps
        .map(|step| (text(&step["id"]), text(&step["status"])))
        .collect()
}

#[test]
fn a_dry_run_of_any_type_is_pure() {
    let world = World::new();
    let steps = world.steps();
    let outside = world.runbook(&steps, &DRY[..3]).run();
    outside.expect_code(0);
    for step in &steps {
        assert!(
            outside.stdout.contains(&format!("{} ", step.id)),
            "{step:?}\n{outside}"
        );
    }

    let (ran, calls) = traced(world.runbook(&steps, &DRY[..3]));
    expect_pure(&calls);
    let read_only = read_only(world.runbook(&steps, &DRY[..3]), "").run();
    let no_network = no_network(world.runbook(&steps, &DRY[..3])).run();
    for other in [&ran, &read_only, &no_network] {
        other.expect_code(0);
        assert_eq!(other.stdout, outside.stdout);
        assert_eq!(other.stderr, outside.stderr);
        assert!(!other.state().exists(), "a state folder was made");
    }
}

/// What stands in the documentation is something else than what the test thought of.
#[test]
fn a_dry_run_of_every_example_is_pure() {
    let registry = runbook::steps::registry();
    for step in registry.iter() {
        let example = registry.doc(step.name()).unwrap().example.unwrap();
        let (ran, calls) = traced(Runbook::new().args(&DRY[..3]).playbook(&example));
        ran.expect_code(0);
        expect_pure(&calls);
    }
}

/// The control: each type, when it runs, is caught by what the dry-run has passed.
#[test]
fn a_run_of_any_type_is_caught() {
    let world = World::new();
    let steps = world.steps();
    let run = |steps: &[Step]| world.runbook(steps, &["run", "--yes", "--format", "json"]);
    let (ran, calls) = traced(run(&steps));
    ran.expect_code(0);
    for (step, status) in statuses(&ran) {
        assert_eq!(status, "succeeded", "{step}: every type works here\n{ran}");
    }
    let caught: Vec<&Call> = calls.iter().filter(|call| !is_pure(call)).collect();
    for step in steps.iter().filter(|step| step.trip != Trip::Nothing) {
        assert!(
            caught.iter().any(|call| trips(call, step.trip)),
            "{step:?} was not caught"
        );
    }
    // The engine alone does not look like one of them.
    let bare: Vec<Step> = { steps.iter() }
        .filter(|step| step.trip == Trip::Nothing)
        .cloned()
        .collect();
    assert!(!bare.is_empty() && bare.iter().all(|step| step.name.starts_with("flow.")));
    let (ran, calls) = traced(run(&bare));
    ran.expect_code(0);
    for step in &steps {
        let like: Vec<_> = calls.iter().filter(|call| trips(call, step.trip)).collect();
        assert!(
            like.is_empty(),
            "{step:?} is not told from the engine by {like:?}"
        );
    }
}

#[test]
fn a_run_that_touches_fails_where_nothing_can_be_written() {
    let world = World::new();
    let steps = world.steps();
    let run = world
        .runbook(&steps, &["run", "--yes", "--format", "json"])
        .file("state/here", "");
    let ran = read_only(run, "state").run();
    let statuses = statuses(&ran);
    for step in &steps {
        let touches = matches!(step.trip, Trip::Process(_));
        let expected = if touches { "failed" } else { "succeeded" };
        assert_eq!(statuses[&step.id], expected, "{step:?}\n{ran}");
        if let Trip::Process(file) = step.trip {
            assert!(!ran.folder().join(file).exists());
        }
    }
}

#[test]
fn a_run_that_connects_fails_where_there_is_no_network() {
    let world = World::new();
    let steps = world.steps();
    let ran = no_network(world.runbook(&steps, &["run", "--yes", "--format", "json"])).run();
    let statuses = statuses(&ran);
    for step in &steps {
        // What waits for a server does so until its time is over.
        let expected = match (step.trip, step.name) {
            (Trip::Connect(_), "postgres.ready") => "timed_out",
            (Trip::Connect(_), _) => "failed",
            _ => "succeeded",
        };
        assert_eq!(statuses[&step.id], expected, "{step:?}\n{ran}");
    }
}

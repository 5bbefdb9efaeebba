//! A plan looks and does not touch: it writes its own file and its own state folder, and starts no
//! program but those that the author declared to change nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use runbook::event::EffectClass;

use super::targets::{Step, Trip, World};
use super::trace::{CHANGING, Call, traced};

/// What a call changes outside of the process, if it does.
fn changes(call: &Call) -> bool {
    let has = |text: &str| call.rest.contains(text);
    match call.name.as_str() {
        "open" | "openat" | "openat2" => ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"]
            .iter()
            .any(|flag| has(flag)),
        "write" | "writev" | "pwrite64" | "sendfile" | "copy_file_range" => {
            let to = call.rest.split(['<', '>']).nth(1).unwrap_or_default();
            to.starts_with('/') && to != "/dev/null"
        }
        name => CHANGING.contains(&name),
    }
}

/// The files below a folder.
fn below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => left.push(path),
                false => found.extend(
                    path.strip_prefix(folder)
                        .map(|path| path.display().to_string()),
                ),
            }
        }
    }
    found
}

/// The programs that were started.
fn programs(calls: &[Call]) -> BTreeSet<String> {
    let name = |call: &Call| {
        call.path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    calls
        .iter()
        .filter(|call| call.name == "execve")
        .map(name)
        .collect()
}

#[test]
fn a_plan_of_any_type_touches_nothing() {
    let world = World::new();
    let registry = runbook::steps::registry();
    let mut steps = world.steps();
    // The author says that this one changes nothing.
    steps.push(Step {
        id: "declared".to_owned(),
        name: "exec.command",
        config: "{ argv: [head, -n, '1', app.log] }, effect: read".to_owned(),
        trip: Trip::Read("/app.log"),
    });
    let args = ["plan", "-o", "plan.json"];
    let (ran, calls) = traced(world.runbook(&steps, &args));
    ran.expect_code(0);
    for step in &steps {
        let ty = registry.get(step.name).expect("a registered type");
        let done: &[&str] = match (step.trip, ty.effect()) {
            (Trip::Process(_), _) => &["opaque"],
            (_, EffectClass::Read) => &["looked"],
            _ if ty.is_generic() => &["looked"],
            // Without `repair` it only looks.
            _ if step.name == "postgres.sequences" => &["looked"],
            _ => &["change"],
        };
        let told = |line: &&str| {
            let is_its = line.contains(&format!(" {} ", step.id));
            is_its && done.iter().any(|word| line.contains(word))
        };
        assert!(
            ran.stdout.lines().any(|line| told(&line)),
            "{step:?}\n{ran}"
        );
    }

    assert_eq!(programs(&calls), BTreeSet::from(["head".to_owned()]));
    let state = ran.state().display().to_string();
    let partial = format!("{}/.plan.json.", ran.folder().display());
    let ours = |call: &&Call| {
        let own = |text: &str| {
            [&*state, &*partial, ".plan.json.", "\"plan.json\""]
                .iter()
                .any(|own| text.contains(own))
        };
        own(&call.rest)
    };
    let changed: Vec<String> = { calls.iter() }
        .filter(|call| changes(call) && !ours(call))
        .map(Call::to_string)
        .collect();
    assert!(changed.is_empty(), "{changed:#?}");
    let left = [
        "app.log",
        "plan.json",
        "playbook.yaml",
        "state/keys/digest.key",
        "trace",
    ];
    assert_eq!(below(ran.folder()), left.map(str::to_owned).into());

    // The same trace of a run has what the plan's has not.
    let (_, calls) = traced(world.runbook(&steps, &["run", "--yes"]));
    for program in ["touch", "tee", "bash"] {
        assert!(programs(&calls).contains(program), "{program}");
    }
    assert!(
        calls
            .iter()
            .any(|call| changes(call) && call.rest.contains("by-command"))
    );
}

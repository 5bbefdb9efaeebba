//! What a typed step that changes something comes to in a test, with a type that no test may run.

#![expect(clippy::disallowed_methods, reason = "a test writes its files")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Played, load, play};
use crate::diag::Sources;
use crate::event::{EffectClass, RepeatClass};
use crate::host::{Effect, Observe};
use crate::step::{
    Act, Acts, Description, Outcome, Partial, Preview, Registry, StepError, StepType,
};

struct Drop;

/// Drops a table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    #[expect(dead_code, reason = "no test may get to read it")]
    table: String,
}

#[derive(Serialize, JsonSchema)]
struct Outputs {
    rows: u64,
}

impl StepType for Drop {
    const NAME: &'static str = "demo.drop";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn describe(_: &Partial) -> Description {
        Description::line("drop a table")
    }
}

impl Act for Drop {
    async fn preview(_: Config, _: &Observe) -> Result<Preview, StepError> {
        unreachable!("a test looked")
    }

    async fn run(_: Config, _: &Effect) -> Result<Outcome<Outputs>, StepError> {
        unreachable!("a test touched")
    }
}

/// The one case of a test of a playbook that drops a table.
fn played(case: &str) -> Played {
    played_with(
        "when: steps.drop.preview.rows > 10, message: \"${{ steps.drop.preview.rows }} rows\"",
        case,
    )
}

/// With an `approval` like this.
fn played_with(approval: &str, case: &str) -> Played {
    let folder = tempfile::tempdir().unwrap();
    let playbook = format!(
        "\
runbook: v1
name: dropping
steps:
  - id: drop
    demo.drop: {{ table: events }}
    approval: {{ {approval} }}
    retry: {{ attempts: 3, delay: 10s }}
"
    );
    let tests = format!(
        "runbook-test: v1\nplaybook: playbook.yaml\ntests:\n  - name: one\n    {}\n",
        case.replace('\n', "\n    ")
    );
    let path = folder.path().join("playbook.test.yaml");
    std::fs::write(folder.path().join("playbook.yaml"), playbook).unwrap();
    std::fs::write(&path, tests).unwrap();
    let registry = Registry::new(&[Acts::<Drop>::ENTRY]);
    let loaded = load(&path, &registry, &mut Sources::new());
    let file = loaded.file.unwrap_or_else(|| {
        let found: Vec<_> = loaded.diagnostics.iter().collect();
        unreachable!("{found:#?}")
    });
    play(&file.program, &file.cases[0])
}

fn failures(played: &Played) -> Vec<String> {
    { played.failures.iter() }
        .map(|failure| format!("{}: {}", failure.code, failure.message))
        .collect()
}

#[test]
fn a_preview_is_answered() {
    let passed = |case: &str| {
        let played = played(case);
        assert_eq!(failures(&played), Vec::<String>::new());
    };
    passed(
        "answers: { drop: { outputs: { rows: 3 } }, drop.preview: { rows: 3 } }
expect: { approvals: { drop: not_asked }, that: steps.drop.outputs.rows == 3 }",
    );
    passed(
        "answers: { drop: {}, drop.preview: { rows: 11 } }
yes: true
expect: { approvals: { drop: granted }, steps: { drop: { changed: true } } }",
    );
    passed(
        "answers: { drop: {}, drop.preview: { fails: no such table } }
expect: { exit: 1, approvals: { drop: not_asked }, steps: { drop: failed } }",
    );
}

#[test]
fn a_preview_that_is_read_needs_an_answer() {
    let played = played("answers: { drop: {} }\nyes: true\nexpect: {}");
    assert_eq!(
        failures(&played),
        ["RB902: `drop.preview` (demo.drop) got to run, and the case has no answer for it"]
    );
}

#[test]
fn a_typed_step_is_tried_again_only_after_what_may_pass() {
    for (transient, attempts) in [(true, 3), (false, 1)] {
        let played = played(&format!(
            "answers: {{ drop: {{ fails: lost, transient: {transient} }}, drop.preview: {{ rows: 1 }} }}
expect: {{ exit: 1, steps: {{ drop: {{ attempts: {attempts} }} }} }}"
        ));
        assert_eq!(failures(&played), Vec::<String>::new());
    }
}

#[test]
fn what_destroys_is_confirmed_where_nobody_has_to_approve() {
    let approval = "kind: approve, when: steps.drop.preview.rows > 10";
    let passed = |case: &str| {
        let played = played_with(approval, case);
        assert_eq!(failures(&played), Vec::<String>::new(), "{case}");
    };
    passed(
        "answers: { drop: {}, drop.preview: { rows: 3 } }
yes: true
expect: { approvals: { drop: confirmed } }",
    );
    passed(
        "answers: { drop: {}, drop.preview: { rows: 3 } }
expect: { status: failed, exit: 3, approvals: { drop: denied } }",
    );
    passed(
        "answers: { drop: {}, drop.preview: { rows: 11 } }
yes: true
approvals: { drop: { by: alice } }
expect: { approvals: { drop: granted } }",
    );
}

#[test]
fn what_a_preview_does_not_have_fails_the_step() {
    for approval in [
        "when: steps.drop.preview.row > 10",
        "message: \"${{ steps.drop.preview.row }} rows\"",
    ] {
        let played = played_with(
            approval,
            "answers: { drop: {}, drop.preview: { rows: 3, batches: 1 } }
yes: true
expect: { exit: 1, approvals: { drop: not_asked } }",
        );
        assert_eq!(failures(&played), Vec::<String>::new());
        let state = played.state.unwrap();
        let error = state.steps.values().next().unwrap().error.clone().unwrap();
        let told = "the preview has no `row`; it has `rows`, `batches`";
        assert!(error.ends_with(told), "{error}");
    }
}

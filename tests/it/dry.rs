//! What a dry-run says: what would run, what may, what would fail, without anything having run.

use crate::support::run::Runbook;

const PLAYBOOK: &str = "\
runbook: v1
name: dry
params: { deep: { type: boolean, default: false } }
secrets: { token: { env: TOKEN } }
steps:
  - { id: look, effect: read, exec.command: { argv: [touch, made] } }
  - { id: wipe, effect: destroy, exec.command: { argv: [rm, -rf, \"${{ steps.look.outputs.stdout }}\"] } }
  - { id: deep, when: params.deep, flow.set: { values: {} } }
  - { id: perhaps, when: \"steps.look.outputs.stdout == 'x'\", flow.set: { values: {} } }
  - { id: each, foreach: { in: \"['a', 'b']\", as: x }, exec.command: { argv: [touch, \"${{ x }}\"], env: { T: \"${{ secrets.token }}\" } } }
  - { id: many, foreach: { in: steps.look.outputs.stdout | list, as: x }, exec.command: { argv: [touch, \"${{ x }}\"] } }
finally:
  - { id: tell, flow.set: { values: { status: \"${{ run.status }}\", id: \"${{ run.id }}\" } } }
";

#[test]
fn what_is_not_known_yet_is_said_to_be_so() {
    let ran = Runbook::new()
        .args(["run", "--dry-run"])
        .playbook(PLAYBOOK)
        .run();
    ran.expect_code(0);
    for line in [
        "  look     would run   looks     run touch made",
        "  wipe     would run   DESTROYS  run rm -rf ‹known once step `look` has run›",
        "  deep     skipped     looks     set {}",
        "           `when` is false: params.deep",
        "  perhaps  may run     looks     set {}",
        "  each[1]  would run   changes   run touch b",
        "           the list is known once step `look` has run",
        "  tell     would run   looks     set {status: ‹known once the main steps are over›, id: ‹known once the run has begun›}",
        "7 steps: 4 look, 2 change, 1 destroy",
    ] {
        assert!(ran.stdout.lines().any(|said| said == line), "{line}\n{ran}");
    }
    for made in ["made", "a", "b", "state"] {
        assert!(!ran.folder().join(made).exists(), "{made} is there");
    }
}

#[test]
fn what_would_fail_is_found() {
    let playbook = "\
runbook: v1
name: dry
params: { deep: { type: boolean, default: false } }
steps:
  - { id: bad, flow.wait: { for: \"${{ 'never' if params.deep else 'soon' }}\" } }
";
    let dry = |format| {
        let dry = Runbook::new().args(["run", "--dry-run", "--format", format]);
        dry.playbook(playbook).run()
    };
    let text = dry("text");
    assert!(text.expect_code(1).stdout.contains("would FAIL"), "{text}");
    let json = dry("json").json();
    assert_eq!(json["dry_run"], true);
    assert_eq!(json["steps"][0]["decision"], "fail");
    let reason = json["steps"][0]["error"].as_str().unwrap();
    assert!(reason.contains("`soon` is not a duration"), "{reason}");
}

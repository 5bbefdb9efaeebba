//! Units that are on their way, that changed, and a systemd that cannot be asked.

use std::time::Duration;

use super::Checks;
use super::hidden::{after, as_nobody, as_nobody_after};
use crate::support::systemd::SystemdHost;
use crate::support::wait;

#[test]
fn units_by_what_they_should_do() {
    let mut checks = Checks::new("");
    let mut expect = |level, config: &str| {
        checks.expect(level, format!("service.check: {{ {config} }}"));
    };
    expect("warning", "unit: starting");
    expect("ok", "unit: starting, state: any");
    expect("ok", "unit: flapping");
    expect("ok", "unit: flapping, max_restarts: 3");
    expect("warning", "unit: flapping, max_restarts: 2");
    expect("ok", "unit: idle, state: any");
    expect("critical", "unit: broken, state: any");
    expect("critical", "unit: crashloop, state: any");
    expect("critical", "unit: missing, state: any");
    expect("ok", "unit: missing, state: inactive");
    expect("critical", "unit: demo, state: inactive");
    expect("warning", "unit: broken, state: inactive");
    // One bad unit is not hidden by good ones.
    expect("critical", "units: [demo, idle, flapping]");
    let ran = checks.run(|run| run.inside(SystemdHost::shared()));
    assert!(ran.stdout.contains("there is no such unit"), "{ran}");
}

#[test]
fn what_happens_to_a_unit_is_seen() {
    let host = SystemdHost::start();
    let look = |levels: [&'static str; 3]| {
        let mut checks = Checks::new("");
        for (level, unit) in levels.into_iter().zip(["postgresql", "demo", "idle"]) {
            checks.expect(level, format!("service.check: {{ unit: {unit} }}"));
        }
        checks.run(|run| run.inside(&host))
    };
    look(["critical", "ok", "critical"]);
    host.exec(&["systemctl", "start", "postgresql@15-main", "idle"])
        .expect_code(0);
    look(["ok", "ok", "ok"]);
    host.exec(&["systemctl", "kill", "--signal=KILL", "demo"])
        .expect_code(0);
    host.exec(&["systemctl", "stop", "postgresql@15-main", "idle"])
        .expect_code(0);
    host.exec(&["rm", "/etc/systemd/system/idle.service"])
        .expect_code(0);
    host.exec(&["systemctl", "mask", "idle"]).expect_code(0);
    wait::until("demo's end", Duration::from_secs(20), || {
        (host.property("demo", "ActiveState") == "failed").then_some(())
    });
    let ran = look(["critical", "critical", "critical"]);
    for said in ["killed by signal 9", "it is masked"] {
        assert!(ran.stdout.contains(said), "{said}: {ran}");
    }
}

#[test]
fn a_systemd_that_cannot_be_asked_is_unknown() {
    let mut seen = Checks::new("");
    seen.expect("ok", "service.check: { unit: demo }");
    let host = SystemdHost::shared();
    // Whoever asks over the bus needs not be root, and root needs no bus.
    seen.run(|run| as_nobody(run.inside(host)));
    let no_bus = "mount -t tmpfs none /run/dbus";
    // Often, since a first question was once lost on systemd's own socket now and then.
    for _ in 0..10 {
        seen.run(|run| after(no_bus, run.inside(host)));
    }

    let mut blind = Checks::new("");
    blind
        .expect("unknown", "service.check: { unit: demo }")
        .expect("unknown", "service.check: { unit: idle, state: inactive }")
        .expect("unknown", "service.check: { unit: idle, state: any }")
        .expect("unknown", "service.check: { units: [demo, missing] }");
    blind.run(|run| as_nobody_after(no_bus, run.inside(host)));
    let nothing = "mount -t tmpfs none /run";
    blind.run(|run| after(nothing, run.inside(host)));
}

#[test]
fn a_bus_that_hangs_leaves_the_other_way() {
    let host = SystemdHost::start();
    let look = |level, nobody: bool| {
        let mut checks = Checks::new("");
        checks.expect(level, "service.check: { unit: demo }");
        checks.run(|run| match nobody {
            true => as_nobody(run.inside(&host)),
            false => run.inside(&host),
        })
    };
    look("ok", true);
    host.exec(&["systemctl", "kill", "--signal=STOP", "dbus.service"])
        .expect_code(0);
    look("ok", false);
    let ran = look("unknown", true);
    assert!(ran.stdout.contains("no answer"), "{ran}");
}

//! The machine: disks that are really full, processes that are really left behind, and what nobody
//! may see.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::hidden::{after, as_nobody_after};
use super::{Checks, levels};
use crate::support::run::Runbook;
use crate::support::wait;

#[test]
fn a_full_disk_is_critical_and_one_without_inodes_too() {
    let mut checks = Checks::new("");
    checks
        .expect("ok", "host.disk: { paths: [free] }")
        .expect("warning", "host.disk: { paths: [most] }")
        .expect("critical", "host.disk: { paths: [full] }")
        .expect("critical", "host.disk: { paths: [inodes] }")
        .expect("unknown", "host.disk: { paths: [full/file/below] }")
        // One that could not be looked at is not hidden by those that are fine.
        .expect("unknown", "host.disk: { paths: [free, gone] }");
    let script = "\
mkdir free most full inodes
mount -t tmpfs -o size=1m none free
mount -t tmpfs -o size=1m none most
mount -t tmpfs -o size=1m none full
mount -t tmpfs -o size=1m,nr_inodes=4 none inodes
head -c 870k /dev/zero >most/file
head -c 1024k /dev/zero >full/file
touch inodes/1 inodes/2 inodes/3";
    let ran = checks.run(|run| after(script, run));
    for said in ["100 % used", "100 % of the inodes used", "not a directory"] {
        assert!(ran.stdout.contains(said), "{said}: {ran}");
    }
}

#[test]
fn a_disk_that_may_not_be_seen_is_unknown() {
    let mut checks = Checks::new("");
    checks.expect("unknown", "host.disk: { paths: [closed/disk] }");
    let script = "\
mkdir closed
mount -t tmpfs none closed
chmod 700 closed
mkdir closed/disk";
    let ran = checks.run(|run| as_nobody_after(script, run));
    assert!(ran.stdout.contains("permission denied"), "{ran}");
}

#[test]
fn without_proc_nothing_is_known() {
    let mut checks = Checks::new("");
    checks
        .expect("unknown", "host.disk: {}")
        .expect("unknown", "host.disk: { paths: [/] }")
        .expect("unknown", "host.processes: { sample: 100ms }");
    checks.run(|run| after("mount -t tmpfs none /proc", run));
}

#[test]
fn memory_and_processors_warn() {
    let mut checks = Checks::new("");
    checks.expect("warning", "host.memory: { warn: 0, fail: 100 }");
    checks.run(|run| run);

    // All processors may be busy with other tests for a while, which is critical.
    let playbook = "runbook: v1\nname: cpu\nsteps:\n  - { id: cpu, host.cpu: { warn: 0, fail: 100, sample: 100ms } }\n";
    wait::until("a processor that idles", Duration::from_secs(90), || {
        let runbook = Runbook::new().args(["run", "--format", "json"]);
        let ran = runbook.playbook(playbook).run();
        let level = levels(&ran).remove("cpu").expect("the step");
        let code = ["warning", "critical"]
            .iter()
            .position(|known| level == *known);
        assert_eq!(code, usize::try_from(ran.code).ok(), "{level}\n{ran}");
        (level == "warning").then_some(())
    });
}

/// A process that has ended and that its parent does not collect.
struct Zombie {
    parent: Child,
}

impl Zombie {
    fn make() -> Self {
        // `sleep` takes the shell's place, and does not know of its child.
        let parent = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c"])
            .arg("true & exec sleep 600")
            .stdout(Stdio::null())
            .spawn()
            .expect("sh is there");
        let zombie = Self { parent };
        wait::until("a zombie", Duration::from_secs(20), || {
            let mut all = crate::support::process::children(zombie.parent.id()).into_iter();
            all.any(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                stat.is_ok_and(|stat| stat.contains(") Z "))
            })
            .then_some(())
        });
        let name = std::fs::read_to_string(format!("/proc/{}/comm", zombie.parent.id()));
        assert_eq!(name.expect("it runs"), "sleep\n");
        zombie
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        self.parent.kill().ok();
        self.parent.wait().ok();
    }
}

#[test]
fn processes() {
    let _zombie = Zombie::make();
    let mut checks = Checks::new("");
    let mut expect = |level, limits: &str| {
        checks.expect(
            level,
            format!("host.processes: {{ sample: 100ms, {limits} }}"),
        );
    };
    expect("ok", "top: 3");
    expect("ok", "cpu_warn: 1000000, cpu_fail: 2000000");
    expect("ok", "zombies_warn: 100000");
    expect("warning", "zombies_warn: 1");
    expect("warning", "cpu_warn: 0");
    expect("critical", "cpu_warn: 0, cpu_fail: 0");
    checks.run(|run| run);

    let mut blind = Checks::new("");
    blind
        .expect("unknown", "host.processes: { sample: 100ms }")
        // That those that can be seen are fine does not hide that others cannot.
        .expect(
            "unknown",
            "host.processes: { sample: 100ms, cpu_warn: 1000000, zombies_warn: 100000 }",
        );
    let hide = "mount -t proc -o hidepid=2 proc /proc";
    let ran = blind.run(|run| as_nobody_after(hide, run));
    assert!(ran.stdout.contains("hidepid"), "{ran}");
}

//! A host with its own systemd: systemd-nspawn boots an overlay of this machine's own root in half a
//! second, with units in every state that a check may find.
//!
//! What is written inside goes to a tmpfs and is gone with the host. Processes, mounts, cgroups and
//! (unless told otherwise) the network are its own.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, io};

use rustix::process::Signal;

use super::daemon::{Daemon, Spec};
use super::process::{self, Output, Running, need_root};
use super::run::PROGRAM;
use super::{lifetime, wait};

/// How long a boot, or a unit's change of state, may take on a machine that is busy compiling.
const READY: Duration = Duration::from_secs(60);

/// Where the program under test is inside.
const RUNBOOK: &str = "/usr/local/bin/runbook";

/// The units inside, beside systemd's own, and the state (`ActiveState`, `SubState`) that each is in
/// once the host has booted. `missing.service` is not there.
const UNITS: &[(&str, &str, &str, &str)] = &[
    ("demo.service", SLEEPING, "active", "running"),
    // For tests that restart or reload something while others look.
    ("restarted.service", SLEEPING, "active", "running"),
    ("reloaded.service", RELOADABLE, "active", "running"),
    // Never started.
    ("idle.service", SLEEPING, "inactive", "dead"),
    ("broken.service", FAILING, "failed", "failed"),
    // Runs now, after three restarts.
    ("flapping.service", FLAPPING, "active", "running"),
    // Waits an hour for its next restart.
    ("crashloop.service", CRASHLOOP, "activating", "auto-restart"),
    // Never says that it is ready.
    ("starting.service", STARTING, "activating", "start"),
    // Debian's way: the unit named like the server is an empty shell around one unit a cluster, and
    // the cluster is down.
    ("postgresql.service", META, "active", "exited"),
    ("postgresql@.service", CLUSTER, "", ""),
];

const SLEEPING: &str = "\
[Service]
ExecStart=sleep infinity
";

const RELOADABLE: &str = "\
[Service]
ExecStart=sleep infinity
ExecReload=true
";

const FAILING: &str = "\
[Service]
ExecStart=false
";

const FLAPPING: &str = "\
[Unit]
StartLimitIntervalSec=0
[Service]
Restart=on-failure
RestartSec=20ms
ExecStart=sh -c 'echo >>/run/flapped; [ $$(wc -l </run/flapped) -gt 3 ] || exit 1; exec sleep infinity'
";

const CRASHLOOP: &str = "\
[Service]
Restart=on-failure
RestartSec=1h
ExecStart=false
";

const STARTING: &str = "\
[Service]
Type=notify
TimeoutStartSec=infinity
ExecStart=sleep infinity
";

const META: &str = "\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=true
";

const CLUSTER: &str = "\
[Unit]
PartOf=postgresql.service
Before=postgresql.service
[Service]
ExecStart=sleep infinity
";

/// A booted host. It is taken down when dropped, or when the test process is gone.
pub struct SystemdHost {
    folder: PathBuf,
    leader: u32,
    nspawn: Daemon,
}

impl SystemdHost {
    /// The host of all tests that only look at it.
    pub fn shared() -> &'static SystemdHost {
        static SHARED: OnceLock<SystemdHost> = OnceLock::new();
        SHARED.get_or_init(SystemdHost::start)
    }

    /// A host for one test, which may change or break it.
    #[track_caller]
    pub fn start() -> SystemdHost {
        need_root("a host with its own systemd");
        let nspawn = process::program("systemd-nspawn", "systemd-container");
        // The name is the folder's, the cgroup's and the host's: by it the janitor finds all three.
        let name = format!("{}-{}", lifetime::name(), lifetime::serial());
        let folder = lifetime::scratch().join("hosts").join(&name);
        mount(&folder);
        furnish(&folder.join("root")).expect("files can be written in the new root");
        let nspawn = boot(&nspawn, &name, &folder);
        let host = SystemdHost {
            leader: wait_until_booted(&nspawn),
            folder,
            nspawn,
        };
        host.start_units();
        host
    }

    /// Runs a command inside, to its end.
    #[track_caller]
    pub fn exec(&self, argv: &[&str]) -> Output {
        exec(self.leader, argv)
    }

    /// Puts in a unit, or another text for it.
    #[track_caller]
    pub fn install(&self, unit: &str, text: &str) {
        let path = self.folder.join("root/etc/systemd/system").join(unit);
        fs::write(path, text).expect("a file can be written");
        self.exec(&["systemctl", "daemon-reload"]).expect_code(0);
    }

    /// One property of a unit, as `systemctl show` has it.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let output = self.exec(&["systemctl", "show", "--value", "-p", name, unit]);
        output.expect_code(0).stdout.trim_end().to_owned()
    }

    /// Where it lies outside: its boot log, and its root as `root`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program under test, inside.
    pub fn runbook(&self) -> PathBuf {
        RUNBOOK.into()
    }

    /// What to put before a command so that it runs inside, in `folder` (one of `lifetime::folder`'s,
    /// which have the same path there), but with the network of the tests.
    pub fn enter(&self, folder: &Path) -> Vec<OsString> {
        let nsenter = process::program("nsenter", "util-linux");
        let mut argv = vec![nsenter.into_os_string()];
        argv.extend(["-t", &self.leader.to_string(), "-m", "-u", "-i", "-p", "-C"].map(Into::into));
        let mut workdir = OsString::from("--wdns=");
        workdir.push(folder);
        argv.extend([workdir, "--".into()]);
        argv
    }

    /// Brings the units into the states that `UNITS` tells.
    #[track_caller]
    fn start_units(&self) {
        self.exec(&[
            "systemctl",
            "start",
            "--no-block",
            "starting",
            "crashloop",
            "broken",
        ])
        .expect_code(0);
        self.exec(&[
            "systemctl",
            "start",
            "demo",
            "restarted",
            "reloaded",
            "flapping",
            "postgresql",
        ])
        .expect_code(0);
        self.exec(&["systemctl", "stop", "postgresql@15-main"])
            .expect_code(0);
        for (unit, _, active, sub) in UNITS.iter().filter(|unit| !unit.2.is_empty()) {
            let mut seen = String::new();
            let settled = wait::try_until(READY, || {
                let states = ["ActiveState", "SubState", "NRestarts"];
                let states = states.map(|name| self.property(unit, name));
                let [is, sub_is, restarts] = &states;
                seen = states.join(" ");
                let settled = *unit != "flapping.service" || restarts == "3";
                (is == active && sub_is == sub && settled).then_some(())
            });
            assert!(settled.is_some(), "{unit} is {seen}, not {active} ({sub})");
        }
    }
}

impl Drop for SystemdHost {
    fn drop(&mut self) {
        // What is inside is thrown away: no orderly end.
        self.nspawn.end(Signal::KILL);
        lifetime::clean_up(&self.folder);
    }
}

/// Mounts the new root at `root` in `folder`: this machine's own, with what is written kept in memory.
#[track_caller]
fn mount(folder: &Path) {
    let mount = process::program("mount", "mount");
    let at = folder.to_string_lossy();
    fs::create_dir(folder).expect("a folder can be made");
    process::output(
        &mount,
        &["-t", "tmpfs", "-o", "mode=755", "runbook-it", &at],
    )
    .expect_code(0);
    for part in ["upper", "work", "root"] {
        fs::create_dir(folder.join(part)).expect("a folder can be made");
    }
    let layers = format!("lowerdir=/,upperdir={at}/upper,workdir={at}/work");
    let root = format!("{at}/root");
    process::output(&mount, &["-t", "overlay", "-o", &layers, "overlay", &root]).expect_code(0);
}

/// Takes out what this machine would start, and puts in the tests' units.
fn furnish(root: &Path) -> io::Result<()> {
    let etc = root.join("etc");
    let system = etc.join("systemd/system");
    for entry in fs::read_dir(&system)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wants")
        {
            fs::remove_dir_all(path)?;
        }
    }
    fs::write(etc.join("machine-id"), "")?;
    fs::write(etc.join("fstab"), "")?;
    replace_link(
        &system.join("default.target"),
        "/lib/systemd/system/multi-user.target",
    )?;
    // Debian's generator would add this machine's own clusters.
    let generators = etc.join("systemd/system-generators");
    fs::create_dir_all(&generators)?;
    replace_link(&generators.join("postgresql-generator"), "/dev/null")?;

    for (name, text, ..) in UNITS {
        fs::write(system.join(name), text)?;
    }
    let clusters = system.join("postgresql.service.wants");
    fs::create_dir(&clusters)?;
    symlink(
        "../postgresql@.service",
        clusters.join("postgresql@15-main.service"),
    )
}

fn replace_link(link: &Path, target: &str) -> io::Result<()> {
    fs::remove_file(link).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    symlink(target, link)
}

/// Boots it, in a cgroup of its own: a host that shares the tests' cgroup could not end its services.
#[track_caller]
fn boot(nspawn: &Path, name: &str, folder: &Path) -> Daemon {
    let script =
        r#"until [[ $1 == -- ]]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@""#;
    let mut argv: Vec<OsString> = ["bash", "-c", script, "bash"].map(Into::into).into();
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        fs::create_dir(&group).expect("root can make a cgroup");
        argv.push(group.into());
    }
    argv.extend([
        "--".into(),
        nspawn.into(),
        "-D".into(),
        folder.join("root").into(),
    ]);
    argv.extend(
        [
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--link-journal=no",
            "--console=pipe",
            "--resolv-conf=off",
            "--timezone=off",
        ]
        .map(Into::into),
    );
    let files = lifetime::files();
    argv.push(format!("--machine={name}").into());
    argv.push(format!("--bind-ro={PROGRAM}:{RUNBOOK}").into());
    argv.push(format!("--bind={0}:{0}:norbind", files.display()).into());
    let spec = Spec {
        argv,
        user: None,
        death: "KILL",
        log: folder.join("boot.log"),
    };
    Daemon::start("systemd-nspawn", &spec)
}

/// The cgroup hierarchies in which systemd keeps its units: cgroup2's, and the old one by name.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts can be read");
    let of_systemd = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[_, place, kind, options, ..] = fields.as_slice() else {
            return None;
        };
        let named = kind == "cgroup" && options.split(',').any(|option| option == "name=systemd");
        (kind == "cgroup2" || named).then(|| PathBuf::from(place))
    };
    mounts.lines().filter_map(of_systemd).collect()
}

/// Waits until its systemd has nothing more to start, and returns that process's pid outside.
#[track_caller]
fn wait_until_booted(nspawn: &Daemon) -> u32 {
    let leader = wait::try_until(READY, || {
        if nspawn.ended().is_some() {
            return Some(Err(()));
        }
        let leader = *process::children(nspawn.pid()).first()?;
        let state = exec(leader, &["systemctl", "is-system-running"]).stdout;
        matches!(state.trim_end(), "running" | "degraded").then_some(Ok(leader))
    });
    match leader {
        Some(Ok(leader)) => leader,
        _ => panic!("the host did not boot:\n{}", nspawn.log()),
    }
}

/// Runs a command in all namespaces of a process.
#[track_caller]
fn exec(leader: u32, argv: &[&str]) -> Output {
    let mut command = Command::new(process::program("nsenter", "util-linux"));
    command
        .args([
            "-t",
            &leader.to_string(),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "--",
        ])
        .args(argv)
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/");
    Running::start(command, b"").finish(READY)
}

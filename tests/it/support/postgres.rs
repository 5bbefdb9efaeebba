//! PostgreSQL of the distribution, on a free loopback port, in a temporary folder.
//!
//! Every server is made by its own `initdb` (0.4 s): copies of one template would share their
//! `system_identifier`, by which runbook knows one database from another.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::certificates::{Authority, Subject};
use super::daemon::{Daemon, Spec};
use super::process::{self, Output, Running};
use super::{lifetime, net, wait};

/// How long a server may take to be ready, on a machine that is busy compiling.
const READY: Duration = Duration::from_secs(60);

/// Who may connect: members of `needs_password` with their password, over TCP; everyone else, and the
/// Unix socket, without. See PostgreSQL's manual, "The pg_hba.conf File".
const HBA: &str = "\
local all all trust
host all +needs_password 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
";

/// What can differ from one server to another.
#[derive(Clone, Default)]
pub struct Options {
    /// `max_connections`; PostgreSQL's own default (100) where `None`.
    pub max_connections: Option<u32>,
    /// Takes TLS connections, with a certificate of the test authority for `localhost` and 127.0.0.1.
    pub tls: bool,
    /// Another certificate than a good one.
    pub certificate: Option<Subject>,
    /// Further lines of `postgresql.conf`.
    pub settings: Vec<String>,
}

/// A server that runs, or was stopped by its test. It ends when dropped.
pub struct Postgres {
    daemon: Mutex<Daemon>,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    /// The server of all tests that only need one: they make databases of their own in it, and leave
    /// it running.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Postgres::start(&Options::default()))
    }

    /// A server for one test, which may stop, pause or break it.
    #[track_caller]
    pub fn start(options: &Options) -> Postgres {
        let folder = folder("postgres");
        let data = folder.path().join("data");
        run_as_postgres(&[
            bin("initdb").as_os_str(),
            "-D".as_ref(),
            data.as_os_str(),
            "--username=postgres".as_ref(),
            "--auth=trust".as_ref(),
            "--encoding=UTF8".as_ref(),
            "--locale=C.UTF-8".as_ref(),
            "--no-sync".as_ref(),
        ]);
        fs::write(data.join("pg_hba.conf"), HBA).expect("pg_hba.conf can be written");
        configure(&data, options);
        let server = Postgres::launch(folder);
        server.psql("CREATE ROLE needs_password NOLOGIN");
        server
    }

    /// A standby of this server, which streams from it when this returns.
    #[track_caller]
    pub fn standby(&self) -> Postgres {
        let folder = folder("standby");
        let data = folder.path().join("data");
        run_as_postgres(&[
            bin("pg_basebackup").as_os_str(),
            "-D".as_ref(),
            data.as_os_str(),
            "-d".as_ref(),
            self.url("postgres").as_ref(),
            "--write-recovery-conf".as_ref(),
            "--checkpoint=fast".as_ref(),
            "--wal-method=stream".as_ref(),
            "--no-sync".as_ref(),
        ]);
        let standby = Postgres::launch(folder);
        wait::until("the standby to stream", READY, || {
            let state = standby.psql("SELECT status FROM pg_stat_wal_receiver");
            (state == "streaming").then_some(())
        });
        standby
    }

    /// Starts the server of a data folder, on another port if somebody was quicker with ours.
    #[track_caller]
    fn launch(folder: TempDir) -> Postgres {
        for _ in 0..5 {
            let port = net::free_port();
            let daemon = launch(folder.path(), port);
            if wait_until_ready(&daemon, folder.path()) {
                return Postgres {
                    daemon: Mutex::new(daemon),
                    port,
                    folder,
                };
            }
        }
        panic!("PostgreSQL found no free port");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection URL for a database, as the superuser `postgres`, without a password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection URL with a user and password, which must need no encoding (ASCII letters, digits).
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The folder of the Unix socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a role that must give its password (SCRAM) over TCP.
    #[track_caller]
    pub fn create_role(&self, name: &str, password: &str) {
        self.psql(&format!(
            "CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE needs_password"
        ));
    }

    /// Makes a database and returns its URL.
    #[track_caller]
    pub fn create_database(&self, name: &str) -> String {
        self.psql(&format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Makes a database with a name that no other test has, and returns the name.
    #[track_caller]
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", lifetime::serial());
        self.create_database(&name);
        name
    }

    /// Runs SQL in the database `postgres` and returns its rows, one a line, columns separated by `|`.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// Runs SQL in a database. Any error fails the test.
    #[track_caller]
    pub fn psql_in(&self, database: &str, sql: &str) -> String {
        let output = self.try_psql(&self.url(database), sql);
        output.expect_code(0);
        output.stdout.trim_end().to_owned()
    }

    /// Runs SQL over any URL, and tells how that went.
    #[track_caller]
    pub fn try_psql(&self, url: &str, sql: &str) -> Output {
        let psql = process::program("psql", "postgresql-client");
        let flags = [
            "-X",
            "--quiet",
            "--no-password",
            "-At",
            "-v",
            "ON_ERROR_STOP=1",
        ];
        let mut command = Command::new(psql);
        command
            .args(flags)
            .args(["-d", url, "-f", "-"])
            .env("PGCONNECT_TIMEOUT", "10");
        Running::start(command, sql.as_bytes()).finish(READY)
    }

    /// The identity that `initdb` gave this server, and that a standby shares.
    #[track_caller]
    pub fn system_identifier(&self) -> String {
        self.psql("SELECT system_identifier FROM pg_control_system()")
    }

    /// Stops it, breaking off connections (`pg_ctl`'s mode "fast").
    #[track_caller]
    pub fn stop(&self) {
        self.daemon.lock().unwrap().stop(Signal::INT);
    }

    /// Kills it: what a crash leaves.
    #[track_caller]
    pub fn crash(&self) {
        self.daemon.lock().unwrap().stop(Signal::QUIT);
    }

    /// Starts it again on the same port, after `stop` or `crash`.
    #[track_caller]
    pub fn start_again(&self) {
        let mut daemon = self.daemon.lock().unwrap();
        assert!(!daemon.runs(), "PostgreSQL still runs");
        *daemon = launch(self.folder.path(), self.port);
        assert!(
            wait_until_ready(&daemon, self.folder.path()),
            "the port is taken"
        );
    }

    /// Starts it again on the same port, after `stop`, to recover from an archive that does not answer:
    /// it is starting until `finish_starting`.
    #[track_caller]
    pub fn start_to_recover(&self) {
        let held = self.held();
        fs::write(&held, "").expect("a file can be written");
        let restore = format!(
            "restore_command = 'while [ -e {} ]; do sleep 0.05; done; false'",
            held.display()
        );
        self.start_as("recovery.signal", &[restore], "starting");
    }

    /// The archive answers, and has nothing: the server becomes ready.
    #[track_caller]
    pub fn finish_starting(&self) {
        fs::remove_file(self.held()).expect("it is there");
        let daemon = self.daemon.lock().unwrap();
        assert!(
            wait_until_ready(&daemon, self.folder.path()),
            "the port is taken"
        );
    }

    /// Starts it again on the same port, after `stop`, as a standby that takes no connections.
    #[track_caller]
    pub fn start_as_closed_standby(&self) {
        self.start_as(
            "standby.signal",
            &["hot_standby = off".to_owned()],
            "standby",
        );
    }

    /// Asks it to end when its sessions have ended (`pg_ctl`'s mode "smart"), and waits until it does
    /// not take any more.
    #[track_caller]
    pub fn begin_to_stop(&self) {
        self.daemon.lock().unwrap().signal(Signal::TERM);
        self.wait_for_state("stopping");
    }

    fn held(&self) -> PathBuf {
        self.folder.path().join("held")
    }

    #[track_caller]
    fn start_as(&self, role: &str, settings: &[String], state: &str) {
        let data = self.folder.path().join("data");
        let options = Options {
            settings: settings.to_vec(),
            ..Options::default()
        };
        configure(&data, &options);
        fs::write(data.join(role), "").expect("a file can be written");
        let mut daemon = self.daemon.lock().unwrap();
        assert!(!daemon.runs(), "PostgreSQL still runs");
        *daemon = launch(self.folder.path(), self.port);
        drop(daemon);
        self.wait_for_state(state);
    }

    #[track_caller]
    fn wait_for_state(&self, wanted: &str) {
        wait::until(wanted, READY, || {
            let daemon = self.daemon.lock().unwrap();
            assert!(daemon.runs(), "PostgreSQL ended:\n{}", daemon.log());
            (state(&daemon, self.folder.path()).as_deref() == Some(wanted)).then_some(())
        });
    }

    /// Makes it hang (SIGSTOP): connections are taken by the kernel, and nobody answers.
    pub fn pause(&self) {
        self.daemon.lock().unwrap().pause();
    }

    /// Ends the hanging.
    pub fn resume(&self) {
        self.daemon.lock().unwrap().resume();
    }

    pub fn log(&self) -> String {
        self.daemon.lock().unwrap().log()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Orderly, though at once: it gives back its shared memory.
        self.daemon.lock().unwrap().end(Signal::QUIT);
    }
}

/// A folder that belongs to the user who runs PostgreSQL, which refuses to run as root.
fn folder(what: &str) -> TempDir {
    let folder = lifetime::folder(what);
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = postgres_ids();
        chown(folder.path(), Some(uid), Some(gid)).expect("root can give a folder away");
    }
    folder
}

/// User and group of `postgres`, by passwd(5).
fn postgres_ids() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let ids = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields[0] == "postgres")
            .then(|| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)))?
    });
    ids.unwrap_or_else(|| process::missing("the user postgres", "postgresql"))
}

fn configure(data: &Path, options: &Options) {
    let mut lines =
        String::from("\nfsync = off\nshared_preload_libraries = 'pg_stat_statements'\n");
    if let Some(max) = options.max_connections {
        writeln!(lines, "max_connections = {max}").unwrap();
    }
    if options.tls {
        let subject = options.certificate.clone().unwrap_or_default();
        let certificate = Authority::shared().issue(&subject);
        let owner = fs::metadata(data).expect("the data folder is there");
        for (name, pem) in [
            ("server.crt", certificate.chain()),
            ("server.key", certificate.key()),
        ] {
            let path = data.join(name);
            fs::write(&path, pem).expect("a certificate can be written");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
            chown(&path, Some(owner.uid()), Some(owner.gid())).expect("it can be given away");
        }
        lines.push_str("ssl = on\n");
    }
    for line in &options.settings {
        writeln!(lines, "{line}").unwrap();
    }
    let conf = OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"));
    conf.and_then(|mut conf| conf.write_all(lines.as_bytes()))
        .expect("postgresql.conf can be written");
}

/// Starts the server process of `folder`.
#[track_caller]
fn launch(folder: &Path, port: u16) -> Daemon {
    let mut argv = vec![
        bin("postgres").into_os_string(),
        "-D".into(),
        folder.join("data").into(),
    ];
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", folder.display()),
        "logging_collector=off".to_owned(),
    ] {
        argv.extend(["-c".into(), setting.into()]);
    }
    let spec = Spec {
        argv,
        user: Some("postgres"),
        death: "QUIT",
        log: folder.join("server.log"),
    };
    Daemon::start("PostgreSQL", &spec)
}

/// What it says of itself in the eighth line of its `postmaster.pid`, where `pg_ctl` looks for it too.
fn state(daemon: &Daemon, folder: &Path) -> Option<String> {
    let state = fs::read_to_string(folder.join("data/postmaster.pid")).ok()?;
    let mut lines = state.lines();
    let ours = lines.next() == Some(&daemon.pid().to_string());
    let said = lines.nth(6)?.trim_end().to_owned();
    ours.then_some(said)
}

/// Waits until it takes connections; `false` when its port is taken.
#[track_caller]
fn wait_until_ready(daemon: &Daemon, folder: &Path) -> bool {
    let ready = wait::try_until(READY, || {
        if daemon.ended().is_some() {
            return Some(false);
        }
        (state(daemon, folder)? == "ready").then_some(true)
    });
    let log = daemon.log();
    assert!(
        ready == Some(true) || log.contains("Address already in use"),
        "PostgreSQL:\n{log}"
    );
    ready == Some(true)
}

/// Runs one of PostgreSQL's own programs to its end, as its user.
#[track_caller]
fn run_as_postgres(argv: &[&OsStr]) {
    let mut command = Command::new(process::program("setpriv", "util-linux"));
    if rustix::process::geteuid().is_root() {
        command.args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--clear-groups",
        ]);
    }
    command
        .arg("--")
        .args(argv)
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/");
    Running::start(command, b"").finish(READY).expect_code(0);
}

/// A program of the newest installed server version; Debian keeps them off the PATH.
#[track_caller]
pub fn bin(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort();
    let folders = versions.into_iter().rev().map(|(_, path)| path.join("bin"));
    process::find(name, folders).unwrap_or_else(|| process::program(name, "postgresql"))
}

//! Redis of the distribution, on a free loopback port, without persistence.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::daemon::{Daemon, Spec};
use super::{lifetime, net, process, wait};

/// How long a server may take to be ready, on a machine that is busy compiling.
const READY: Duration = Duration::from_secs(30);

/// What can differ from one server to another.
#[derive(Clone, Default)]
pub struct Options {
    /// `requirepass`: ASCII letters and digits.
    pub password: Option<String>,
    /// Further arguments, as in `["--maxmemory", "10mb"]`.
    pub args: Vec<String>,
}

/// A server that runs, or was stopped by its test. It ends when dropped.
pub struct Redis {
    daemon: Mutex<Daemon>,
    port: u16,
    options: Options,
    folder: TempDir,
}

impl Redis {
    /// The server, without a password, of all tests that only need one, and leave it running.
    pub fn shared() -> &'static Redis {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| Redis::start(&Options::default()))
    }

    /// A server with the password `secret0`, shared in the same way.
    pub fn shared_with_password() -> &'static Redis {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| Redis::with_password("secret0"))
    }

    /// A server for one test that wants a password.
    #[track_caller]
    pub fn with_password(password: &str) -> Redis {
        Redis::start(&Options {
            password: Some(password.to_owned()),
            args: Vec::new(),
        })
    }

    /// A server for one test, which may stop, pause or break it.
    #[track_caller]
    pub fn start(options: &Options) -> Redis {
        let folder = lifetime::folder("redis");
        for _ in 0..5 {
            let port = net::free_port();
            let daemon = launch(folder.path(), port, options);
            if wait_until_ready(&daemon, port) {
                let (daemon, options) = (Mutex::new(daemon), options.clone());
                return Redis {
                    daemon,
                    port,
                    options,
                    folder,
                };
            }
        }
        panic!("Redis found no free port");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection URL, with the password if there is one.
    pub fn url(&self) -> String {
        match &self.options.password {
            Some(password) => self.url_with(password),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// A connection URL with this password, right or wrong.
    pub fn url_with(&self, password: &str) -> String {
        format!("redis://:{password}@127.0.0.1:{}", self.port)
    }

    /// Runs one command through `redis-cli`, and returns what it says. An error reply fails the test.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        let cli = process::program("redis-cli", "redis-tools");
        let port = self.port.to_string();
        let mut argv = vec!["-e", "-p", &port];
        // Not by URL: redis-cli 7.0 reads `:password@` as a user with an empty name.
        if let Some(password) = &self.options.password {
            argv.extend(["--no-auth-warning", "-a", password]);
        }
        argv.extend(args);
        let output = process::output(cli, &argv);
        output.expect_code(0);
        output.stdout.trim_end().to_owned()
    }

    /// A connection of the test's own, for what takes many commands.
    #[track_caller]
    pub fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_connection().expect("a connection")
    }

    /// Fills `count` keys, called `prefix` and a number from 1 on, that nobody has touched for `idle`
    /// seconds: RESTORE can say so, and nothing has to be waited for.
    #[track_caller]
    pub fn fill(&self, prefix: &str, count: usize, idle: u64) {
        let script = "redis.call('SET', 'template', 'x') \
            local dump = redis.call('DUMP', 'template') redis.call('DEL', 'template') \
            for n = 1, tonumber(ARGV[2]) do redis.call('RESTORE', ARGV[1] .. n, 0, dump, 'IDLETIME', ARGV[3]) end";
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(0).arg(prefix).arg(count).arg(idle);
        command.exec(&mut self.connect()).expect("keys are made");
    }

    /// Another server that follows this one, and has caught up.
    #[track_caller]
    pub fn replica(&self) -> Redis {
        let port = self.port.to_string();
        let replica = Redis::start(&Options {
            args: ["--replicaof", "127.0.0.1", &port]
                .map(str::to_owned)
                .into(),
            ..Options::default()
        });
        wait::until("the replica to be in step", READY, || {
            let info = replica.cli(&["INFO", "replication"]);
            info.contains("master_link_status:up").then_some(())
        });
        replica
    }

    /// How often a command was run so far.
    #[track_caller]
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.cli(&["INFO", "commandstats"]);
        let name = format!("cmdstat_{command}:calls=");
        let found = stats.lines().find_map(|line| line.strip_prefix(&name));
        let calls = found.and_then(|rest| rest.split(',').next()?.parse().ok());
        calls.unwrap_or(0)
    }

    /// Stops it in order (SIGTERM).
    #[track_caller]
    pub fn stop(&self) {
        self.daemon.lock().unwrap().stop(Signal::TERM);
    }

    /// Starts it again on the same port, empty, after `stop`.
    #[track_caller]
    pub fn start_again(&self) {
        let mut daemon = self.daemon.lock().unwrap();
        assert!(!daemon.runs(), "Redis still runs");
        *daemon = launch(self.folder.path(), self.port, &self.options);
        assert!(wait_until_ready(&daemon, self.port), "the port is taken");
    }

    /// Starts it again, after `stop`, on the same port with a data set that it loads until
    /// `finish_loading`: it answers, and serves nothing. The data must have been saved (`SAVE`).
    #[track_caller]
    pub fn start_loading(&self) {
        let mut daemon = self.daemon.lock().unwrap();
        assert!(!daemon.runs(), "Redis still runs");
        let mut options = self.options.clone();
        // 20 ms a key, and a look at its connections every KiB: see redis.conf, and the servers' own
        // tests (`key-load-delay`).
        let slowly = [
            ["--key-load-delay", "20000"],
            ["--loading-process-events-interval-bytes", "1024"],
        ];
        options
            .args
            .extend(slowly.concat().into_iter().map(str::to_owned));
        *daemon = launch(self.folder.path(), self.port, &options);
        // It answers while it loads, and before that not at all.
        assert!(wait_until_loading(&daemon, self.port), "the port is taken");
    }

    /// Lets it load the rest of its data set at once.
    #[track_caller]
    pub fn finish_loading(&self) {
        self.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
        wait::until("the data to be loaded", READY, || {
            let info = self.cli(&["INFO", "persistence"]);
            info.contains("\nloading:0").then_some(())
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
}

#[track_caller]
fn launch(folder: &Path, port: u16, options: &Options) -> Daemon {
    let mut argv = vec![process::program("redis-server", "redis-server").into_os_string()];
    let port = port.to_string();
    let folder_text = folder.to_string_lossy();
    argv.extend(
        [
            ["--bind", "127.0.0.1"],
            ["--port", &port],
            ["--dir", &folder_text],
            ["--save", ""],
            ["--appendonly", "no"],
            ["--repl-diskless-sync-delay", "0"],
        ]
        .concat()
        .iter()
        .map(|arg| (*arg).into()),
    );
    if let Some(password) = &options.password {
        argv.extend(["--requirepass".into(), password.into()]);
    }
    argv.extend(options.args.iter().map(Into::into));
    let spec = Spec {
        argv,
        user: None,
        death: "KILL",
        log: folder.join("server.log"),
    };
    Daemon::start("Redis", &spec)
}

/// Waits until it answers a PING (with a password: until it refuses one); `false` when its port is
/// taken.
#[track_caller]
fn wait_until_ready(daemon: &Daemon, port: u16) -> bool {
    wait_until_it_says("+PONG", daemon, port)
}

/// Waits until it says that it loads (with a password: until it refuses to); likewise.
#[track_caller]
fn wait_until_loading(daemon: &Daemon, port: u16) -> bool {
    wait_until_it_says("-LOADING", daemon, port)
}

#[track_caller]
fn wait_until_it_says(expected: &str, daemon: &Daemon, port: u16) -> bool {
    let ready = wait::try_until(READY, || {
        if daemon.ended().is_some() {
            return Some(false);
        }
        let answer = ping(port).ok()?;
        (answer.starts_with(expected) || answer.starts_with("-NOAUTH")).then_some(true)
    });
    let log = daemon.log();
    assert!(
        ready == Some(true) || log.contains("Address already in use"),
        "Redis:\n{log}"
    );
    ready == Some(true)
}

/// An inline command and the first line of its reply, as in Redis' protocol specification.
fn ping(port: u16) -> std::io::Result<String> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(Duration::from_secs(1)))?;
    connection.write_all(b"PING\r\n")?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line)?;
    Ok(line)
}

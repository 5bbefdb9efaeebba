//! rsyslog, which keeps what it is sent over TCP, UDP and a socket in one file.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::daemon::{Daemon, Spec};
use super::{lifetime, net, process, wait};

/// How long a server may take to be ready, on a machine that is busy compiling.
const READY: Duration = Duration::from_secs(30);

/// A log server that runs. It ends when dropped.
pub struct Syslog {
    _daemon: Daemon,
    folder: TempDir,
    tcp: u16,
    udp: u16,
}

impl Syslog {
    #[track_caller]
    pub fn start() -> Syslog {
        let folder = lifetime::folder("syslog");
        let (tcp, udp) = (net::free_port(), net::free_port());
        let place = folder.path().display();
        let config = format!(
            "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tcp}\")\n\
             module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{place}/log.socket\")\n\
             global(workDirectory=\"{place}\" maxMessageSize=\"8k\")\n\
             *.* action(type=\"omfile\" file=\"{place}/all.log\" asyncWriting=\"off\")\n"
        );
        let path = folder.path().join("rsyslog.conf");
        std::fs::write(&path, config).unwrap();
        let program = process::program("rsyslogd", "rsyslog");
        let argv = [
            program.into_os_string(),
            "-n".into(),
            "-f".into(),
            path.into_os_string(),
            "-i".into(),
            folder.path().join("pid").into_os_string(),
        ];
        let spec = Spec {
            argv: argv.into(),
            user: None,
            death: "KILL",
            log: folder.path().join("server.log"),
        };
        let daemon = Daemon::start("rsyslogd", &spec);
        let socket = folder.path().join("log.socket");
        wait::until("rsyslogd to be ready", READY, || {
            let tcp = std::net::TcpStream::connect(("127.0.0.1", tcp)).ok()?;
            socket.exists().then_some(tcp)
        });
        Syslog {
            _daemon: daemon,
            folder,
            tcp,
            udp,
        }
    }

    pub fn tcp(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.tcp)
    }

    pub fn udp(&self) -> String {
        format!("udp://127.0.0.1:{}", self.udp)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("log.socket")
    }

    /// Where it keeps everything.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("all.log")
    }

    /// Waits until so many lines of it hold `text`: it writes when it likes.
    #[track_caller]
    pub fn wait_for(&self, text: &str, lines: usize) {
        wait::until("the log to be written", READY, || {
            let all = std::fs::read_to_string(self.file()).unwrap_or_default();
            let found = all.lines().filter(|line| line.contains(text)).count();
            (found >= lines).then_some(())
        });
    }
}

//! PgBouncer before a PostgreSQL server, on a free loopback port, with transaction pooling.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::daemon::{Daemon, Spec};
use super::postgres::Postgres;
use super::{lifetime, net, process, wait};

/// How long it may take to be ready, on a machine that is busy compiling.
const READY: Duration = Duration::from_secs(30);

/// A pooler that runs. It ends when dropped.
pub struct PgBouncer {
    daemon: Daemon,
    port: u16,
}

impl PgBouncer {
    /// Before `server`, as the superuser whoever asks; `settings` are further lines of its file.
    #[track_caller]
    pub fn before(server: &Postgres, settings: &str) -> PgBouncer {
        let port = net::free_port();
        // It refuses to run as root, and shares the folder of the server with its user.
        let name = format!("pgbouncer-{}", lifetime::serial());
        let file = server.socket_folder().join(format!("{name}.ini"));
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\n{settings}\n",
            server.port()
        );
        fs::write(&file, text).expect("a file can be written");
        let program = process::program("pgbouncer", "pgbouncer");
        let daemon = Daemon::start(
            "PgBouncer",
            &Spec {
                argv: vec![program.into(), file.into()],
                user: Some("postgres"),
                death: "INT",
                log: server.socket_folder().join(format!("{name}.log")),
            },
        );
        let pooler = PgBouncer { daemon, port };
        wait::until("PgBouncer to be ready", READY, || {
            let log = pooler.daemon.log();
            assert!(pooler.daemon.runs(), "PgBouncer:\n{log}");
            log.contains("process up").then_some(())
        });
        pooler
    }

    /// A connection URL for a database of its server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.daemon.end(Signal::INT);
    }
}

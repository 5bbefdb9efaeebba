//! A database session that a test keeps open: idle, in the middle of a transaction, with locks.

use std::cell::RefCell;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

/// A session. It ends when dropped.
pub struct Session {
    runtime: RefCell<Runtime>,
    client: Client,
    pub pid: i32,
}

impl Session {
    /// Opens one that calls itself `application`.
    #[track_caller]
    pub fn open(url: &str, application: &str) -> Session {
        Session::try_open(url, application).expect("a session can be opened")
    }

    pub fn try_open(url: &str, application: &str) -> Result<Session, String> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut config: tokio_postgres::Config = url.parse().expect("a URL");
        config.application_name(application);
        let opened = runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?;
            Ok((client, pid.get(0)))
        });
        let (client, pid) = opened.map_err(said)?;
        Ok(Session {
            runtime: RefCell::new(runtime),
            client,
            pid,
        })
    }

    /// Runs statements; what the server says against them.
    pub fn run(&self, sql: &str) -> Result<(), String> {
        let runtime = self.runtime.borrow_mut();
        let done = runtime.block_on(self.client.batch_execute(sql));
        done.map_err(said)
    }

    /// Whether the server still has it.
    pub fn is_alive(&self) -> bool {
        self.run("").is_ok()
    }
}

fn said(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}

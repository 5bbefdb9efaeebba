//! A database session of somebody else that a test keeps open: idle, in the middle of a transaction, with
//! locks, or in a statement that does not end.

use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};

/// A session. It ends when dropped.
pub struct Session {
    runtime: Runtime,
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
            runtime,
            client,
            pid,
        })
    }

    /// Opens one that has done `sql` in a transaction and does not end it: it keeps its locks and its
    /// snapshot.
    #[track_caller]
    pub fn holding(url: &str, sql: &str) -> Session {
        let session = Session::open(url, "holder");
        let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {sql}");
        session.run(&sql).expect("it holds something");
        session
    }

    /// Runs statements; what the server says against them.
    pub fn run(&self, sql: &str) -> Result<(), String> {
        let done = self.runtime.block_on(self.client.batch_execute(sql));
        done.map_err(said)
    }

    /// Runs statements, while the test goes on.
    pub fn begin(self, sql: &str) -> Busy {
        let sql = sql.to_owned();
        Busy(std::thread::spawn(move || {
            let done = self.run(&sql);
            (self, done)
        }))
    }

    /// Ends it, and returns when it holds nothing any more.
    #[track_caller]
    pub fn let_go(self) {
        self.run("ROLLBACK").expect("its transaction ends");
    }

    /// Whether the server still has it.
    pub fn is_alive(&self) -> bool {
        self.run("").is_ok()
    }
}

/// A session that runs statements, and stays afterwards, until it is finished. One whose statement does
/// not end is not ended by dropping this.
pub struct Busy(JoinHandle<(Session, Result<(), String>)>);

impl Busy {
    /// Waits for it; what the server said against it.
    #[track_caller]
    pub fn finish(self) -> Result<(), String> {
        let (_, done) = self.0.join().expect("its thread does not panic");
        done
    }
}

fn said(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}

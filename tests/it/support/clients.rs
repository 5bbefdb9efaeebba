//! Sessions of somebody else on a database: an application that forgets them.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use super::process::program;

/// Sessions that have said something and wait for nothing. They end when this is dropped.
pub struct Holders(Vec<Child>);

impl Holders {
    /// `count` sessions called `application` that have said `sql`.
    #[track_caller]
    pub fn begin(url: &str, count: usize, application: &str, sql: &str) -> Holders {
        let session = |_| {
            let mut child = Command::new(program("psql", "postgresql-client"))
                .args(["-X", "-q", "-At", "-d", url])
                .env("PGAPPNAME", application)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("psql starts");
            // It is kept open: psql waits for more.
            let stdin = child.stdin.as_mut().expect("its stdin");
            writeln!(stdin, "{sql}").expect("psql reads");
            child
        };
        Holders((0..count).map(session).collect())
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

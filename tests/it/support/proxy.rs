//! A network that fails on purpose: passes bytes between clients and a real server, until it is told, or
//! until it sees a text in what a client says.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// How fast "slow" is.
const SLOW: Duration = Duration::from_secs(1);

/// How often a thread that waits for bytes looks whether it has been told something.
const TICK: Duration = Duration::from_millis(10);

/// What happens on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes pass.
    #[default]
    None,
    /// What the server says passes at one byte a second.
    OneByteASecond,
    /// Connections are taken, and nothing passes, in neither direction.
    Swallow,
    /// What the client says passes, and no answer comes back.
    Mute,
    /// What the client says does not pass, and the connection is cut.
    CutBefore,
    /// What the client says passes; when the server has begun to answer, the connection is cut.
    CutAfter,
}

#[derive(Debug, Default)]
struct Script {
    server: u16,
    now: Fault,
    /// When a client says this, that begins; and whether nobody gets in from then on.
    at: Option<(&'static [u8], Fault, bool)>,
    closed: bool,
    seen: bool,
}

/// A proxy on a loopback port. It ends with the tests.
pub struct Proxy {
    port: u16,
    script: Arc<Mutex<Script>>,
}

impl Proxy {
    /// Before the server that listens on `server`.
    pub fn before(server: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be bound");
        let port = listener.local_addr().expect("it has an address").port();
        let script = Arc::new(Mutex::new(Script {
            server,
            ..Script::default()
        }));
        let shared = Arc::clone(&script);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, closed) = {
                    let script = lock(&shared);
                    (script.server, script.closed)
                };
                if closed {
                    continue;
                }
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) {
                    join(client, server, &shared);
                }
            }
        });
        Proxy { port, script }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection URL for a Redis server behind it.
    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection URL for a database behind it, as the superuser `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// From now on, for all connections.
    pub fn now(&self, fault: Fault) {
        lock(&self.script).now = fault;
    }

    /// From when a client says `text`, once.
    pub fn at(&self, text: &'static str, fault: Fault) {
        lock(&self.script).at = Some((text.as_bytes(), fault, false));
    }

    /// The same, and nobody gets in any more.
    pub fn at_and_close(&self, text: &'static str, fault: Fault) {
        lock(&self.script).at = Some((text.as_bytes(), fault, true));
    }

    /// New connections lead to another server.
    pub fn lead_to(&self, server: u16) {
        lock(&self.script).server = server;
    }

    /// Who wants gets in again.
    pub fn open(&self) {
        lock(&self.script).closed = false;
    }

    /// Whether the text came.
    pub fn has_seen(&self) -> bool {
        lock(&self.script).seen
    }
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap()
}

/// Passes bytes both ways, in two threads.
fn join(client: TcpStream, server: TcpStream, script: &Arc<Mutex<Script>>) {
    // What this one connection comes to; others may go on.
    let own = Arc::new(Mutex::new(None));
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("an option can be set");
        stream
            .set_read_timeout(Some(TICK))
            .expect("a time can be set");
    }
    let duplicate = |stream: &TcpStream| stream.try_clone().expect("a socket can be duplicated");
    let way = |from: &TcpStream, to: &TcpStream, is_client: bool| Way {
        from: duplicate(from),
        to: duplicate(to),
        is_client,
        script: Arc::clone(script),
        own: Arc::clone(&own),
    };
    for way in [way(&client, &server, true), way(&server, &client, false)] {
        thread::spawn(move || way.pass());
    }
}

/// One direction of one connection.
struct Way {
    from: TcpStream,
    to: TcpStream,
    is_client: bool,
    script: Arc<Mutex<Script>>,
    own: Arc<Mutex<Option<Fault>>>,
}

impl Way {
    fn pass(mut self) {
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = match self.from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            if !self.hand_on(&buffer[..count]) {
                break;
            }
        }
        self.cut();
    }

    /// Whether it goes on.
    fn hand_on(&mut self, bytes: &[u8]) -> bool {
        if self.is_client {
            self.look_for_text(bytes);
        }
        let fault = self.own.lock().unwrap().unwrap_or(lock(&self.script).now);
        match fault {
            Fault::Swallow => true,
            Fault::Mute if !self.is_client => true,
            Fault::CutBefore => false,
            Fault::CutAfter if !self.is_client => false,
            Fault::OneByteASecond if !self.is_client => self.slowly(bytes),
            _ => self.to.write_all(bytes).is_ok(),
        }
    }

    fn look_for_text(&self, bytes: &[u8]) {
        let mut script = lock(&self.script);
        let says = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
        let found = script.at.filter(|(text, ..)| says(text));
        if let Some((_, fault, closes)) = found {
            *self.own.lock().unwrap() = Some(fault);
            script.at = None;
            script.closed = closes;
            script.seen = true;
        }
    }

    fn slowly(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            // The pace of a line, not a wait for something.
            thread::sleep(SLOW);
            if self.to.write_all(&[*byte]).is_err() {
                return false;
            }
        }
        true
    }

    fn cut(&self) {
        self.from.shutdown(Shutdown::Both).ok();
        self.to.shutdown(Shutdown::Both).ok();
    }
}

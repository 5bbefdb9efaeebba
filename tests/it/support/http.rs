//! An HTTP/1.1 server with scripted answers, plain or over TLS: slow, broken, wrong, hanging.
//!
//! It answers what it was told to and keeps what it was asked. Every answer closes its connection.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;

use super::certificates::{Authority, Subject};

/// What the server answers to one request.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
    delay_per_byte: Duration,
    end: End,
}

/// How an answer ends.
#[derive(Clone, Copy)]
enum End {
    /// The whole body is sent.
    Whole,
    /// After so many bytes of the body the connection is closed, though more were promised.
    ClosedAfter(usize),
    /// After so many bytes of the body the connection is reset (RST).
    ResetAfter(usize),
    /// Nothing is ever sent, and the connection stays open until the client gives up.
    Never,
    /// `body` is all that is sent, head and all: for what is not HTTP.
    Raw,
}

impl Reply {
    /// An answer with a status and no body.
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            delay: Duration::ZERO,
            delay_per_byte: Duration::ZERO,
            end: End::Whole,
        }
    }

    /// 200 with a text.
    pub fn text(body: &str) -> Reply {
        Reply::status(200)
            .header("content-type", "text/plain; charset=utf-8")
            .body(body)
    }

    /// 200 with JSON, which is not checked: it may be wrong on purpose.
    pub fn json(body: &str) -> Reply {
        Reply::status(200)
            .header("content-type", "application/json")
            .body(body)
    }

    /// 302 to another URL.
    pub fn redirect(to: &str) -> Reply {
        Reply::status(302).header("location", to)
    }

    /// The request is taken, and never answered.
    pub fn never() -> Reply {
        Reply {
            end: End::Never,
            ..Reply::status(0)
        }
    }

    /// These bytes and nothing else, head included.
    pub fn raw(bytes: &[u8]) -> Reply {
        Reply {
            end: End::Raw,
            ..Reply::status(0)
        }
        .body(bytes)
    }

    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Reply {
        self.body = body.as_ref().to_vec();
        self
    }

    pub fn with_status(mut self, status: u16) -> Reply {
        self.status = status;
        self
    }

    /// Waits so long before the head is sent.
    pub fn delay(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    /// Waits so long before each byte of the body.
    pub fn delay_per_byte(mut self, delay: Duration) -> Reply {
        self.delay_per_byte = delay;
        self
    }

    /// Closes the connection after so many bytes of the body.
    pub fn close_after(mut self, bytes: usize) -> Reply {
        self.end = End::ClosedAfter(bytes);
        self
    }

    /// Resets the connection after so many bytes of the body.
    pub fn reset_after(mut self, bytes: usize) -> Reply {
        self.end = End::ResetAfter(bytes);
        self
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A running server; it ends when dropped.
pub struct HttpServer {
    port: u16,
    tls: bool,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    routes: Mutex<HashMap<String, VecDeque<Reply>>>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    ending: AtomicBool,
}

impl HttpServer {
    /// A server without TLS. It answers 404 until it is told more.
    pub fn start() -> HttpServer {
        HttpServer::serve(None)
    }

    /// A server with a certificate of the shared test authority.
    pub fn tls(subject: &Subject) -> HttpServer {
        HttpServer::tls_by(Authority::shared(), subject)
    }

    /// A server with a certificate of another authority.
    pub fn tls_by(authority: &Authority, subject: &Subject) -> HttpServer {
        HttpServer::serve(Some(authority.issue(subject).server_config()))
    }

    fn serve(tls: Option<Arc<ServerConfig>>) -> HttpServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be bound");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let shared = Arc::new(Shared::default());
        let with_tls = tls.is_some();
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, tls.as_ref(), &shared))
        };
        HttpServer {
            port,
            tls: with_tls,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Answers every request of this path with `reply`, from now on.
    pub fn route(&self, path: &str, reply: Reply) -> &HttpServer {
        self.script(path, [reply])
    }

    /// Answers the requests of this path with one reply each; the last one stays.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> &HttpServer {
        let replies = replies.into_iter().collect();
        self.shared
            .routes
            .lock()
            .unwrap()
            .insert(path.to_owned(), replies);
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a path that begins with `/`. With TLS its host is `localhost`.
    pub fn url(&self, path: &str) -> String {
        match self.tls {
            true => format!("https://localhost:{}{path}", self.port),
            false => format!("http://127.0.0.1:{}{path}", self.port),
        }
    }

    /// The requests that came, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many connections were made, with or without a request on them.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Wakes the acceptor. Connections that still wait end with the test process.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
    }
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.ending.load(Ordering::SeqCst) {
            return;
        }
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared) = (tls.cloned(), Arc::clone(shared));
        // A client may go away at any time (a refused certificate, a deadline): that is its right.
        thread::spawn(move || answer(stream, tls, &shared).ok());
    }
}

fn answer(stream: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = stream.try_clone()?;
    match tls {
        None => converse(stream, &socket, shared),
        Some(config) => {
            let tls = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(tls, stream);
            let result = converse(&mut stream, &socket, shared);
            if result.is_ok() {
                stream.conn.send_close_notify();
                stream.flush()?;
            }
            result
        }
    }
}

/// One request, one answer.
fn converse(stream: impl Read + Write, socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream)?;
    let reply = choose(&request, shared);
    shared.requests.lock().unwrap().push(request);
    write_reply(&mut stream, socket, &reply)
}

fn choose(request: &Request, shared: &Shared) -> Reply {
    let mut routes = shared.routes.lock().unwrap();
    let replies = routes.get_mut(request.path());
    let next = replies.and_then(|replies| match replies.len() {
        0 | 1 => replies.front().cloned(),
        _ => replies.pop_front(),
    });
    next.unwrap_or_else(|| Reply::text("no such page\n").with_status(404))
}

fn read_request(stream: &mut impl BufRead) -> io::Result<Request> {
    let first = read_line(stream)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next(), words.next());
    let (Some(method), Some(target)) = (method, target) else {
        return Err(unreadable());
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(unreadable)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut request = Request {
        method,
        target,
        headers,
        body: Vec::new(),
    };
    request.body = read_body(stream, &request)?;
    Ok(request)
}

/// A body with a length, or in chunks (RFC 9112, 6 and 7.1).
fn read_body(stream: &mut impl BufRead, request: &Request) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = read_line(stream)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| unreadable())?;
            stream.take(size).read_to_end(&mut body)?;
            read_line(stream)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    if let Some(length) = request.header("content-length") {
        let length = length.parse().map_err(|_| unreadable())?;
        stream.take(length).read_to_end(&mut body)?;
    }
    Ok(body)
}

/// A line without its end; the connection's end is an error.
fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

fn unreadable() -> io::Error {
    ErrorKind::InvalidData.into()
}

fn write_reply<S: Read + Write>(
    stream: &mut BufReader<S>,
    socket: &TcpStream,
    reply: &Reply,
) -> io::Result<()> {
    if matches!(reply.end, End::Never) {
        // Returns when the client has gone.
        return io::copy(stream, &mut io::sink()).map(drop);
    }
    thread::sleep(reply.delay);
    let out = stream.get_mut();
    if matches!(reply.end, End::Raw) {
        out.write_all(&reply.body)?;
        return out.flush();
    }
    out.write_all(head(reply).as_bytes())?;
    out.flush()?;
    let sent = match reply.end {
        End::ClosedAfter(bytes) | End::ResetAfter(bytes) => &reply.body[..bytes],
        _ => &reply.body,
    };
    if reply.delay_per_byte.is_zero() {
        out.write_all(sent)?;
    } else {
        for byte in sent {
            thread::sleep(reply.delay_per_byte);
            out.write_all(std::slice::from_ref(byte))?;
            out.flush()?;
        }
    }
    out.flush()?;
    match reply.end {
        End::ResetAfter(_) => {
            // A close without lingering sends a reset, see socket(7), SO_LINGER.
            SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
            Err(ErrorKind::ConnectionReset.into())
        }
        End::ClosedAfter(_) => Err(ErrorKind::ConnectionAborted.into()),
        _ => Ok(()),
    }
}

fn head(reply: &Reply) -> String {
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let given = |name: &str| {
        reply
            .headers
            .iter()
            .any(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    if !given("content-length") && !given("transfer-encoding") {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    head.push_str("connection: close\r\n\r\n");
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Scripted",
    }
}

//! The system's log, or a log server, as a witness: one message a checkpoint.
//!
//! `/dev/log` and its like take the message of RFC 3164, log servers that of RFC 5424, over TCP with
//! octet counting (RFC 6587). None of them says whether it has kept it.

#![expect(clippy::disallowed_methods, reason = "this is the door to it")]

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};

use super::{Doing, Kind, LARGEST, Notice};
use crate::host::{HostError, files};

/// The facility `authpriv` (10) and the severity `info` (6), as RFC 5424, 6.2.1 counts them.
const PRIORITY: u8 = 10 * 8 + 6;

/// A log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Syslog {
    /// `udp://HOST:PORT`, `tcp://HOST:PORT`, or the path of a socket; `/dev/log` by default
    #[serde(default)]
    address: Option<String>,
    /// The file in which the log keeps what it was sent: without it, it cannot be asked
    #[serde(default)]
    read: Option<PathBuf>,
}

impl Syslog {
    fn address(&self) -> &str {
        self.address.as_deref().unwrap_or("/dev/log")
    }
}

impl Kind for Syslog {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn check(&self) -> Result<(), String> {
        let address = self.address();
        let host = ["udp://", "tcp://"]
            .iter()
            .find_map(|p| address.strip_prefix(p));
        let has_port = |host: &str| {
            let port = host
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok());
            port.is_some_and(|port| port > 0)
        };
        if host.map_or_else(|| Path::new(address).is_absolute(), has_port) {
            Ok(())
        } else {
            Err("`address` is `udp://HOST:PORT`, `tcp://HOST:PORT` or a path".to_owned())
        }
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Doing<'a, ()> {
        Box::pin(async move {
            let address = self.address();
            let pid = std::process::id();
            let Notice { host, at, line, .. } = notice;
            let modern = format!("<{PRIORITY}>1 {at:.6} {host} runbook {pid} checkpoint - {line}");
            let sent = if let Some(to) = address.strip_prefix("udp://") {
                udp(to, &modern).await
            } else if let Some(to) = address.strip_prefix("tcp://") {
                tcp(to, &modern).await
            } else {
                local(
                    address,
                    &format!("<{PRIORITY}>runbook[{pid}]: checkpoint {line}"),
                )
                .await
            };
            sent.map_err(|e| HostError::io(format!("write to the log {address}"), &e))
        })
    }

    fn recall(&self) -> Doing<'_, String> {
        Box::pin(async move {
            let Some(path) = &self.read else {
                let action = format!("ask the log {}", self.address());
                let error =
                    HostError::permanent(action, "it is not said where it keeps its messages");
                return Err(
                    error.with_help("name the file with `read`, or give it with `--witness`")
                );
            };
            let bytes = files::read_limited(path, LARGEST)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
    }
}

async fn udp(to: &str, message: &str) -> std::io::Result<()> {
    let to = first(to).await?;
    let from = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(to).await?;
    socket.send(message.as_bytes()).await.map(drop)
}

async fn tcp(to: &str, message: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(first(to).await?).await?;
    let framed = format!("{} {message}", message.len());
    stream.write_all(framed.as_bytes()).await?;
    stream.shutdown().await
}

async fn local(path: &str, message: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.send(message.as_bytes()).await.map(drop)
}

async fn first(address: &str) -> std::io::Result<std::net::SocketAddr> {
    let mut found = tokio::net::lookup_host(address).await?;
    found
        .next()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"))
}

//! systemd's own socket, for root where there is no system bus: D-Bus between two peers.
//!
//! On it systemd signs its messages `org.freedesktop.systemd1`. The D-Bus specification ("Header
//! Fields", SENDER) asks for a unique name there, which begins with a colon, and zbus refuses
//! anything else. So messages pass through here, where the sender gets its colon.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::connection::socket::{BoxedSplit, ReadHalf, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use super::super::Scope;
use super::super::net::{Allowance, Endpoint, Stream, dial};
use super::super::reach::ReachError;
use super::{ACTION, SERVICE, said};

/// Where it is.
pub(super) const PATH: &str = "/run/systemd/private";

/// The longest message of D-Bus, in bytes (specification, "Message Format").
const LONGEST: usize = 1 << 27;

/// The fixed part of a message's header, in bytes.
const FIXED: usize = 16;

/// The longest line of an authentication that we read, in bytes.
const LONGEST_LINE: usize = 1024;

/// Opens a conversation over systemd's own socket.
pub(super) async fn open(scope: &Scope, allowance: Allowance) -> Result<Connection, ReachError> {
    let connect = async {
        let mut stream = dial(scope, &Endpoint::Unix(PATH.into()), allowance).await?;
        let guid = authenticate(&mut stream)
            .await
            .map_err(|error| ReachError::io(ACTION, &error))?;
        let (read, write) = tokio::io::split(stream);
        let reader = Reader {
            stream: read,
            ready: Vec::new(),
        };
        let split: BoxedSplit = Split::new(Box::new(reader), Box::new(Writer(write)));
        let builder = Builder::authenticated_socket(split, guid.as_str()).p2p();
        builder.build().await.map_err(|error| said(ACTION, &error))
    };
    match scope.within(allowance, connect).await {
        Ok(connection) => connection,
        Err(stopped) => Err(stopped.error(ACTION)),
    }
}

/// Says who we are, which the kernel vouches for: specification, "EXTERNAL". The server's id.
///
/// `BEGIN` goes out at once, as sd-bus does it as a client. Sent after the answer, it may arrive
/// together with the first message: sd-bus then keeps that message in its buffer, and only looks at
/// it when more comes (`bus_socket_auth_verify_server`), so that nobody would ever be answered.
async fn authenticate(stream: &mut Box<dyn Stream>) -> io::Result<String> {
    let user = rustix::process::geteuid().as_raw().to_string();
    let hello = format!("\0AUTH EXTERNAL {}\r\nBEGIN\r\n", hex::encode(user));
    stream.write_all(hello.as_bytes()).await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no end of line"));
        }
        line.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&line);
    let Some(guid) = line.strip_prefix("OK ") else {
        let said = format!("it refused us: {}", line.trim());
        return Err(io::Error::other(said));
    };
    Ok(guid.trim().to_owned())
}

/// Reads whole messages, and hands them on with a sender that zbus takes.
#[derive(Debug)]
struct Reader {
    stream: tokio::io::ReadHalf<Box<dyn Stream>>,
    /// What of a message has not been handed on.
    ready: Vec<u8>,
}

impl Reader {
    async fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut message = vec![0; FIXED];
        self.stream.read_exact(&mut message).await?;
        let (fields, total) = lengths(&message)?;
        message.resize(total, 0);
        self.stream.read_exact(&mut message[FIXED..]).await?;
        sign(&mut message[FIXED..FIXED + fields]);
        Ok(message)
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        if self.ready.is_empty() {
            self.ready = self.message().await?;
        }
        let count = buffer.len().min(self.ready.len());
        buffer[..count].copy_from_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Ok((count, Vec::new()))
    }
}

/// How long a message's header fields are, and how long it is as a whole: specification, "Message
/// Format".
fn lengths(fixed: &[u8]) -> io::Result<(usize, usize)> {
    let number = |at: usize| {
        let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        let value = if fixed[0] == b'B' {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        };
        value as usize
    };
    let (body, fields) = (number(4), number(12));
    let total = FIXED + fields.next_multiple_of(8) + body;
    if total > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message that is too long",
        ));
    }
    Ok((fields, total))
}

/// Makes the sender a unique name, in place: the colon takes the place of its first letter.
fn sign(fields: &mut [u8]) {
    // Code 7, a variant of signature `s`, a length of four bytes in whichever order.
    let sender = memchr::memmem::find(fields, b"\x07\x01s\0");
    if let Some(at) = sender
        && let Some(name) = fields.get_mut(at + 8..at + 8 + SERVICE.len())
        && name == SERVICE.as_bytes()
    {
        name[0] = b':';
    }
}

#[derive(Debug)]
struct Writer(tokio::io::WriteHalf<Box<dyn Stream>>);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(buffer).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::{lengths, sign};

    #[test]
    fn the_sender_gets_its_colon() {
        let mut fields =
            b"\x05\x01u\0\x02\0\0\0\x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0".to_vec();
        sign(&mut fields);
        assert!(fields.ends_with(b":rg.freedesktop.systemd1\0"));
        let other = b"\x07\x01s\0\x04\0\0\0:1.7\0".to_vec();
        let mut same = other.clone();
        sign(&mut same);
        assert_eq!(same, other);
    }

    #[test]
    fn messages_have_a_length() {
        let mut fixed = [0; 16];
        fixed[0] = b'l';
        (fixed[4], fixed[12]) = (10, 13);
        assert_eq!(lengths(&fixed).unwrap(), (13, 16 + 16 + 10));
        fixed[7] = 255;
        assert!(lengths(&fixed).is_err());
    }
}

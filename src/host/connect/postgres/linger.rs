//! A connection whose end is the server's: when we have said goodbye, it is waited for until the server has
//! closed it too, and so has given the session's place to whoever comes next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::host::net::Stream;

/// A connection that lingers. How long it may is for whoever waits to say.
#[derive(Debug)]
pub(super) struct Lingering {
    stream: Box<dyn Stream>,
    said_goodbye: bool,
}

impl Lingering {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            said_goodbye: false,
        }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.said_goodbye = true;
        }
        // What it says still is for nobody.
        let mut rest = [0; 512];
        loop {
            let mut buffer = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // Its end, in whichever way.
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

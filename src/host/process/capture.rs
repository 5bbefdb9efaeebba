//! Reading what processes write: redacted, logged, hashed, and kept up to a limit.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::OwnedFd;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use super::{Record, Scope};
use crate::event::{Redactor, Stream, StreamRedactor, Transient};
use crate::host::HostError;
use crate::host::store::LogWriter;

/// How much of a stream is kept in memory, and so in the step's outputs: 1 MiB. All of it is in
/// the log.
pub const CAPTURE_LIMIT: usize = 1 << 20;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// What a stream said.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The beginning of it, up to [`CAPTURE_LIMIT`].
    pub bytes: Vec<u8>,
    /// How much there was in all, in bytes.
    pub total: u64,
}

impl Captured {
    /// As text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Whether there was more than is kept.
    pub fn truncated(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

/// Reads one stream of a pipeline.
pub(super) struct Reader<'a> {
    scope: &'a Scope,
    pipe: pipe::Receiver,
    stream: Stream,
    log: Option<(LogWriter, StreamRedactor<'a>)>,
    // What of a line is to be shown once the line has ended.
    line: Vec<u8>,
    captured: Captured,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        scope: &'a Scope,
        read: PipeReader,
        stream: Stream,
        record: Record,
    ) -> Result<Self, HostError> {
        let error = |e: &std::io::Error| HostError::io("read from a pipe", e);
        let fd = OwnedFd::from(read);
        rustix::io::ioctl_fionbio(&fd, true).map_err(|e| error(&e.into()))?;
        let pipe = pipe::Receiver::from_file_unchecked(File::from(fd)).map_err(|e| error(&e))?;
        let redactor: &Redactor = &scope.shared.redactor;
        let log = (record == Record::Logged).then(|| {
            (
                scope
                    .shared
                    .folder
                    .log(&scope.path, scope.attempt, scope.part, stream),
                redactor.stream(),
            )
        });
        Ok(Self {
            scope,
            pipe,
            stream,
            log,
            line: Vec::new(),
            captured: Captured::default(),
        })
    }

    /// Reads until the last writer is gone.
    pub(super) async fn drain(&mut self) -> Result<(), HostError> {
        let mut buffer = Vec::new();
        loop {
            // Most commands write nothing: memory is taken only once there is something.
            self.pipe
                .readable()
                .await
                .map_err(|e| HostError::io("read from a pipe", &e))?;
            if buffer.capacity() == 0 {
                buffer.reserve(4096);
            }
            buffer.clear();
            let count = match self.pipe.read_buf(&mut buffer).await {
                Ok(count) => count,
                Err(error) => return Err(HostError::io("read what a process wrote", &error)),
            };
            if count == 0 {
                return Ok(());
            }
            self.take(&buffer).await?;
            if count == buffer.capacity() && buffer.capacity() < CHUNK {
                buffer.reserve(CHUNK);
            }
        }
    }

    async fn take(&mut self, chunk: &[u8]) -> Result<(), HostError> {
        let room = CAPTURE_LIMIT - self.captured.bytes.len();
        self.captured
            .bytes
            .extend_from_slice(&chunk[..chunk.len().min(room)]);
        self.captured.total += chunk.len() as u64;
        if let Some((log, redactor)) = &mut self.log {
            let safe = redactor.push(chunk);
            log.write(&safe)?;
            if self.scope.shared.follow_output {
                self.line.extend_from_slice(&safe);
                self.show(false).await;
            }
        }
        Ok(())
    }

    /// Ends the log; the stream's content.
    pub(super) async fn finish(mut self) -> Result<Captured, HostError> {
        // Half a secret at the end of what is kept would not be known for one.
        if self.captured.truncated() {
            let whole = self.scope.shared.redactor.whole(&self.captured.bytes);
            self.captured.bytes.truncate(whole);
        }
        if let Some((mut log, redactor)) = self.log.take() {
            let rest = redactor.finish();
            log.write(&rest)?;
            if self.scope.shared.follow_output {
                self.line.extend_from_slice(&rest);
                self.show(true).await;
            }
            if let Some(file) = log.finish(self.scope.durable)? {
                self.scope.add_log(file);
            }
        }
        Ok(self.captured)
    }

    /// Shows the lines that have ended, and the one that has not where it is the last or very long:
    /// what ends anywhere may end within a character.
    async fn show(&mut self, last: bool) {
        let whole = match memchr::memrchr(b'\n', &self.line) {
            _ if last || self.line.len() > CHUNK => self.line.len(),
            Some(at) => at + 1,
            None => 0,
        };
        if whole == 0 {
            return;
        }
        let lines: Vec<u8> = self.line.drain(..whole).collect();
        let event = Transient::Output {
            path: self.scope.path.clone(),
            stream: self.stream,
            text: String::from_utf8_lossy(&lines).into_owned(),
        };
        // Waits while the queue is full: whoever asked to see the output sees all of it.
        let _ = self.scope.shared.transients.send(event).await;
    }
}

/// Writes `bytes` into a pipe; a reader that stops early is fine.
pub(super) async fn feed(feed: Option<(PipeWriter, Vec<u8>)>) {
    let Some((write, bytes)) = feed else { return };
    let fd = OwnedFd::from(write);
    if rustix::io::ioctl_fionbio(&fd, true).is_err() {
        return;
    }
    if let Ok(mut pipe) = pipe::Sender::from_file_unchecked(File::from(fd)) {
        let _ = pipe.write_all(&bytes).await;
    }
}

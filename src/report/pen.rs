//! The hand that writes while a run goes on: from a buffer, in a thread of its own, and quiet when
//! nobody reads any more.
//!
//! The engine's one thread must never wait for a terminal that was stopped with Ctrl-S or for a pager
//! that nobody scrolls: deadlines would pass unseen. So a sink only fills a buffer, and what nobody
//! takes is dropped when it has grown too large.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time between two writes: what comes faster is written together. Below what an eye can follow.
const PACE: Duration = Duration::from_millis(40);

/// What waits at most to be written. Lines that may be dropped (the output of processes, which is in
/// the logs) stop at half of it.
const ROOM: usize = 8 << 20;

/// Who puts text where people see it. Called on the pen's thread alone.
pub(crate) trait Painter: Send {
    /// Writes `text`; it may be empty, at a [`Painter::beat`].
    ///
    /// # Errors
    /// When nobody reads any more: it is then not called again.
    fn paint(&mut self, text: &[u8]) -> io::Result<()>;

    /// How often it wants to be called although there is nothing to write.
    fn beat(&self) -> Option<Duration> {
        None
    }

    /// Cleans up after the last [`Painter::paint`].
    fn end(&mut self) {}
}

/// Writes text as it is.
pub(crate) struct Plain<W>(pub W);

impl<W: Write + Send> Painter for Plain<W> {
    fn paint(&mut self, text: &[u8]) -> io::Result<()> {
        self.0.write_all(text)?;
        self.0.flush()
    }
}

/// A buffer, and the thread that empties it.
pub(crate) struct Pen {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Who paints, until the first text comes; on the thread from then on.
    painter: Option<Box<dyn Painter>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or the end has come.
    work: Condvar,
    /// Something was written.
    done: Condvar,
}

#[derive(Default)]
struct State {
    text: Vec<u8>,
    /// Lines that were dropped since the last write.
    dropped: usize,
    writing: bool,
    /// Nobody reads any more.
    gone: bool,
    ending: bool,
    /// Someone waits for everything so far to be painted, moving parts too.
    hurry: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pen {
    pub(crate) fn new(painter: impl Painter + 'static) -> Self {
        Self {
            shared: Arc::default(),
            thread: None,
            painter: Some(Box::new(painter)),
        }
    }

    /// Writes `text`, soon.
    pub(crate) fn write(&mut self, text: &str) {
        self.add(text, ROOM);
    }

    /// Writes lines that are kept elsewhere too: dropped sooner than others when nobody can follow.
    pub(crate) fn write_passing(&mut self, text: &str) {
        self.add(text, ROOM / 2);
    }

    fn add(&mut self, text: &str, room: usize) {
        if text.is_empty() {
            return;
        }
        self.start();
        let mut state = self.shared.lock();
        if state.gone {
            return;
        }
        if state.text.len() + text.len() > room {
            state.dropped += text.lines().count();
            return;
        }
        if state.dropped > 0 {
            let note = format!("… {} lines were not shown: too fast\n", state.dropped);
            state.text.extend_from_slice(note.as_bytes());
            state.dropped = 0;
        }
        let idle = state.text.is_empty();
        state.text.extend_from_slice(text.as_bytes());
        drop(state);
        if idle {
            self.shared.work.notify_one();
        }
    }

    /// Starts the thread, where it has not.
    pub(crate) fn start(&mut self) {
        let Some(painter) = self.painter.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || work(&shared, painter));
        match thread {
            Ok(thread) => self.thread = Some(thread),
            // No thread, no report; the run goes on.
            Err(_) => self.shared.lock().gone = true,
        }
    }

    /// Waits until everything so far is painted, or nobody reads any more.
    pub(crate) fn settle(&self) {
        if self.thread.is_none() {
            return;
        }
        let mut state = self.shared.lock();
        state.hurry = true;
        self.shared.work.notify_one();
        while !state.gone && (state.hurry || state.writing) {
            state = self
                .shared
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A painter that panicked has said so; a report never stops a run.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, mut painter: Box<dyn Painter>) {
    loop {
        let (text, last) = wait(shared, painter.beat());
        let begun = Instant::now();
        let failed = painter.paint(&text).is_err();
        let mut state = shared.lock();
        state.writing = false;
        state.gone |= failed;
        shared.done.notify_all();
        if state.gone || (last && state.text.is_empty()) {
            state.gone = true;
            break;
        }
        // What comes meanwhile is written together.
        while !state.ending && !state.hurry {
            let Some(left) = PACE.checked_sub(begun.elapsed()) else {
                break;
            };
            state = shared
                .work
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
    painter.end();
}

/// The next text to write, and whether it is the last.
fn wait(shared: &Shared, beat: Option<Duration>) -> (Vec<u8>, bool) {
    let mut state = shared.lock();
    while state.text.is_empty() && !state.ending && !state.hurry {
        state = match beat {
            None => shared
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(beat) => {
                let (state, waited) = shared
                    .work
                    .wait_timeout(state, beat)
                    .unwrap_or_else(PoisonError::into_inner);
                if waited.timed_out() {
                    return (Vec::new(), false);
                }
                state
            }
        };
    }
    state.writing = true;
    state.hurry = false;
    (std::mem::take(&mut state.text), state.ending)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::sync::mpsc;

    use super::{Pen, Plain};

    struct Broken(mpsc::Sender<()>);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_is_written_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        let mut pen = Pen::new(Plain(writer));
        let mut expected = String::new();
        for number in 0..10_000 {
            let line = format!("line {number}\n");
            pen.write(&line);
            expected.push_str(&line);
        }
        drop(pen);
        assert_eq!(reading.join().unwrap(), expected);
    }

    #[test]
    fn a_closed_stdout_is_quiet() {
        let (tried, tries) = mpsc::channel();
        let mut pen = Pen::new(Plain(Broken(tried)));
        pen.write("a\n");
        pen.settle();
        pen.write("b\n");
        pen.settle();
        drop(pen);
        assert_eq!(tries.iter().count(), 1, "it is not tried again");
    }

    #[test]
    fn a_reader_who_stops_does_not_stop_the_run() {
        let (reader, writer) = io::pipe().unwrap();
        let mut pen = Pen::new(Plain(writer));
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..20_000 {
            pen.write_passing(&line);
        }
        pen.write("the end\n");
        let reading = std::thread::spawn(move || io::read_to_string(reader).unwrap());
        drop(pen);
        let text = reading.join().unwrap();
        assert!(text.contains("lines were not shown"), "{}", text.len());
        assert!(text.ends_with("the end\n"));
    }
}

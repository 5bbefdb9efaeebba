//! Writing the journal of a run.
//!
//! One record is one write of one line. Waiting for the disk is shared: an fsync covers every record
//! that was appended before it began, so that steps side by side pay for one. After the first write
//! or fsync that failed nothing is written any more: a kernel that failed to write a page forgets
//! it, so that a second fsync would say "fine" of what is lost.

use std::cell::RefCell;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared};

use super::record::{Entry, Head, encode};
use super::tail::Tail;
use crate::event::{Happening, Journal, JournalError};
use crate::host::append::AppendFile;
use crate::host::{HostError, RunFolder, records};

/// A journal's name in the folder of its run.
pub const JOURNAL_FILE: &str = "journal.jsonl";

/// The journal of a run, open for its engine. The engine polls everything from one task, so that
/// nothing here needs to be sent between threads but what the disk is waited for with.
#[derive(Debug)]
pub struct FileJournal {
    disk: Arc<Disk>,
    out: RefCell<Out>,
    flight: RefCell<Option<Flight>>,
}

/// Where the chain stands, and the buffer that every record is made in.
#[derive(Debug)]
struct Out {
    head: Head,
    buffer: Vec<u8>,
}

/// An fsync under way, and those who wait for it.
type Flight = Shared<LocalBoxFuture<'static, ()>>;

/// The part of a journal that waits for the disk, on a thread where waiting is allowed.
#[derive(Debug)]
struct Disk {
    file: AppendFile,
    /// Whether the file's name, and that of its folder, are on disk.
    names: Mutex<bool>,
    /// How many records are on disk.
    synced: AtomicU64,
    fsyncs: AtomicU64,
    failed: OnceLock<JournalError>,
}

impl FileJournal {
    /// Begins the journal of a new run.
    ///
    /// # Errors
    /// When it exists or cannot be made.
    pub fn create(folder: &RunFolder) -> Result<Self, JournalError> {
        let path = folder.path().join(JOURNAL_FILE);
        let file = AppendFile::create(&path)
            .and_then(|file| folder.share(&path).map(|()| file))
            .map_err(|error| journal_error(&error))?;
        Ok(Self::continue_at(file, Head::EMPTY))
    }

    /// Goes on with the journal of a run, which was read and verified up to `verified`. What a crash
    /// left at its end is set aside first. Only whoever has taken the run over may do this.
    ///
    /// # Errors
    /// When it cannot be opened, mended or read, or is not what was verified.
    pub fn resume(
        folder: &RunFolder,
        verified: Head,
        at: jiff::Timestamp,
    ) -> Result<Self, JournalError> {
        let path = folder.path().join(JOURNAL_FILE);
        let file = AppendFile::open(&path).map_err(|error| journal_error(&error))?;
        let read = |cause: String| JournalError {
            what: format!("go on with {}", path.display()),
            cause,
        };
        let tail = Tail::read(file.file(), at).map_err(|error| read(error.to_string()))?;
        let mended = u64::from(!tail.mending.is_empty());
        if !(verified.seq..=verified.seq + mended).contains(&tail.head.seq) {
            let cause = format!(
                "{} records were verified, and it has {}",
                verified.seq, tail.head.seq
            );
            return Err(read(cause));
        }
        if !tail.mending.is_empty() {
            file.append(&tail.mending)
                .map_err(|error| journal_error(&error))?;
        }
        Ok(Self::continue_at(file, tail.head))
    }

    /// The journal in `file`, whose records end at `head`.
    fn continue_at(file: AppendFile, head: Head) -> Self {
        Self {
            disk: Arc::new(Disk {
                file,
                names: Mutex::new(false),
                synced: AtomicU64::new(0),
                fsyncs: AtomicU64::new(0),
                failed: OnceLock::new(),
            }),
            out: RefCell::new(Out {
                head,
                buffer: Vec::new(),
            }),
            flight: RefCell::new(None),
        }
    }

    /// Where its chain stands: how many records it has, and the hash of the last.
    pub fn head(&self) -> Head {
        self.out.borrow().head
    }

    /// How many times the disk was waited for.
    pub fn fsyncs(&self) -> u64 {
        self.disk.fsyncs.load(Ordering::Relaxed)
    }

    /// Waits for the disk on this thread: at a run's start and end, when nothing else is under way.
    ///
    /// # Errors
    /// When the disk refused. All later calls fail too.
    pub fn sync_now(&self) -> Result<(), JournalError> {
        self.disk.check()?;
        self.disk.sync(self.head().seq);
        self.disk.check()
    }

    /// Makes every later call fail with `error`, and gives the first such error back.
    pub(super) fn fail(&self, error: JournalError) -> JournalError {
        self.disk.fail(error)
    }

    /// The fsync under way, or a new one that covers everything appended so far.
    fn flight(&self) -> Flight {
        let mut slot = self.flight.borrow_mut();
        if let Some(flight) = slot.as_ref().filter(|flight| flight.peek().is_none()) {
            return flight.clone();
        }
        let covers = self.head().seq;
        let disk = Arc::clone(&self.disk);
        let work = Arc::clone(&self.disk);
        let task = tokio::task::spawn_blocking(move || work.sync(covers));
        let flight = async move {
            if let Err(error) = task.await {
                disk.fail(JournalError {
                    what: format!("sync {}", disk.file.path().display()),
                    cause: error.to_string(),
                });
            }
        };
        let flight = flight.boxed_local().shared();
        *slot = Some(flight.clone());
        flight
    }
}

impl Journal for FileJournal {
    fn append(&self, happening: &Happening) -> Result<(), JournalError> {
        self.disk.check()?;
        let Out { head, buffer } = &mut *self.out.borrow_mut();
        buffer.clear();
        let entry = Entry {
            at: happening.at,
            kind: happening.event.kind(),
            path: happening.path.as_ref(),
            attempt: happening.attempt,
            data: &happening.event,
        };
        let next = encode(head, &entry, buffer).map_err(|error| {
            self.disk.fail(JournalError {
                what: format!("make a `{}` record", entry.kind),
                cause: error.to_string(),
            })
        })?;
        self.disk
            .file
            .append(buffer)
            .map_err(|error| self.disk.fail(journal_error(&error)))?;
        *head = next;
        Ok(())
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + '_>> {
        let wanted = self.head().seq;
        Box::pin(async move {
            self.disk.check()?;
            if self.disk.synced.load(Ordering::Acquire) >= wanted {
                return Ok(());
            }
            // Those that are about to append in this same round get into the same fsync.
            tokio::task::yield_now().await;
            loop {
                self.disk.check()?;
                if self.disk.synced.load(Ordering::Acquire) >= wanted {
                    return Ok(());
                }
                self.flight().await;
            }
        })
    }
}

impl Disk {
    fn check(&self) -> Result<(), JournalError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn fail(&self, error: JournalError) -> JournalError {
        self.failed.get_or_init(|| error).clone()
    }

    /// Waits until the first `covers` records are on disk, and the first time until the names are.
    fn sync(&self, covers: u64) {
        if self.failed.get().is_some() {
            return;
        }
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        match self.file.sync().and_then(|()| self.sync_names()) {
            Ok(()) => {
                self.synced.fetch_max(covers, Ordering::Release);
            }
            Err(error) => {
                self.fail(journal_error(&error));
            }
        }
    }

    fn sync_names(&self) -> Result<(), HostError> {
        let mut done = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !*done {
            self.file.sync_name()?;
            if let Some(runs) = self.file.path().parent().and_then(Path::parent) {
                records::sync_folder(runs)?;
            }
            *done = true;
        }
        Ok(())
    }
}

/// The audit could not be written.
pub(super) fn journal_error(error: &HostError) -> JournalError {
    JournalError {
        what: error.action.clone(),
        cause: error.cause.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::future::join_all;

    use super::{FileJournal, Head};
    use crate::audit::chain::Records;
    use crate::base::RunId;
    use crate::event::{Event, Happening, Journal as _, RunCancel};
    use crate::host::append::AppendFile;
    use crate::host::{RunFolder, StateDir};

    fn happening(by: &str) -> Happening {
        Happening {
            at: jiff::Timestamp::UNIX_EPOCH,
            path: None,
            attempt: None,
            event: Event::RunCancel(RunCancel { by: by.to_owned() }),
        }
    }

    fn on(path: &str) -> FileJournal {
        FileJournal::continue_at(AppendFile::open(Path::new(path)).unwrap(), Head::EMPTY)
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn what_is_appended_verifies_and_a_second_journal_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(place.path());
        state.create().unwrap();
        let folder = RunFolder::create(&state, &RunId::from_parts(1, 1)).unwrap();
        let journal = FileJournal::create(&folder).unwrap();
        assert!(FileJournal::create(&folder).is_err());
        for by in ["SIGINT", "SIGTERM"] {
            journal.append(&happening(by)).unwrap();
        }
        run(journal.sync()).unwrap();
        let bytes = std::fs::read(folder.path().join("journal.jsonl")).unwrap();
        let mut records = Records::new(&bytes[..], Some(journal.head()));
        assert_eq!(records.by_ref().filter(Result::is_ok).count(), 2);
        assert_eq!(records.head(), journal.head());
    }

    #[test]
    fn those_who_wait_share_an_fsync() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(place.path());
        state.create().unwrap();
        let folder = RunFolder::create(&state, &RunId::from_parts(1, 1)).unwrap();
        let journal = FileJournal::create(&folder).unwrap();
        run(async {
            journal.sync().await.unwrap();
            assert_eq!(journal.fsyncs(), 0, "nothing to wait for");

            // Side by side: each appends, then waits.
            let one = async || {
                journal.append(&happening("x")).unwrap();
                journal.sync().await.unwrap();
            };
            join_all((0..50).map(|_| one())).await;
            assert_eq!(journal.fsyncs(), 1);
            journal.sync().await.unwrap();
            assert_eq!(journal.fsyncs(), 1, "everything is on disk");

            // What is appended while an fsync is under way needs the next one.
            journal.append(&happening("x")).unwrap();
            let first = journal.flight();
            let late = join_all((0..50).map(|_| one()));
            futures_util::future::join(first, late).await;
            assert_eq!(journal.fsyncs(), 3);

            // Those who stop waiting take nobody with them.
            journal.append(&happening("x")).unwrap();
            let mut dropped = journal.sync();
            let _ = futures_util::poll!(&mut dropped);
            let _ = futures_util::poll!(&mut dropped);
            drop(dropped);
            journal.append(&happening("x")).unwrap();
            journal.sync().await.unwrap();
        });
        let synced = journal
            .disk
            .synced
            .load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(synced, journal.head().seq);
    }

    #[test]
    fn a_full_disk_stops_everything_for_ever() {
        let journal = on("/dev/full");
        let first = journal.append(&happening("x")).unwrap_err();
        assert!(
            first.to_string().contains("append to /dev/full: no space"),
            "{first}"
        );
        assert_eq!(journal.head(), Head::EMPTY);
        for error in [
            journal.append(&happening("x")).unwrap_err(),
            run(journal.sync()).unwrap_err(),
            journal.sync_now().unwrap_err(),
        ] {
            assert_eq!(error.to_string(), first.to_string());
        }
        assert_eq!(journal.fsyncs(), 0);
    }

    #[test]
    fn a_failed_fsync_is_never_asked_again() {
        // Takes every write, and refuses every fsync.
        let journal = on("/dev/null");
        let errors = run(async {
            let one = async || {
                journal.append(&happening("x")).unwrap();
                journal.sync().await.unwrap_err()
            };
            join_all((0..3).map(|_| one())).await
        });
        assert!(
            errors[0].to_string().contains("sync /dev/null"),
            "{}",
            errors[0]
        );
        assert!(errors.iter().all(|error| error.cause == errors[0].cause));
        assert!(run(journal.sync()).is_err());
        assert!(journal.append(&happening("x")).is_err());
        assert_eq!(journal.fsyncs(), 1);
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_a_torn_tail_and_nothing_after_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("journal.jsonl");
        crate::audit::testing::in_child(
            "audit::journal::tests::writes_until_the_file_is_as_long_as_it_may_be",
            // 8 blocks of 512 bytes. A write that would pass it is cut short; without the signal.
            "trap '' XFSZ; ulimit -f 8;",
            &path,
        );
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let mut records = Records::new(&bytes[..], None);
        let good = records.by_ref().take_while(Result::is_ok).count();
        assert!(good > 2);
        let last = bytes.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        assert!(last < bytes.len(), "the last record was not cut short");
        let mut records = Records::new(&bytes[..], None).skip(good);
        let fault = records.next().unwrap().unwrap_err();
        assert!(fault.is_torn(), "{fault}");
    }

    /// The child of the test above.
    #[test]
    #[ignore = "the child of another test"]
    fn writes_until_the_file_is_as_long_as_it_may_be() {
        let Some(path) = crate::audit::testing::argument() else {
            return;
        };
        let journal = FileJournal::continue_at(AppendFile::create(&path).unwrap(), Head::EMPTY);
        let error = loop {
            if let Err(error) = journal.append(&happening(&"x".repeat(97))) {
                break error;
            }
        };
        assert!(error.cause.contains("too large"), "{error}");
        let length = std::fs::metadata(&path).unwrap().len();
        // Shorter, so that it would fit: but the chain is over.
        assert!(journal.append(&happening("")).is_err());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
    }
}

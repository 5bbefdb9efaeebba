//! A file system whose daemon took the question and went away: what a dead `sshfs` is to whoever
//! looks at it. Unlike a dead NFS server's (nfs(5), "hard"), its questions hold the one who asks even
//! against SIGKILL.
//!
//! The daemon is a thread of the test process, which speaks the kernel's own protocol
//! (linux/fuse.h); the mount is in a namespace of its own, so that no other test meets it. When this
//! is dropped, or the test process is gone, the kernel gives up every question.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lifetime::{self, Left};
use super::run::Runbook;
use super::{process, wait};

/// Where it is mounted, within the folder of the run that is `inside`.
pub const MOUNT: &str = "dead";

/// The file in it that can be opened, and never read.
pub const FILE: &str = "app.log";

/// What the daemon still answers, beyond what its folder and its file are, and that it can be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Nothing: neither how full it is, nor whether there is another name, nor what is in it.
    Nothing,
    /// All but what is in the file.
    AllButReads,
}

/// A mounted file system that does not answer.
pub struct Dead {
    holder: Mutex<Child>,
    pid: u32,
    over: Arc<AtomicBool>,
}

impl Dead {
    /// Mounts it in the folder of `run`.
    #[track_caller]
    pub fn mount(run: &Runbook, answers: Answers) -> Dead {
        process::need_root("to mount a file system");
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.unwrap_or_else(|error| {
            panic!("/dev/fuse: {error}: the kernel has no FUSE; try `modprobe fuse`")
        });
        let point = run.folder().join(MOUNT);
        std::fs::create_dir(&point).expect("a folder can be made");
        let holder = Dead::hold(&device, &point);
        let pid = holder.id();
        lifetime::watch(Left::Daemon(pid));
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        std::thread::spawn(move || serve(device, answers, &told));
        let dead = Dead {
            holder: Mutex::new(holder),
            pid,
            over,
        };
        wait::until("the mount", Duration::from_secs(20), || {
            let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts"));
            let ended = dead.holder.lock().unwrap().try_wait();
            assert!(matches!(ended, Ok(None)), "mount failed: {ended:?}");
            let point = point.display().to_string();
            mounts.ok()?.contains(&point).then_some(())
        });
        dead
    }

    /// The process whose mount namespace it is in.
    fn hold(device: &File, point: &Path) -> Child {
        let mount = "mount --no-mtab --internal-only -t fuse.dead \
             -o fd=0,rootmode=40000,user_id=0,group_id=0,allow_other dead \"$1\" && exec sleep infinity";
        let mut command = Command::new(process::program("setpriv", "util-linux"));
        command
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c"])
            .args([mount, "sh"])
            .arg(point)
            .stdin(device.try_clone().expect("a file can be duplicated"))
            .stdout(Stdio::null())
            .process_group(0);
        lifetime::spawn(command).expect("unshare can be started")
    }

    /// Runs it where this is mounted.
    pub fn inside(&self, run: Runbook) -> Runbook {
        let folder: PathBuf = run.folder().to_path_buf();
        run.under([
            "nsenter".to_owned(),
            format!("--mount=/proc/{}/ns/mnt", self.pid),
            "sh".to_owned(),
            "-c".to_owned(),
            // Only there is the folder the one with the mount in it.
            "cd \"$0\" && exec \"$@\"".to_owned(),
            folder.display().to_string(),
        ])
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let mut holder = self.holder.lock().unwrap();
        holder.kill().ok();
        holder.wait().ok();
        lifetime::unwatch(Left::Daemon(self.pid));
    }
}

/// Answers until `over`; with `device` the connection ends.
fn serve(mut device: File, answers: Answers, over: &AtomicBool) {
    let mut request = vec![0; 256 << 10];
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    while !over.load(Ordering::Relaxed) {
        let mut asked = [PollFd::new(&device, PollFlags::IN)];
        if poll(&mut asked, Some(&pause)) == Ok(0) {
            continue;
        }
        // Before the mount it is no connection yet (EPERM); after its end it is none any more.
        let Ok(length) = device.read(&mut request) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        if let Some(reply) = reply(&request[..length], answers) {
            device.write_all(&reply).ok();
        }
    }
}

/// The answer to a request, if it gets one.
fn reply(request: &[u8], answers: Answers) -> Option<Vec<u8>> {
    const ENOENT: i32 = 2;
    const ENOSYS: i32 = 38;
    let u32_at = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("4 bytes"));
    let (opcode, unique) = (u32_at(4), &request[8..16]);
    let root = u64::from_ne_bytes(request[16..24].try_into().expect("8 bytes")) == 1;
    let (error, body) = match opcode {
        // LOOKUP: a node, and how long that holds.
        1 if request[40..].starts_with(FILE.as_bytes()) => {
            let times = [2_u64, 0, 3600, 3600, 0];
            let head = times.iter().flat_map(|n| n.to_ne_bytes());
            (0, head.chain(attributes(false)).collect())
        }
        // GETATTR
        3 => {
            let head = [3600_u64, 0].into_iter().flat_map(u64::to_ne_bytes);
            (0, head.chain(attributes(root)).collect())
        }
        // OPEN, OPENDIR
        14 | 27 => (0, vec![0; 16]),
        // INIT: version 7.31, with nothing of what is optional but FUSE_ASYNC_READ, as libfuse has it.
        26 => {
            let mut body = vec![0; 64];
            for (at, value) in [
                (0, 7_u32),
                (4, 31),
                (8, 65536),
                (12, 1),
                (20, 65536),
                (24, 1),
            ] {
                body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            (0, body)
        }
        // FLUSH, RELEASE, RELEASEDIR
        18 | 25 | 29 => (0, Vec::new()),
        // LOOKUP of what is not there
        1 if answers == Answers::AllButReads => (-ENOENT, Vec::new()),
        // STATFS: 1000 blocks of 4 KiB, half of them free.
        17 if answers == Answers::AllButReads => {
            let counts = [1000_u64, 500, 500, 0, 0].into_iter();
            let sizes = [4096_u32, 255, 4096, 0, 0, 0, 0, 0, 0, 0].into_iter();
            let counts = counts.flat_map(u64::to_ne_bytes);
            (0, counts.chain(sizes.flat_map(u32::to_ne_bytes)).collect())
        }
        // READ, READDIR and the like; FORGET, INTERRUPT and BATCH_FORGET want no answer.
        1 | 2 | 15 | 17 | 28 | 36 | 42 | 44 => return None,
        _ => (-ENOSYS, Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).expect("it is small");
    let head = [length.to_ne_bytes(), error.to_ne_bytes()].concat();
    Some([&head, unique, &body].concat())
}

/// `struct fuse_attr` of the folder, or of a file of 1 KiB in it.
fn attributes(folder: bool) -> Vec<u8> {
    let (inode, mode) = if folder {
        (1_u64, 0o40_755_u32)
    } else {
        (2, 0o100_644)
    };
    let long = [inode, 1024, 2, 0, 0, 0].into_iter();
    let short = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0_u32].into_iter();
    long.flat_map(u64::to_ne_bytes)
        .chain(short.flat_map(u32::to_ne_bytes))
        .collect()
}

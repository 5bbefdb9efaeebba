//! A small file system of its own, which can be filled to the brim.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::process;

/// A mounted tmpfs; unmounted when dropped. Not of a type that `host.disk` looks at by itself, so that
/// other tests do not meet it full.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one at `path`, which is made, with these options: `size=1m`, `nr_inodes=16`.
    #[track_caller]
    pub fn mount(path: &Path, options: &str) -> Disk {
        process::need_root("to mount a file system");
        fs::create_dir_all(path).expect("a folder can be made");
        let path_text = path.display().to_string();
        let options = format!("mode=700,{options}");
        process::output(
            "mount",
            &["-t", "tmpfs", "-o", &options, "small", &path_text],
        )
        .expect_code(0);
        Disk {
            path: path.to_owned(),
        }
    }

    /// Fills it up to `left` bytes, in whole pages of 4 KiB. What is in a file's last page already can
    /// still be written to.
    #[track_caller]
    pub fn fill(&self, left: u64) {
        let space = rustix::fs::statvfs(&self.path).expect("it is mounted");
        let free = space.f_bfree * space.f_frsize;
        let mut file = File::create(self.filler()).expect("it has an inode left");
        let bytes = vec![0; usize::try_from(free.saturating_sub(left)).expect("it is small")];
        file.write_all(&bytes).expect("so much is free");
        let space = rustix::fs::statvfs(&self.path).expect("it is mounted");
        assert_eq!(space.f_bfree * space.f_frsize, left);
    }

    /// Makes space again.
    pub fn clear(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// Mounts it anew with other options: `size=2m`, `ro`.
    #[track_caller]
    pub fn remount(&self, options: &str) {
        let (path, options) = (
            self.path.display().to_string(),
            format!("remount,{options}"),
        );
        process::output("mount", &["-o", &options, &path]).expect_code(0);
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let path = self.path.display().to_string();
        process::output("umount", &["-l", &path]).expect_code(0);
    }
}

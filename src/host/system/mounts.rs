//! What is mounted where, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Our own reader, because `procfs` leaves spaces in names as `\040` and cannot read names that are
//! not UTF-8, and `sysinfo` neither knows inodes nor tells one file system that is mounted twice
//! from two.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::host::bounded::ANSWER_WITHIN;
use crate::host::{HostError, Observe};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// File systems that keep nothing on a disk, or whose files are made up by the kernel.
const NOT_ON_DISK: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "nullfs",
    "pipefs",
    "proc",
    "pstore",
    "ramfs",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sockfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "virtfs",
];

/// Images that are read only and so always full.
const IMAGES: &[&str] = &[
    "cramfs",
    "erofs",
    "fuse.snapfuse",
    "fuse.squashfuse",
    "fuse.squashfuse_ll",
    "iso9660",
    "romfs",
    "squashfs",
    "udf",
];

/// File systems that show what others hold.
const LAYERS: &[&str] = &["aufs", "ecryptfs", "overlay", "shiftfs"];

/// One mount that can be reached by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    id: u32,
    parent: u32,
    /// The kernel's number of the file system, the same for every mount of it: `254:1`.
    pub file_system: String,
    /// What of the file system is mounted: `/`, or a folder of it for a bind mount.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Of what type, such as `ext4`.
    pub fs_type: String,
    /// What the file system is on: `/dev/sda1`, `server:/export`.
    pub device: String,
    options: String,
}

impl Mount {
    /// Whether it keeps files on a disk, here or elsewhere, that can run full.
    ///
    /// Unknown types count as such: a new one is rather judged than missed. The layers of
    /// containers do not, for they fill the file system below them, which is judged; at `/` we are
    /// in the container ourselves, and they do.
    pub fn is_real(&self) -> bool {
        let ty = self.fs_type.as_str();
        let app_image = ty.starts_with("fuse.") && ty.ends_with(".AppImage");
        let layer = LAYERS.contains(&ty) && self.point != Path::new("/");
        !(NOT_ON_DISK.contains(&ty) || IMAGES.contains(&ty) || app_image || layer)
    }

    /// Whether a daemon answers for it, which may never answer.
    pub(super) fn is_fuse(&self) -> bool {
        self.fs_type == "fuse" || self.fs_type.starts_with("fuse.") || self.fs_type == "fuseblk"
    }

    /// Whether it is another user's own, who is not `user`: the kernel refuses everyone but that user, root included
    /// (mount.fuse(8), `allow_other`).
    fn is_private(&self, user: u32) -> bool {
        let mut options = self.options.split(',');
        self.is_fuse()
            && !options.clone().any(|option| option == "allow_other")
            && options
                .find_map(|option| option.strip_prefix("user_id="))
                .is_some_and(|owner| owner != user.to_string())
    }
}

/// Everything that is mounted and can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountTable(Vec<Mount>);

impl MountTable {
    /// Reads the text of `mountinfo`.
    ///
    /// # Errors
    /// Which line is broken, or that there is none.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let all: Vec<Mount> = lines.map(parse_line).collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(Self(reachable(all)))
    }

    pub(super) fn read() -> Result<Self, HostError> {
        let text =
            std::fs::read(MOUNTINFO).map_err(|e| HostError::io(format!("read {MOUNTINFO}"), &e))?;
        Self::parse(&text)
            .map_err(|cause| HostError::permanent(format!("make sense of {MOUNTINFO}"), cause))
    }

    /// Whether a daemon answers for any of it.
    pub(super) fn has_fuse(&self) -> bool {
        self.0.iter().any(Mount::is_fuse)
    }

    /// What a daemon answers for below `folder`.
    pub(super) fn fuse_below(&self, folder: &Path) -> impl Iterator<Item = &Mount> {
        let below = move |mount: &&Mount| mount.is_fuse() && mount.point.starts_with(folder);
        self.0.iter().filter(below)
    }

    /// The mount that holds `path`, which has no links in it.
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        self.0
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    /// The real file systems that we may look at, each once, by mount point. `exclude` names mount
    /// points that are left out with everything below them.
    pub fn real(&self, exclude: &[PathBuf]) -> Vec<&Mount> {
        self.real_for(rustix::process::geteuid().as_raw(), exclude)
    }

    fn real_for(&self, user: u32, exclude: &[PathBuf]) -> Vec<&Mount> {
        let wanted = |mount: &&Mount| {
            mount.is_real()
                && !mount.is_private(user)
                && !exclude.iter().any(|out| mount.point.starts_with(out))
        };
        let mut best: HashMap<&str, &Mount> = HashMap::new();
        for mount in self.0.iter().filter(wanted) {
            let known = best.entry(&mount.file_system).or_insert(mount);
            if rank(mount) < rank(known) {
                *known = mount;
            }
        }
        let mut found: Vec<&Mount> = best.into_values().collect();
        found.sort_by(|a, b| a.point.cmp(&b.point));
        found
    }
}

/// Of several mounts of one file system, the one with the smallest rank stands for it: all of it
/// before a part of it, then the one that is nearest to `/`.
fn rank(mount: &Mount) -> (bool, usize) {
    (
        mount.root != Path::new("/"),
        mount.point.components().count(),
    )
}

/// Those that a path leads to: neither covered by a later mount at the same place nor below one.
fn reachable(all: Vec<Mount>) -> Vec<Mount> {
    let ids: HashSet<u32> = all.iter().map(|mount| mount.id).collect();
    // The parent of the topmost mount is outside of what we are shown.
    let parent = |mount: &Mount| {
        Some(mount.parent).filter(|parent| ids.contains(parent) && *parent != mount.id)
    };
    let mut on: HashMap<(Option<u32>, &Path), u32> = HashMap::new();
    for mount in &all {
        on.insert((parent(mount), &mount.point), mount.id);
    }
    let leads_to = |path: &Path| {
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        let mut at = None;
        for folder in folders {
            // Mounts at one place lie on each other; a broken text could make them a circle.
            for _ in 0..all.len() {
                match on.get(&(at, folder)) {
                    Some(next) => at = Some(*next),
                    None => break,
                }
            }
        }
        at
    };
    let kept: HashSet<u32> = all
        .iter()
        .filter(|mount| leads_to(&mount.point) == Some(mount.id))
        .map(|mount| mount.id)
        .collect();
    all.into_iter()
        .filter(|mount| kept.contains(&mount.id))
        .collect()
}

fn parse_line(line: &[u8]) -> Result<Mount, String> {
    let wrong = || format!("`{}` is no line of it", String::from_utf8_lossy(line));
    let mut fields = line.split(|byte| *byte == b' ');
    let mut field = || fields.next().ok_or_else(wrong);
    let (id, parent) = (number(field()?), number(field()?));
    let (file_system, root, point) = (field()?, field()?, field()?);
    // Mount options, then any number of optional fields up to a lone hyphen.
    while field()? != b"-" {}
    let (fs_type, device, options) = (field()?, field()?, field()?);
    let text = |bytes: &[u8]| String::from_utf8_lossy(&unescape(bytes)).into_owned();
    let point = PathBuf::from(OsString::from_vec(unescape(point)));
    if !point.is_absolute() {
        return Err(wrong());
    }
    Ok(Mount {
        id: id.ok_or_else(wrong)?,
        parent: parent.ok_or_else(wrong)?,
        file_system: text(file_system),
        root: PathBuf::from(OsString::from_vec(unescape(root))),
        point,
        fs_type: text(fs_type),
        device: text(device),
        options: text(options),
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Undoes the kernel's escapes: a backslash and three octal digits (`\040` is a space).
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

impl Observe {
    /// What is mounted and can be reached.
    ///
    /// # Errors
    /// When the kernel's table cannot be read.
    pub async fn mounts(&self) -> Result<MountTable, HostError> {
        let action = format!("read {MOUNTINFO}");
        self.bounded(&action, ANSWER_WITHIN, MountTable::read).await
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::MountTable;

    const MACHINE: &str = "\
22 28 0:21 / /proc rw,nosuid - proc proc rw
23 28 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
24 28 0:6 / /dev rw,nosuid - devtmpfs udev rw,size=12334460k
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 28 254:2 / /srv/my\\040data rw,relatime shared:2 master:3 - xfs /dev/vda2 rw
31 28 254:1 /srv/www /var/www rw,relatime - ext4 /dev/vda1 rw
32 28 7:0 / /snap/core/1 ro,nodev - squashfs /dev/loop0 ro
33 28 0:40 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/a:/b
34 28 0:41 / /home rw - autofs systemd-1 rw,fd=29
35 34 0:42 / /home rw,relatime - nfs4 nas:/export/home rw,vers=4.2
36 28 0:43 / /run rw - tmpfs  rw
37 28 0:44 / /media/ann rw - fuse.sshfs ann@far: rw,user_id=1000,group_id=1000
38 28 0:45 / /backup rw - fuse.sshfs root@far: rw,user_id=0,group_id=0
39 28 8:1 / /mnt/a rw - ext4 /dev/sda1 rw
40 28 8:17 / /mnt rw - ext4 /dev/sdb1 rw
";

    fn table(text: &str) -> MountTable {
        MountTable::parse(text.as_bytes()).unwrap()
    }

    fn points(text: &str, user: u32, exclude: &[&str]) -> Vec<String> {
        let exclude: Vec<PathBuf> = exclude.iter().map(PathBuf::from).collect();
        let table = table(text);
        let found = table.real_for(user, &exclude);
        found
            .iter()
            .map(|m| m.point.display().to_string())
            .collect()
    }

    #[test]
    fn real_file_systems_once_each() {
        // No proc, tmpfs, squashfs image or layer of a container; no bind mount of `/`; the NFS
        // mount rather than the autofs below it; nothing that a later mount hides (/mnt/a); no
        // FUSE mount of somebody else.
        assert_eq!(
            points(MACHINE, 0, &[]),
            ["/", "/backup", "/home", "/mnt", "/srv/my data"]
        );
        assert_eq!(
            points(MACHINE, 1000, &["/mnt", "/srv", "/home"]),
            ["/", "/media/ann"]
        );
    }

    #[test]
    fn a_containers_own_root_counts() {
        let text = "\
500 400 0:60 / / rw - overlay overlay rw,lowerdir=/l
501 500 0:61 / /proc rw - proc proc rw
502 500 254:1 /docker/hosts /etc/hosts rw - ext4 /dev/vda1 rw
";
        assert_eq!(points(text, 0, &[]), ["/", "/etc/hosts"]);
    }

    #[test]
    fn excluded_names_are_whole_names() {
        let text = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /data2 rw - ext4 /dev/b rw\n";
        assert_eq!(points(text, 0, &["/data"]), ["/", "/data2"]);
    }

    #[test]
    fn the_mount_that_holds_a_path() {
        let table = table(MACHINE);
        let holding = |path: &str| table.holding(Path::new(path)).unwrap().device.clone();
        assert_eq!(holding("/srv/my data/x"), "/dev/vda2");
        assert_eq!(holding("/srv/my"), "/dev/vda1");
        assert_eq!(holding("/home/ann"), "nas:/export/home");
        assert_eq!(holding("/mnt/a/b"), "/dev/sdb1");
        assert_eq!(holding("/run/lock"), "");
    }

    #[test]
    fn names_that_are_not_text_are_kept() {
        let table = MountTable::parse(b"1 0 8:1 / /\xff rw - ext4 /dev/a rw\n").unwrap();
        let found = table.real(&[]);
        assert_eq!(found[0].point.as_os_str().as_encoded_bytes(), b"/\xff");
    }

    #[test]
    fn broken_texts_are_errors() {
        for text in [
            "",
            "\n",
            "garbage\n",
            "1 0 8:1 / / rw ext4 /dev/a rw\n",
            "x 0 8:1 / / rw - ext4 /dev/a rw\n",
            "1 0 8:1 / relative rw - ext4 /dev/a rw\n",
            "1 0 8:1 / / rw - ext4\n",
        ] {
            assert!(MountTable::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        // A circle ends, whatever it means.
        let circle = "1 2 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / / rw - ext4 /dev/b rw\n";
        assert!(points(circle, 0, &[]).is_empty());
    }
}

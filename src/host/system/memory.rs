//! Memory: of the machine from `/proc/meminfo`, of a container from its control group.
//!
//! Our own reader of `/proc/meminfo`, for `procfs` refuses a text that lacks any of a dozen fields
//! that nobody asked for, as sandboxed kernels write them. And our own of the control group, for
//! `sysinfo` counts the page cache as used and makes "unreadable" of "unlimited".

use std::path::Path;

use super::parse_kernel;
use crate::host::bounded::ANSWER_WITHIN;
use crate::host::{HostError, Observe};

/// How much of something there is, and how much of it can be used, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// All of it.
    pub total: u64,
    /// What can still be used.
    pub available: u64,
}

impl MemoryUse {
    /// What is used, in bytes.
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.available)
    }

    /// What is used, in percent; `None` where there is nothing to use.
    pub fn used_percent(&self) -> Option<f64> {
        (self.total > 0).then(|| self.used() as f64 * 100.0 / self.total as f64)
    }
}

/// Memory as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The machine's. Available is what programs can get without swapping, as the kernel estimates
    /// it: free memory and what it can give up of its caches (`MemAvailable`, proc_meminfo(5)).
    pub machine: MemoryUse,
    /// Swap space; its total is 0 where there is none.
    pub swap: MemoryUse,
    /// The limit of the container that we run in, where there is one below the machine's memory.
    pub container: Option<MemoryUse>,
}

fn parse_meminfo(text: &str) -> Result<(MemoryUse, MemoryUse), String> {
    let field = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .ok_or_else(|| format!("it has no {name}"))?;
        // In KiB, whatever it says ("kB").
        let kib = value.trim().trim_end_matches("kB").trim_end();
        kib.parse::<u64>()
            .ok()
            .and_then(|kib| kib.checked_mul(1024))
            .ok_or_else(|| format!("its {name} is `{}`", value.trim()))
    };
    let machine = MemoryUse {
        total: field("MemTotal")?,
        available: field("MemAvailable")?,
    };
    if machine.total == 0 {
        return Err("its MemTotal is 0".to_owned());
    }
    let swap = MemoryUse {
        total: field("SwapTotal")?,
        available: field("SwapFree")?,
    };
    Ok((machine, swap))
}

/// The files of a control group's memory, by version.
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// The line of `memory.stat` with the page cache that can be given up at once.
    cache: &'static str,
}

const VERSION_2: GroupFiles = GroupFiles {
    limit: "memory.max",
    usage: "memory.current",
    cache: "inactive_file",
};

const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: "total_inactive_file",
};

/// The memory of the control group that is the topmost one we can see, where it is limited to less
/// than `machine` bytes. On a machine that is the root group, which has no limit; in a container it
/// is the container's. Limits further down (of a service that we run in) are not the machine's
/// state and not read.
fn container(root: &Path, machine: u64) -> Result<Option<MemoryUse>, HostError> {
    for (folder, files) in [
        (root.to_owned(), VERSION_2),
        (root.join("memory"), VERSION_1),
    ] {
        let path = folder.join(files.limit);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(HostError::io(format!("read {}", path.display()), &e)),
        };
        let Some(limit) = parse_limit(&text).map_err(|cause| senseless(&path, cause))? else {
            return Ok(None);
        };
        // Version 1 writes "no limit" as a huge number.
        if limit >= machine {
            return Ok(None);
        }
        let usage = read_number(&folder.join(files.usage))?;
        let path = folder.join("memory.stat");
        let text = super::read_kernel(&path)?;
        let cache = parse_stat(&text, files.cache).map_err(|cause| senseless(&path, cause))?;
        // What is left once the cache has been given up, as the kubelet reckons it.
        let used = usage.saturating_sub(cache);
        return Ok(Some(MemoryUse {
            total: limit,
            available: limit.saturating_sub(used),
        }));
    }
    Ok(None)
}

fn senseless(path: &Path, cause: String) -> HostError {
    HostError::permanent(format!("make sense of {}", path.display()), cause)
}

fn read_number(path: &Path) -> Result<u64, HostError> {
    let text = super::read_kernel(path)?;
    text.trim()
        .parse()
        .map_err(|_| senseless(path, format!("`{}` is no number", text.trim())))
}

fn parse_limit(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "max" => Ok(None),
        number => match number.parse() {
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(format!("`{number}` is no limit")),
        },
    }
}

fn parse_stat(text: &str, name: &str) -> Result<u64, String> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| format!("it has no {name}"))
}

impl Observe {
    /// The memory of the machine, and of the container that we run in.
    ///
    /// # Errors
    /// When the kernel's files cannot be read or make no sense.
    pub async fn memory(&self) -> Result<Memory, HostError> {
        self.bounded("look at memory", ANSWER_WITHIN, || {
            let (machine, swap) = parse_kernel("/proc/meminfo", parse_meminfo)?;
            Ok(Memory {
                machine,
                swap,
                container: container(Path::new("/sys/fs/cgroup"), machine.total)?,
            })
        })
        .await
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests write control groups of their own"
)]
mod tests {
    use std::path::Path;

    use super::{MemoryUse, container, parse_limit, parse_meminfo};
    use crate::host::{Observe, testing};

    const MEMINFO: &str = "\
MemTotal:        8000000 kB
MemFree:          100000 kB
MemAvailable:    6000000 kB
Buffers:          200000 kB
Active(anon):          1 kB
SwapTotal:       1000000 kB
SwapFree:         750000 kB
HugePages_Total:       0
";

    #[test]
    fn available_is_not_free() {
        let (machine, swap) = parse_meminfo(MEMINFO).unwrap();
        assert_eq!(machine.total, 8_000_000 * 1024);
        assert_eq!(machine.used_percent(), Some(25.0));
        assert_eq!(swap.used_percent(), Some(25.0));
    }

    #[test]
    fn no_swap_has_no_percentage() {
        let none = MemoryUse {
            total: 0,
            available: 0,
        };
        assert_eq!(none.used_percent(), None);
    }

    #[test]
    fn broken_texts_are_errors() {
        let cases = [
            (String::new(), "it has no MemTotal"),
            (
                MEMINFO.replace("MemAvailable", "MemOther"),
                "it has no MemAvailable",
            ),
            (
                MEMINFO.replace("8000000", "many"),
                "its MemTotal is `many kB`",
            ),
            (MEMINFO.replace("8000000", "-1"), "its MemTotal is `-1 kB`"),
            (MEMINFO.replace("8000000", "0"), "its MemTotal is 0"),
            (
                MEMINFO.replace("6000000", "99999999999999999999"),
                "its MemAvailable is",
            ),
            ("MémTotal: 1 kB\n".to_owned(), "it has no MemTotal"),
        ];
        for (text, expected) in cases {
            let cause = parse_meminfo(&text).unwrap_err();
            assert!(cause.starts_with(expected), "{cause}");
        }
    }

    /// A folder of control group files.
    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_limit_of_a_container_is_read_in_both_versions() {
        let two = group(&[
            ("memory.max", "1000\n"),
            ("memory.current", "800\n"),
            (
                "memory.stat",
                "anon 1\ninactive_file_pages 9\ninactive_file 300\n",
            ),
        ]);
        let expected = Some(MemoryUse {
            total: 1000,
            available: 500,
        });
        assert_eq!(container(two.path(), 5000).unwrap(), expected);
        // More than the machine has is no limit.
        assert_eq!(container(two.path(), 1000).unwrap(), None);
        let one = group(&[
            ("memory/memory.limit_in_bytes", "1000\n"),
            ("memory/memory.usage_in_bytes", "800\n"),
            (
                "memory/memory.stat",
                "inactive_file 1\ntotal_inactive_file 300\n",
            ),
        ]);
        assert_eq!(container(one.path(), 5000).unwrap(), expected);
    }

    #[test]
    fn no_limit_is_not_an_unreadable_one() {
        assert_eq!(container(Path::new("/no/such"), 5000).unwrap(), None);
        let unlimited = group(&[("memory.max", "max\n")]);
        assert_eq!(container(unlimited.path(), 5000).unwrap(), None);
        let no_usage = group(&[("memory.max", "1000\n")]);
        assert!(container(no_usage.path(), 5000).is_err());
        let broken = group(&[("memory.max", "lots\n")]);
        assert!(container(broken.path(), 5000).is_err());
        assert_eq!(
            parse_limit("9223372036854771712\n"),
            Ok(Some(9_223_372_036_854_771_712))
        );
    }

    #[tokio::test]
    async fn this_machine_has_some() {
        let host = Observe::new(testing::scope().scope);
        let memory = host.memory().await.unwrap();
        assert!(memory.machine.available > 0 && memory.machine.available < memory.machine.total);
    }
}

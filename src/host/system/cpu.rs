//! What the processors do, from `/proc/stat` (proc_stat(5)): counters since boot, in clock ticks.
//! Only the difference of two readings says what they do now.
//!
//! Our own reader, for `procfs` loses the processors' numbers, which have gaps where some are
//! offline, and `sysinfo` knows neither waiting nor stolen time.

use std::collections::BTreeMap;

use super::parse_kernel;
use crate::host::bounded::ANSWER_WITHIN;
use crate::host::{HostError, Observe};

/// Ticks since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// In programs, nice ones and guests included.
    pub user: u64,
    /// In the kernel, interrupts included.
    pub system: u64,
    /// Idle, with nothing to wait for.
    pub idle: u64,
    /// Idle, while something waited for a disk.
    pub iowait: u64,
    /// Taken by the hypervisor for other machines.
    pub steal: u64,
}

/// Ticks of the machine and of each processor that is online.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    /// Of all together.
    pub total: CpuTicks,
    /// By the processor's number.
    pub cores: BTreeMap<u32, CpuTicks>,
}

/// Shares of a span of time, in percent of all processors together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuShares {
    /// Not idle: programs, the kernel, and what the hypervisor took.
    pub busy: f64,
    /// In programs.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
    /// Idle, while something waited for a disk.
    pub iowait: f64,
    /// Taken by the hypervisor.
    pub steal: f64,
}

impl CpuTicks {
    /// What was done between `earlier` and this reading; `None` if no tick passed.
    pub fn shares_since(&self, earlier: &Self) -> Option<CpuShares> {
        // A counter may go back: iowait by design (proc_stat(5)), idle on some kernels.
        let user = self.user.saturating_sub(earlier.user);
        let system = self.system.saturating_sub(earlier.system);
        let idle = self.idle.saturating_sub(earlier.idle);
        let iowait = self.iowait.saturating_sub(earlier.iowait);
        let steal = self.steal.saturating_sub(earlier.steal);
        let busy = user.saturating_add(system).saturating_add(steal);
        let all = busy.saturating_add(idle).saturating_add(iowait);
        if all == 0 {
            return None;
        }
        let share = |ticks: u64| ticks as f64 * 100.0 / all as f64;
        Some(CpuShares {
            busy: share(busy),
            user: share(user),
            system: share(system),
            iowait: share(iowait),
            steal: share(steal),
        })
    }
}

pub(super) fn parse_cpu_times(text: &str) -> Result<CpuTimes, String> {
    let mut total = None;
    let mut cores = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next().and_then(|name| name.strip_prefix("cpu")) else {
            continue;
        };
        let wrong = || format!("`{line}` is no line of it");
        let ticks: Vec<u64> = words
            .map(|word| word.parse().map_err(|_| wrong()))
            .collect::<Result<_, _>>()?;
        if ticks.len() < 4 {
            return Err(wrong());
        }
        // user nice system idle iowait irq softirq steal; older kernels end earlier. What follows
        // is the time of guests, which user and nice hold already.
        let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
        let ticks = CpuTicks {
            user: at(0).saturating_add(at(1)),
            system: at(2).saturating_add(at(5)).saturating_add(at(6)),
            idle: at(3),
            iowait: at(4),
            steal: at(7),
        };
        if name.is_empty() {
            total = Some(ticks);
        } else {
            cores.insert(name.parse().map_err(|_| wrong())?, ticks);
        }
    }
    match total {
        Some(total) if !cores.is_empty() => Ok(CpuTimes { total, cores }),
        _ => Err("it has no processors".to_owned()),
    }
}

pub(super) fn read_cpu_times() -> Result<CpuTimes, HostError> {
    parse_kernel("/proc/stat", parse_cpu_times)
}

impl Observe {
    /// What the processors have done since boot.
    ///
    /// # Errors
    /// When `/proc/stat` cannot be read or makes no sense.
    pub async fn cpu_times(&self) -> Result<CpuTimes, HostError> {
        self.bounded("look at the processors", ANSWER_WITHIN, read_cpu_times)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuTicks, parse_cpu_times};

    const STAT: &str = "\
cpu  100 10 50 800 20 5 5 10 7 0
cpu0 60 5 25 400 10 3 2 5 7 0
cpu2 40 5 25 400 10 2 3 5 0 0
intr 1 2 3
ctxt 5
";

    #[test]
    fn reads_processors_by_number() {
        let times = parse_cpu_times(STAT).unwrap();
        let expected = CpuTicks {
            user: 110,
            system: 60,
            idle: 800,
            iowait: 20,
            steal: 10,
        };
        assert_eq!(times.total, expected);
        assert_eq!(times.cores.keys().copied().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn an_old_kernel_has_fewer_columns() {
        let times = parse_cpu_times("cpu 1 2 3 4\ncpu0 1 2 3 4\n").unwrap();
        let expected = CpuTicks {
            user: 3,
            system: 3,
            idle: 4,
            iowait: 0,
            steal: 0,
        };
        assert_eq!(times.total, expected);
    }

    #[test]
    fn broken_texts_are_errors() {
        for text in [
            "",
            "intr 1\n",
            "cpu 1 2 3 4\n",
            "cpu 1 2 3\ncpu0 1 2 3\n",
            "cpu 1 2 x 4\ncpu0 1 2 3 4\n",
            "cpu 1 2 -3 4\ncpu0 1 2 3 4\n",
            "cpu 1 2 3 4\ncpux 1 2 3 4\n",
        ] {
            assert!(parse_cpu_times(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn shares_are_of_the_difference() {
        let ticks = |user, idle, iowait, steal| CpuTicks {
            user,
            system: 0,
            idle,
            iowait,
            steal,
        };
        let before = ticks(1000, 9000, 50, 0);
        let shares = ticks(1030, 9060, 55, 5).shares_since(&before).unwrap();
        assert_eq!((shares.busy, shares.user), (35.0, 30.0));
        assert_eq!((shares.iowait, shares.steal), (5.0, 5.0));
        assert_eq!(before.shares_since(&before), None);
        // Counters that go back count as standing still.
        let back = ticks(1010, 9000, 40, 0).shares_since(&before).unwrap();
        assert_eq!((back.busy, back.iowait), (100.0, 0.0));
    }
}

//! `host.disk`: how full the file systems are.

use std::path::PathBuf;

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{self, Limits};
use crate::base::ByteSize;
use crate::base::field::Percent;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::system::{Mount, Space};
use crate::host::{HostError, Observe};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Disk;

/// Checks how full the file systems are, in bytes and in inodes.
///
/// Without `paths` it looks at every real file system that is mounted, each once: not at what the
/// kernel makes up (`proc`, `tmpfs`), at images that are always full (`squashfs`), at the layers of
/// containers, at bind mounts of a file system that is mounted elsewhere, or at other users' private
/// FUSE mounts. There is one finding for each, also where all is well.
///
/// Percentages are those of `df`: what is used, over what is used and what everyone but root may
/// still use, rounded up. A limit counts from its own value on. File systems that do not count
/// inodes (btrfs, vfat) are not judged by them.
///
/// What does not exist, may not be looked at, or does not answer within 5 s (a dead NFS server) is
/// `unknown`; so is a machine on which no real file system is found.
///
/// # Changes
///
/// Nothing. (A path below an automount point is mounted by looking at it.)
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: disks
/// steps:
///   - id: disks
///     host.disk: { warn: 80, fail: 90, exclude: [/mnt/archive] }
///   - id: database
///     host.disk: { paths: [/var], warn: 70, fail: 85 }
///   - id: worst
///     flow.set: { values: { percent: "${{ steps.disks.outputs.max_used_percent }}" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Looks at the file systems that hold these paths, of whatever type; at all real ones by
    /// default.
    #[schemars(length(min = 1))]
    pub paths: Option<Vec<PathBuf>>,
    /// Leaves out these mount points and everything below them; they are not touched at all.
    #[serde(default)]
    pub exclude: Vec<PathBuf>,
    /// A warning from this use on, in percent.
    #[serde(default = "limits::eighty")]
    pub warn: Percent,
    /// Critical from this use on, in percent.
    #[serde(default = "limits::ninety")]
    pub fail: Percent,
    /// A warning from this use of inodes on, in percent.
    #[serde(default = "limits::eighty")]
    pub inodes_warn: Percent,
    /// Critical from this use of inodes on, in percent.
    #[serde(default = "limits::ninety")]
    pub inodes_fail: Percent,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// The file systems that could be looked at, by mount point.
    pub mounts: Vec<MountSpace>,
    /// The fullest one's use in percent; `null` where none could be looked at.
    pub max_used_percent: Option<u64>,
}

/// How full one file system is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MountSpace {
    /// Where it is mounted.
    pub mount: String,
    /// What it is on, such as `/dev/sda1` or `nas:/export`.
    pub device: String,
    /// Its type, such as `ext4`.
    pub fs_type: String,
    /// Its size, in bytes.
    pub total: u64,
    /// What is used, in bytes.
    pub used: u64,
    /// What everyone but root may still use, in bytes.
    pub available: u64,
    /// Its use in percent, rounded up as by `df`.
    pub used_percent: u64,
    /// Its use of inodes in percent, rounded up; `null` where they are not counted.
    pub inodes_used_percent: Option<u64>,
}

impl StepType for Disk {
    const NAME: &'static str = "host.disk";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        Limits::percent(config.warn, config.fail).check("warn", "fail")?;
        Limits::percent(config.inodes_warn, config.inodes_fail)
            .check("inodes_warn", "inodes_fail")?;
        if let Some(paths) = &config.paths {
            if paths.is_empty() {
                return Err(
                    "`paths` is empty; leave it out to look at every file system".to_owned(),
                );
            }
            if !config.exclude.is_empty() {
                return Err("`exclude` means nothing beside `paths`".to_owned());
            }
        }
        match config.exclude.iter().find(|path| !path.is_absolute()) {
            Some(path) => Err(format!(
                "`{}` in `exclude` is no mount point: they begin with /",
                path.display()
            )),
            None => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let what = config
            .text("paths")
            .unwrap_or_else(|| "the file systems".to_owned());
        let limits = limits::described(config, [("warn", "80"), ("fail", "90")]);
        Description::line(format!("look at how full {what} are ({limits} %)"))
    }
}

impl Look for Disk {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let looks = match &config.paths {
            Some(paths) => look_at_paths(paths, host).await,
            None => match look_at_all(&config.exclude, host).await {
                Ok(looks) => looks,
                Err(error) => vec![Looked {
                    subject: "mounts".to_owned(),
                    result: Err(error),
                }],
            },
        };
        judge(&config, looks)
    }
}

/// What came of looking at one file system.
struct Looked {
    /// What a finding about it is called.
    subject: String,
    /// Where it is and how full.
    result: Result<Found, HostError>,
}

/// A file system that could be looked at.
struct Found {
    mount: Mount,
    space: Space,
    /// The paths that were asked for, where they are not the mount point itself.
    paths: Vec<PathBuf>,
}

async fn look_at_all(exclude: &[PathBuf], host: &Observe) -> Result<Vec<Looked>, HostError> {
    let table = host.mounts().await?;
    let mounts = table.real(exclude);
    let spaces = join_all(mounts.iter().map(|mount| host.space_of(mount))).await;
    let looks = mounts.into_iter().zip(spaces).filter_map(|(mount, space)| {
        let found = |space| Found {
            mount: mount.clone(),
            space,
            paths: Vec::new(),
        };
        Some(Looked {
            subject: mount.point.display().to_string(),
            result: space.transpose()?.map(found),
        })
    });
    let looks: Vec<Looked> = looks.collect();
    if looks.is_empty() {
        return Err(HostError::permanent(
            "find a file system to look at",
            "none is mounted that keeps files on a disk",
        )
        .with_help("name what to look at in `paths`"));
    }
    Ok(looks)
}

async fn look_at_paths(paths: &[PathBuf], host: &Observe) -> Vec<Looked> {
    let spaces = join_all(paths.iter().map(|path| host.space_at(path))).await;
    let mut looks: Vec<Looked> = Vec::new();
    for (path, space) in paths.iter().zip(spaces) {
        let at = match space {
            Ok(at) => at,
            Err(error) => {
                looks.push(Looked {
                    subject: path.display().to_string(),
                    result: Err(error),
                });
                continue;
            }
        };
        let inside = (*path != at.mount.point).then(|| path.clone());
        // Paths of one mount are one finding, unless a quota on a folder makes them differ in size.
        let same = looks.iter_mut().find_map(|look| {
            let found = look.result.as_mut().ok()?;
            (found.mount == at.mount && found.space.total == at.space.total).then_some(found)
        });
        match same {
            Some(found) => found.paths.extend(inside),
            None => looks.push(Looked {
                subject: at.mount.point.display().to_string(),
                result: Ok(Found {
                    mount: at.mount,
                    space: at.space,
                    paths: inside.into_iter().collect(),
                }),
            }),
        }
    }
    looks
}

fn judge(config: &Config, looks: Vec<Looked>) -> Result<Outcome<Outputs>, StepError> {
    let mut mounts = Vec::new();
    let mut findings = Vec::new();
    for look in looks {
        match look.result {
            Ok(found) => {
                let space = entry(&found);
                findings.push(finding(config, &found, &space));
                mounts.push(space);
            }
            Err(error) => findings.push(limits::could_not_look(&look.subject, error)?),
        }
    }
    let outputs = Outputs {
        max_used_percent: mounts.iter().map(|mount| mount.used_percent).max(),
        mounts,
    };
    Ok(Outcome::unchanged(outputs).with_findings(findings))
}

fn entry(found: &Found) -> MountSpace {
    MountSpace {
        mount: found.mount.point.display().to_string(),
        device: found.mount.device.clone(),
        fs_type: found.mount.fs_type.clone(),
        total: found.space.total,
        used: found.space.used,
        available: found.space.available,
        used_percent: found.space.used_percent(),
        inodes_used_percent: found.space.inodes_used_percent(),
    }
}

/// One finding: the use of bytes, the use of inodes where it is worth a word, and the paths.
fn finding(config: &Config, found: &Found, space: &MountSpace) -> Finding {
    let judged = |limits: Limits, percent: u64, message: String| {
        limits.finding(&space.mount, percent as f64, " %", &message)
    };
    let (percent, free) = (space.used_percent, ByteSize(space.available));
    let mut finding = judged(
        Limits::percent(config.warn, config.fail),
        percent,
        format!("{percent} % used, {free} free"),
    );
    let inodes = space.inodes_used_percent.map(|percent| {
        let free = found.space.inodes_free;
        judged(
            Limits::percent(config.inodes_warn, config.inodes_fail),
            percent,
            format!("{percent} % of the inodes used, {free} free"),
        )
    });
    if let Some(inodes) = inodes.filter(|inodes| inodes.level > Level::Ok) {
        finding.level = finding.level.max(inodes.level);
        finding.message = format!("{}; {}", finding.message, inodes.message);
    }
    if !found.paths.is_empty() {
        let paths = found.paths.iter().map(|path| path.display().to_string());
        let paths: Vec<String> = paths.collect();
        finding.message = format!("{}; holds {}", finding.message, paths.join(", "));
    }
    finding
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::{Config, Disk, Found, Looked, judge};
    use crate::event::Level;
    use crate::host::system::{MountTable, Space};
    use crate::host::{HostError, HostErrorKind, Observe, testing};
    use crate::step::{Look, Outcome, StepErrorKind, StepType};

    fn config(value: serde_json::Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    /// A file system of 1,000 GiB that is this full.
    fn full(percent: u64, inodes: Option<u64>) -> Looked {
        let table = MountTable::parse(b"1 0 8:1 / /data rw - ext4 /dev/sda1 rw\n").unwrap();
        let space = Space {
            total: 1000 << 30,
            used: (percent * 10) << 30,
            available: ((100 - percent) * 10) << 30,
            inodes_used: inodes.unwrap_or(0),
            inodes_free: inodes.map_or(0, |used| 100 - used),
        };
        let mount = table.real(&[])[0].clone();
        Looked {
            subject: "/data".to_owned(),
            result: Ok(Found {
                mount,
                space,
                paths: Vec::new(),
            }),
        }
    }

    fn told(looked: Looked) -> (Level, String) {
        let outcome = judge(&config(json!({})), vec![looked]).unwrap();
        let finding = &outcome.findings[0];
        assert_eq!(finding.subject, "/data");
        (finding.level, finding.message.clone())
    }

    #[test]
    fn percentages_are_compared_as_numbers() {
        let expected = [
            (9, Level::Ok, "9 % used, 910.0 GiB free (warn 80 %)"),
            (79, Level::Ok, "79 % used, 210.0 GiB free (warn 80 %)"),
            (80, Level::Warning, "80 % used, 200.0 GiB free (warn 80 %)"),
            (90, Level::Critical, "90 % used, 100.0 GiB free (fail 90 %)"),
            (100, Level::Critical, "100 % used, 0 B free (fail 90 %)"),
        ];
        for (percent, level, message) in expected {
            assert_eq!(told(full(percent, None)), (level, message.to_owned()));
        }
    }

    #[test]
    fn inodes_count_as_much_as_bytes() {
        assert_eq!(told(full(10, Some(79))).0, Level::Ok);
        let (level, message) = told(full(10, Some(95)));
        assert_eq!(level, Level::Critical);
        assert_eq!(
            message,
            "10 % used, 900.0 GiB free (warn 80 %); 95 % of the inodes used, 5 free (fail 90 %)"
        );
        assert_eq!(told(full(85, Some(85))).0, Level::Warning);
    }

    #[test]
    fn could_not_look_is_unknown_and_the_others_are_still_told() {
        let dead = || Looked {
            subject: "/mnt/nas".to_owned(),
            result: Err(HostError::transient(
                "look at /mnt/nas",
                "no answer within 5s",
            )),
        };
        let outcome = judge(&config(json!({})), vec![full(10, None), dead()]).unwrap();
        let levels: Vec<Level> = outcome.findings.iter().map(|f| f.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Unknown]);
        assert_eq!(outcome.outputs.max_used_percent, Some(10));
        let outcome = judge(&config(json!({})), vec![dead()]).unwrap();
        assert_eq!(outcome.outputs.max_used_percent, None);
        let mut ended = dead();
        ended.result = Err(HostError::new(
            HostErrorKind::TimedOut,
            "look",
            "its time was up",
        ));
        let error = judge(&config(json!({})), vec![ended]).unwrap_err();
        assert_eq!(error.kind, StepErrorKind::TimedOut);
    }

    #[test]
    fn configurations_are_checked() {
        let check = |value| Disk::check(&config(value));
        assert_eq!(check(json!({})), Ok(()));
        assert_eq!(
            check(json!({ "paths": ["/"], "warn": 5, "fail": 5.5 })),
            Ok(())
        );
        for wrong in [
            json!({ "warn": 95 }),
            json!({ "inodes_warn": 50, "inodes_fail": 40 }),
            json!({ "paths": [] }),
            json!({ "paths": ["/"], "exclude": ["/mnt"] }),
            json!({ "exclude": ["mnt"] }),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
        for wrong in [
            json!({ "warn": 101 }),
            json!({ "warn": "80" }),
            json!({ "path": "/" }),
        ] {
            assert!(serde_json::from_value::<Config>(wrong).is_err());
        }
    }

    async fn look(value: serde_json::Value) -> Outcome<super::Outputs> {
        let host = Observe::new(testing::scope().scope);
        Disk::look(config(value), &host).await.unwrap()
    }

    #[tokio::test]
    async fn this_machines_own_disks() {
        // Where the tests run in a container, `/` is a layer, and counts.
        let outcome = look(json!({ "warn": 0, "fail": 100, "inodes_fail": 100 })).await;
        let mounts = &outcome.outputs.mounts;
        assert!(mounts.iter().any(|mount| mount.mount == "/"), "{mounts:?}");
        assert!(
            mounts
                .iter()
                .all(|mount| mount.fs_type != "proc" && mount.total > 0)
        );
        assert!(
            outcome
                .findings
                .iter()
                .all(|finding| finding.level > Level::Ok)
        );
    }

    #[tokio::test]
    async fn paths_are_looked_at_whatever_they_are_on() {
        let scope = testing::scope();
        let folder = scope.folder.path().to_owned();
        let paths = json!({ "paths": ["/", folder, "/no/such", "/proc/1"], "fail": 100 });
        let outcome = look(paths).await;
        let find = |subject: &str| {
            let mut findings = outcome.findings.iter();
            findings.find(|finding| finding.subject == subject).unwrap()
        };
        assert_eq!(find("/no/such").level, Level::Unknown);
        assert_eq!(
            find("/no/such").message,
            "could not look at /no/such: no such file or directory"
        );
        assert_eq!(
            find("/proc/1").message,
            "could not look at /proc/1: it is on proc, which has no size"
        );
        let _ = find("/");
        let all: String = outcome.findings.iter().map(|f| f.message.clone()).collect();
        assert!(
            all.contains(&format!("holds {}", folder.display())),
            "{all}"
        );
    }

    #[tokio::test]
    async fn nothing_to_look_at_is_unknown() {
        let outcome = look(json!({ "exclude": [PathBuf::from("/")] })).await;
        assert_eq!(outcome.findings.len(), 1);
        assert_eq!(outcome.findings[0].level, Level::Unknown);
    }
}

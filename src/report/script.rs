//! Runs that never were: scripted events for the tests of all reports.

use serde_json::{Value, json};

use crate::base::{RunId, StepPath};
use crate::event::{
    ClaimedBy, EffectClass, Event, Finding, ForeachExpand, Happening, LogFile, PlannedStep,
    PlaybookInfo, RepeatClass, RunCancel, RunEnd, RunStart, RunState, RunStatus, Section, Sink,
    SkipKind, Status, StepAttempt, StepResult, StepStart, Stream,
};

/// Events as a run would emit them.
pub(crate) struct Script {
    at: jiff::Timestamp,
    begun: jiff::Timestamp,
    pub happenings: Vec<Happening>,
}

pub(crate) fn path(text: &str) -> StepPath {
    text.parse().unwrap()
}

/// A step as the playbook has it: id, type, name.
pub(crate) fn planned(id: &str, ty: &str, name: &str) -> PlannedStep {
    PlannedStep {
        id: path(id).step,
        ty: ty.to_owned(),
        name: (!name.is_empty()).then(|| name.to_owned()),
        section: Section::Main,
    }
}

pub(crate) fn finally(mut step: PlannedStep) -> PlannedStep {
    step.section = Section::Finally;
    step
}

pub(crate) fn ended(status: Status, duration_ms: u64) -> StepResult {
    StepResult {
        duration_ms,
        ..StepResult::of(status)
    }
}

pub(crate) fn failed(duration_ms: u64, error: &str) -> StepResult {
    StepResult {
        error: Some(error.to_owned()),
        ..ended(Status::Failed, duration_ms)
    }
}

pub(crate) fn found(status: Status, duration_ms: u64, findings: Vec<Finding>) -> StepResult {
    StepResult {
        findings,
        ..ended(status, duration_ms)
    }
}

pub(crate) fn put_out(duration_ms: u64, outputs: Value) -> StepResult {
    StepResult {
        outputs,
        ..ended(Status::Succeeded, duration_ms)
    }
}

impl Script {
    pub(crate) fn new(playbook: &str, params: Value, steps: Vec<PlannedStep>) -> Self {
        let at: jiff::Timestamp = "2026-11-24T03:30:49.123Z".parse().unwrap();
        let start = RunStart {
            run: RunId::parse("0mhz3k2q9abc1234").unwrap(),
            playbook: PlaybookInfo {
                name: playbook.to_owned(),
                path: format!("/srv/playbooks/{playbook}.yaml"),
                sha256: "5f".repeat(32),
                project_sha256: None,
                description: Some("Looks at everything that wakes people up".to_owned()),
                labels: json!({ "level": "periodic", "cadence": "daily" })
                    .as_object()
                    .unwrap()
                    .clone(),
            },
            params: params.as_object().cloned().unwrap_or_default(),
            steps,
            host: "web-1".to_owned(),
            user: "alice".to_owned(),
            pid: 4711,
            engine: "0.1.0".to_owned(),
            lock: None,
        };
        let mut script = Self {
            at,
            begun: at,
            happenings: Vec::new(),
        };
        script.push(None, None, Event::RunStart(start));
        script
    }

    fn push(&mut self, path: Option<StepPath>, attempt: Option<u32>, event: Event) {
        self.happenings.push(Happening {
            at: self.at,
            path,
            attempt,
            event,
        });
    }

    pub(crate) fn start(&mut self, at: &str, name: Option<&str>) -> &mut Self {
        let event = Event::StepStart(StepStart {
            ty: "exec.command".to_owned(),
            effect: EffectClass::Change,
            repeat: RepeatClass::Once,
            claimed_by: ClaimedBy::Type,
            name: name.map(str::to_owned),
            config: json!({ "argv": ["true"] }),
            lock: None,
            input: None,
        });
        self.push(Some(path(at)), Some(1), event);
        self
    }

    pub(crate) fn end(&mut self, at: &str, attempt: u32, result: StepResult) -> &mut Self {
        self.at += jiff::SignedDuration::from_millis(result.duration_ms.try_into().unwrap());
        self.push(Some(path(at)), Some(attempt), Event::StepResult(result));
        self
    }

    /// Starts and ends it.
    pub(crate) fn step(&mut self, at: &str, result: StepResult) -> &mut Self {
        self.start(at, None).end(at, 1, result)
    }

    pub(crate) fn skip(&mut self, at: &str, reason: &str) -> &mut Self {
        let event = Event::StepResult(StepResult::skipped(SkipKind::Blocked, reason));
        self.push(Some(path(at)), None, event);
        self
    }

    pub(crate) fn retry(
        &mut self,
        at: &str,
        attempt: u32,
        error: &str,
        delay_ms: u64,
    ) -> &mut Self {
        let event = Event::StepAttempt(StepAttempt {
            error: error.to_owned(),
            delay_ms,
        });
        self.push(Some(path(at)), Some(attempt), event);
        self
    }

    pub(crate) fn expand(&mut self, at: &str, items: Vec<Value>) -> &mut Self {
        let event = Event::ForeachExpand(ForeachExpand { items });
        self.push(Some(path(at)), None, event);
        self
    }

    pub(crate) fn cancel(&mut self, by: &str) -> &mut Self {
        self.push(
            None,
            None,
            Event::RunCancel(RunCancel { by: by.to_owned() }),
        );
        self
    }

    pub(crate) fn finish(&mut self, status: RunStatus, exit_code: u8) -> Vec<Happening> {
        let took = self.at.duration_since(self.begun).as_millis();
        let event = Event::RunEnd(RunEnd {
            status,
            exit_code,
            duration_ms: took.try_into().unwrap(),
        });
        self.push(None, None, event);
        std::mem::take(&mut self.happenings)
    }
}

pub(crate) fn tell(sink: &mut dyn Sink, happenings: &[Happening]) {
    happenings.iter().for_each(|h| sink.happening(h));
}

pub(crate) fn fold(happenings: &[Happening]) -> RunState {
    RunState::fold(happenings).unwrap()
}

fn log(stream: Stream, name: &str, bytes: u64) -> LogFile {
    LogFile {
        stream,
        file: format!("logs/{name}.{}", stream.extension()),
        bytes,
        sha256: "ab".repeat(32),
    }
}

/// A daily check in which nearly everything that can happen happens.
pub(crate) fn daily_check() -> Vec<Happening> {
    let mut script = Script::new(
        "daily-check",
        json!({ "retention_days": 30, "target": "production", "token": "***" }),
        vec![
            planned("services", "service.check", "Services run"),
            planned("disk", "host.disk", ""),
            planned("memory", "host.memory", ""),
            planned("kernel", "exec.command", ""),
            planned("api", "http.check", "API answers"),
            planned("rotate", "exec.command", "Rotate the old logs"),
            planned("indexes", "postgres.reindex", "Rebuild bloated indexes"),
            planned("vacuum", "exec.script", ""),
            planned("purge", "postgres.purge", "Purge expired audit rows"),
            planned("mail", "notify.send", ""),
            finally(planned("report", "notify.send", "Tell the team")),
        ],
    );
    script.step(
        "services",
        found(
            Status::Succeeded,
            120,
            vec![
                Finding::ok("nginx", "active (running) for 12d"),
                Finding::ok("postgresql@15-main", "active (running) for 12d"),
                Finding::ok("redis-server", "active (running) for 3h"),
            ],
        ),
    );
    script.step(
        "disk",
        StepResult {
            outputs: json!({ "mounts": [
                { "mount": "/", "size_bytes": 42_949_672_960_u64, "used_bytes": 18_468_359_372_u64, "used_percent": 43.0 },
                { "mount": "/data", "size_bytes": 1_099_511_627_776_u64, "used_bytes": 912_594_651_054_u64, "used_percent": 83.0 },
                { "mount": "/mnt/nfs|old", "size_bytes": null, "used_bytes": null, "used_percent": null },
            ] }),
            ..found(
                Status::Succeeded,
                35,
                vec![
                    Finding::ok("/", "43 % used, limit 80 %"),
                    Finding::warning("/data", "83 % used, limit 80 %; at the rate of the last week it is full in 9 days")
                        .with_help("`runbook run clean-old-data` frees what is older than its retention"),
                    Finding::unknown("/mnt/nfs|old", "statfs did not answer within 5s"),
                ],
            )
        },
    );
    script.step(
        "memory",
        found(
            Status::Succeeded,
            8,
            vec![Finding::ok(
                "memory",
                "11.2 GiB of 15.6 GiB available (limit 10 %)",
            )],
        ),
    );
    script.step(
        "kernel",
        StepResult {
            changed: true,
            ..put_out(
                3,
                json!({ "exit_code": 0, "stdout": "6.1.0-18-amd64", "stderr": "" }),
            )
        },
    );
    script.start("api", None);
    script.retry(
        "api",
        1,
        "https://api.example.org/health: connection refused",
        1000,
    );
    script.start("api", None);
    script.retry(
        "api",
        2,
        "https://api.example.org/health: connection refused",
        2000,
    );
    script.start("api", None);
    script.end(
        "api",
        3,
        StepResult {
            findings: vec![
                Finding::critical("https://api.example.org/health", "HTTP 503, expected 200"),
                Finding::ok("certificate", "valid for 61 more days"),
            ],
            help: Some("see what the last deployment changed: `runbook history`".to_owned()),
            ..failed(5210, "1 finding is critical, and `fail_on` is `unknown`")
        },
    );
    script.start("rotate", None);
    script.end(
        "rotate",
        1,
        StepResult {
            allowed: true,
            outputs: json!({ "exit_code": 1, "stdout": "", "stderr": "error: bad.conf:3 unexpected text\n" }),
            logs: vec![log(Stream::Stdout, "rotate.1", 0), log(Stream::Stderr, "rotate.1", 2310)],
            ..failed(
                410,
                "`logrotate` ended with exit status 1: error: bad.conf:3 unexpected text\nerror: found error in file bad.conf, skipping",
            )
        },
    );
    indexes(&mut script);
    script.start("vacuum", None);
    script.end(
        "vacuum",
        1,
        StepResult {
            logs: vec![log(Stream::Stderr, "vacuum.1", 99)],
            ..StepResult {
                error: Some("it was not over after 10m".to_owned()),
                ..ended(Status::TimedOut, 600_000)
            }
        },
    );
    script.skip("purge", "`vacuum` above it timed out");
    script.skip("mail", "`when` is false: params.target == 'staging'");
    script.start("report", None).end(
        "report",
        1,
        StepResult {
            changed: true,
            ..put_out(230, json!({ "sent": 2 }))
        },
    );
    script.finish(RunStatus::Failed, 1)
}

fn indexes(script: &mut Script) {
    let names = ["idx_orders", "idx_users", "idx_audit", "idx_items"];
    let items = names.iter().map(|name| json!({ "name": name, "bytes": 1 }));
    script.expand("indexes", items.collect());
    for (at, name) in names.iter().enumerate() {
        let path = format!("indexes[{at}]");
        let said = format!("Rebuild {name}");
        match at {
            1 => {
                script.skip(&path, "`when` is false: index.bloat_percent > 30");
            }
            2 => {
                script.start(&path, Some(&said)).end(
                    &path,
                    1,
                    StepResult {
                        help: Some("another session holds a lock on the table".to_owned()),
                        ..failed(5000, "canceling statement due to lock timeout")
                    },
                );
            }
            _ => {
                script.start(&path, Some(&said)).end(
                    &path,
                    1,
                    StepResult {
                        changed: true,
                        ..put_out(1500, json!({ "freed_bytes": 1_048_576 * (at + 1) }))
                    },
                );
            }
        }
    }
    script.end(
        "indexes",
        1,
        StepResult {
            allowed: true,
            changed: true,
            outputs: json!([{ "freed_bytes": 1_048_576 }, null, null, { "freed_bytes": 4_194_304 }]),
            ..failed(8020, "1 of 4 items failed")
        },
    );
}

/// A run in which nothing is worth a word.
pub(crate) fn quiet_night() -> Vec<Happening> {
    let mut script = Script::new(
        "nightly",
        json!({}),
        vec![
            planned("bloat", "postgres.index_bloat", ""),
            planned("analyze", "postgres.analyze", ""),
        ],
    );
    script.step("bloat", put_out(340, json!({ "indexes": [1, 2, 3] })));
    script.step("analyze", ended(Status::Succeeded, 4200));
    script.finish(RunStatus::Succeeded, 0)
}

/// A run whose author writes Chinese, and whose texts try to break the screen.
pub(crate) fn chinese() -> Vec<Happening> {
    let mut script = Script::new(
        "每日巡检",
        json!({ "环境": "生产" }),
        vec![
            planned("disk", "host.disk", "检查磁盘空间"),
            planned("api", "http.check", "检查接口"),
            planned("evil", "log.scan", "A name with \u{1b}[2J and \u{202e}"),
        ],
    );
    script.step(
        "disk",
        found(
            Status::Succeeded,
            35,
            vec![
                Finding::warning("/数据", "已使用 83 %，超过阈值 80 %。请清理过期的备份文件，或者扩容磁盘，否则九天之后磁盘将会写满。"),
                Finding::unknown("/mnt/nfs", "五秒之内没有应答"),
            ],
        ),
    );
    script.step("api", failed(5000, "接口没有应答：连接被拒绝"));
    script.step(
        "evil",
        found(
            Status::Succeeded,
            1,
            vec![Finding::warning(
                "a\nb",
                "last match: \u{1b}]0;owned\u{7} | `x` <b>",
            )],
        ),
    );
    script.finish(RunStatus::Failed, 1)
}

/// A run that was cancelled in the middle, with a step whose outcome nobody knows.
pub(crate) fn cancelled() -> Vec<Happening> {
    let mut script = Script::new(
        "restore",
        json!({}),
        vec![
            planned("fetch", "s3.download", ""),
            planned("swap", "exec.command", "Swap the databases"),
            planned("restart", "service.restart", ""),
            finally(planned("tell", "notify.send", "")),
        ],
    );
    script.step("fetch", put_out(61_000, json!({ "bytes": 139_000_000 })));
    script.start("swap", None);
    script.cancel("SIGINT");
    script.end(
        "swap",
        1,
        StepResult {
            reason: Some("the engine was told to end while it ran".to_owned()),
            ..ended(Status::Unknown, 3100)
        },
    );
    script.skip("restart", "the run was told to end");
    script.step("tell", failed(90, "mail.example.org: no answer within 30s"));
    script.finish(RunStatus::Unknown, 4)
}

/// A `foreach` over `items`, of which every tenth fails.
pub(crate) fn many_items(items: u32) -> Vec<Happening> {
    let mut script = Script::new(
        "sweep",
        json!({}),
        vec![planned("clean", "file.delete", "Clean")],
    );
    script.expand(
        "clean",
        (0..items).map(|n| json!(format!("/tmp/{n}"))).collect(),
    );
    for item in 0..items {
        let at = format!("clean[{item}]");
        if item % 10 == 3 {
            script.step(&at, failed(2, "it is a mount point"));
        } else {
            script.step(&at, put_out(1, json!({ "files": 3 })));
        }
    }
    script.end("clean", 1, failed(u64::from(items), "some items failed"));
    script.finish(RunStatus::Failed, 1)
}

/// A chain of `steps` that do next to nothing.
pub(crate) fn many_steps(steps: u32) -> Vec<Happening> {
    let planned = (0..steps).map(|n| planned(&format!("step_{n}"), "flow.set", ""));
    let mut script = Script::new("long", json!({}), planned.collect());
    for step in 0..steps {
        script.step(
            &format!("step_{step}"),
            put_out(0, json!({ "value": step })),
        );
    }
    script.finish(RunStatus::Succeeded, 0)
}

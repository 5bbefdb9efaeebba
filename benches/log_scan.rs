//! Measures `log.scan` against `LC_ALL=C grep -c` on the same file, side by side:
//! `cargo bench --bench log_scan -- FILE PATTERN [WITHIN]`.
//!
//! Prints the median and the best of eleven runs of each. Nothing is asserted: it is read.

#![expect(clippy::print_stdout, reason = "a table for whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "starts grep")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use runbook::base::{Cancel, Clock, Deadline, RunId, StepId, StepPath};
use runbook::event::Redactor;
use runbook::host::connect::Connections;
use runbook::host::targets::Targets;
use runbook::host::{Observe, RunFolder, Scope, Shared, StateDir};
use runbook::step::Means;
use serde_json::{Value, json};

const RUNS: usize = 11;

fn main() -> Result<()> {
    // cargo adds `--bench`; `cargo test --benches` does not, and nothing is to be measured then.
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    args.retain(|arg| !arg.starts_with("--"));
    let [file, pattern, within @ ..] = args.as_slice() else {
        println!("usage: cargo bench --bench log_scan -- FILE PATTERN [WITHIN]");
        return Ok(());
    };
    let size = std::fs::metadata(file).context("look at the file")?.len();
    let folder = tempfile::tempdir()?;
    let host = observe(folder.path())?;
    let mut config = json!({ "path": file, "pattern": pattern, "max": null });
    if let [within] = within {
        config["within"] = json!(within);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut ours, mut greps) = (Vec::new(), Vec::new());
    let (mut outputs, mut grep_count) = (Value::Null, String::new());
    for _ in 0..RUNS {
        let begin = Instant::now();
        outputs = runtime.block_on(scan(&host, config.clone()))?;
        ours.push(begin.elapsed());
        let begin = Instant::now();
        grep_count = grep(file, pattern)?;
        greps.push(begin.elapsed());
    }
    println!(
        "log.scan counts {}, grep counts {grep_count}",
        outputs["count"]
    );
    report("log.scan", &mut ours, size);
    report("grep -c", &mut greps, size);
    Ok(())
}

fn report(name: &str, times: &mut [Duration], size: u64) {
    times.sort();
    let speed = |time: Duration| size as f64 / time.as_secs_f64() / 1e9;
    let (median, best) = (times[times.len() / 2], times[0]);
    println!(
        "{name:<10} median {median:>8.1?} {:>6.2} GB/s   best {best:>8.1?} {:>6.2} GB/s",
        speed(median),
        speed(best)
    );
}

/// Its output is read: grep stops at the first match when it is thrown away.
fn grep(file: &str, pattern: &str) -> Result<String> {
    let output = std::process::Command::new("grep")
        .args(["-c", "-E", "--", pattern, file])
        .env("LC_ALL", "C")
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn scan(host: &Observe, config: Value) -> Result<Value> {
    let registry = runbook::steps::registry();
    let step = registry.get("log.scan").context("log.scan is registered")?;
    let outcome = step.execute(config, Means::Look(host)).await;
    let outcome = outcome.map_err(|error| anyhow!("{error}"))?;
    Ok(outcome.outputs)
}

fn observe(folder: &Path) -> Result<Observe> {
    let state = StateDir::at(folder.join("state"));
    state.create()?;
    let run = RunId::from_parts(1, 1);
    let shared = Shared {
        run: run.clone(),
        clock: Clock::system(),
        redactor: Arc::new(Redactor::default()),
        connections: Connections::new(Vec::new()),
        environment: std::env::vars_os().collect(),
        base_dir: std::env::current_dir()?,
        folder: Arc::new(RunFolder::create(&state, &run)?),
        transients: tokio::sync::mpsc::channel(1024).0,
        targets: Targets::nobody(),
        follow_output: false,
    };
    let scope = Scope {
        shared: Arc::new(shared),
        path: StepPath::step(StepId::new("bench").context("an id")?),
        part: runbook::host::Part::Step,
        attempt: 1,
        deadline: Deadline::NEVER,
        cancel: Cancel::new(),
        durable: false,
        logs: Mutex::default(),
    };
    Ok(Observe::new(Arc::new(scope)))
}

//! `exec.command`: one program with its arguments, without a shell.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::result::{self, ExecOutputs, Parse};
use crate::event::{EffectClass, RepeatClass};
use crate::host::{Observe, Processes, Stage};
use crate::step::{Description, Generic, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Command;

/// Runs one program with its arguments, without a shell.
///
/// Arguments reach the program as they are: no word splitting, no `$NAME`, no `|`. Use
/// `exec.script` where a shell is wanted, `exec.pipeline` for programs that feed each other.
///
/// Everybody on the machine can read a process's arguments, so a secret may not flow into them; give
/// it by `env:`, which only root and the user who runs it can read. What another step puts out is
/// taken for no secret: pass it by `env:` too if it may hold one.
///
/// # Changes
///
/// What the program changes; only you know. Declare `effect: read` where it changes nothing, so
/// that a plan may run it, and `repeat: idempotent` where it may run again after a crash.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: kernel
/// steps:
///   - id: release
///     effect: read
///     exec.command: { argv: [uname, -r] }
///   - id: show
///     flow.set: { values: { kernel: "${{ steps.release.outputs.stdout }}" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program, looked up in `PATH`, and its arguments.
    #[schemars(length(min = 1))]
    pub argv: Vec<String>,
    /// Added to its environment; secrets may flow in here.
    #[serde(default)]
    #[schemars(extend("x-runbook-secrets" = true))]
    pub env: BTreeMap<String, String>,
    /// Its working folder; the playbook's own by default.
    pub cwd: Option<PathBuf>,
    /// What it reads from its standard input; nothing by default.
    pub stdin: Option<String>,
    /// The exit statuses that count as success.
    #[serde(default = "result::zero")]
    #[schemars(length(min = 1))]
    pub exit_codes: Vec<i32>,
    /// How its standard output is read.
    #[serde(default)]
    pub parse: Parse,
}

impl StepType for Command {
    const NAME: &'static str = "exec.command";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Once;
    type Config = Config;
    type Outputs = ExecOutputs;

    fn check(config: &Config) -> Result<(), String> {
        match config.argv.first().map(String::as_str) {
            None => Err("`argv` needs a program".to_owned()),
            Some("") => Err("the program in `argv` is empty".to_owned()),
            Some(_) => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let words: Vec<String> = match config.get("argv") {
            Some(Partial::List(items)) => items.iter().map(Partial::to_string).collect(),
            Some(Partial::Known(serde_json::Value::Array(items))) => items
                .into_iter()
                .map(|item| Partial::Known(item).to_string())
                .collect(),
            Some(other) => vec![other.to_string()],
            None => Vec::new(),
        };
        Description::line(format!(
            "run {}",
            result::shell_words(words.iter().map(String::as_str))
        ))
    }
}

impl Generic for Command {
    async fn run(
        config: Config,
        host: &Observe,
        processes: Processes<'_>,
    ) -> Result<Outcome<ExecOutputs>, StepError> {
        let stage = Stage {
            argv: config.argv,
            env: config.env.into_iter().collect(),
            cwd: config.cwd,
        };
        let ended = processes
            .run(&[stage], config.stdin.map(String::into_bytes))
            .await?;
        result::outcome(ended, host.scope(), &config.exit_codes, config.parse, false)
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Config};
    use crate::base::EndReason;
    use crate::host::{Effect, testing};
    use crate::step::{Generic, Outcome, StepError, StepErrorKind};

    async fn run(config: serde_json::Value) -> Result<Outcome<super::ExecOutputs>, StepError> {
        let test = testing::scope();
        let effect = Effect::new(test.scope.clone());
        let config: Config = serde_json::from_value(config).unwrap();
        Command::run(config, effect.observe(), effect.processes()).await
    }

    #[tokio::test]
    async fn captures_output_and_status() {
        let outcome = run(serde_json::json!({
            "argv": ["sh", "-c", "echo out; echo err >&2; echo rows=3 >> $RUNBOOK_OUTPUT"]
        }));
        let outputs = outcome.await.unwrap().outputs;
        assert_eq!(
            (outputs.stdout.as_str(), outputs.stderr.as_str()),
            ("out", "err")
        );
        assert_eq!(outputs.values["rows"], "3");
        let error = run(serde_json::json!({ "argv": ["sh", "-c", "echo sorry >&2; exit 3"] }));
        let error = error.await.unwrap_err();
        assert_eq!(error.message, "`sh` exited with status 3: sorry");
        assert_eq!(error.outputs.unwrap()["exit_code"], 3);
    }

    #[tokio::test]
    async fn a_missing_program_is_told() {
        let error = run(serde_json::json!({ "argv": ["no-such-program"] }))
            .await
            .unwrap_err();
        assert_eq!(error.kind, StepErrorKind::Permanent);
        assert!(
            error.message.contains("there is no such program"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_whole_group_ends_when_told() {
        let test = testing::scope();
        let effect = Effect::new(test.scope.clone());
        let marker = test.folder.path().join("marker");
        let script = format!(
            "(trap '' HUP; sleep 1000) & (echo $! > {0}.tmp; mv {0}.tmp {0}); sleep 1000",
            marker.display()
        );
        let config: Config =
            serde_json::from_value(serde_json::json!({ "argv": ["sh", "-c", script] })).unwrap();
        let cancel = test.scope.cancel.clone();
        let run = Command::run(config, effect.observe(), effect.processes());
        let stop = async {
            while !marker.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            cancel.end(EndReason::Timeout);
        };
        let (result, ()) = tokio::join!(run, stop);
        assert_eq!(result.unwrap_err().kind, StepErrorKind::TimedOut);
        let pid = std::fs::read_to_string(&marker).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
    }

    #[tokio::test]
    async fn a_process_left_behind_does_not_hang_the_step() {
        let outcome = run(serde_json::json!({ "argv": ["sh", "-c", "sleep 1000 & echo done"] }));
        let outcome = outcome.await.unwrap();
        assert_eq!(outcome.outputs.stdout, "done");
        assert_eq!(outcome.findings.len(), 1);
    }
}

//! `exec.pipeline`: programs that feed each other, without a shell.

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
pub struct Pipeline;

/// One program of a pipeline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The program, looked up in `PATH`, and its arguments.
    #[schemars(length(min = 1))]
    pub argv: Vec<String>,
    /// Added to its environment, on top of the pipeline's; secrets may flow in here.
    #[serde(default)]
    #[schemars(extend("x-runbook-secrets" = true))]
    pub env: BTreeMap<String, String>,
}

/// What a stage's SIGPIPE means, where a later stage stopped reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SigPipe {
    /// The stage failed.
    #[default]
    Fail,
    /// It is fine: the later stage had enough.
    Ok,
}

/// Runs programs that feed each other, without a shell; every one of them must succeed.
///
/// Where a shell looks at the last exit status alone, here each stage's counts, and the error says
/// which one failed.
///
/// # Changes
///
/// What the programs change; only you know. Declare `effect: read` where they change nothing, and
/// `repeat: idempotent` where they may run again after a crash.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: shells
/// steps:
///   - id: shells
///     effect: read
///     exec.pipeline:
///       stages:
///         - argv: [cut, -d, ":", -f7, /etc/passwd]
///         - argv: [sort, -u]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The programs, from left to right.
    #[schemars(length(min = 1))]
    pub stages: Vec<StageConfig>,
    /// Added to the environment of all of them; secrets may flow in here.
    #[serde(default)]
    #[schemars(extend("x-runbook-secrets" = true))]
    pub env: BTreeMap<String, String>,
    /// Their working folder; the playbook's own by default.
    pub cwd: Option<PathBuf>,
    /// What the first one reads from its standard input; nothing by default.
    pub stdin: Option<String>,
    /// The exit statuses that count as success, for every stage.
    #[serde(default = "result::zero")]
    #[schemars(length(min = 1))]
    pub exit_codes: Vec<i32>,
    /// What it means when a stage is ended by SIGPIPE, because a later one stopped reading.
    #[serde(default)]
    pub sigpipe: SigPipe,
    /// How the last one's standard output is read.
    #[serde(default)]
    pub parse: Parse,
}

impl StepType for Pipeline {
    const NAME: &'static str = "exec.pipeline";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Once;
    type Config = Config;
    type Outputs = ExecOutputs;

    fn check(config: &Config) -> Result<(), String> {
        if config.stages.is_empty() {
            return Err("`stages` needs at least one program".to_owned());
        }
        let empty = |stage: &StageConfig| stage.argv.first().is_none_or(String::is_empty);
        match config.stages.iter().position(empty) {
            Some(at) => Err(format!("stage {} names no program", at + 1)),
            None => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let stages: Vec<Partial> = match config.get("stages") {
            Some(Partial::List(stages)) => stages,
            Some(Partial::Known(serde_json::Value::Array(stages))) => {
                stages.into_iter().map(Partial::Known).collect()
            }
            _ => Vec::new(),
        };
        let one = |stage: &Partial| match stage.value::<Vec<String>>("argv") {
            Some(argv) => result::shell_words(argv.iter().map(String::as_str)),
            None => stage.text("argv").unwrap_or_default(),
        };
        let all: Vec<String> = stages.iter().map(one).collect();
        Description::line(format!("run {}", all.join(" | ")))
    }
}

impl Generic for Pipeline {
    async fn run(
        config: Config,
        host: &Observe,
        processes: Processes<'_>,
    ) -> Result<Outcome<ExecOutputs>, StepError> {
        let shared = config.env;
        let stages: Vec<Stage> = config
            .stages
            .into_iter()
            .map(|stage| Stage {
                argv: stage.argv,
                env: shared.clone().into_iter().chain(stage.env).collect(),
                cwd: config.cwd.clone(),
            })
            .collect();
        let ended = processes
            .run(&stages, config.stdin.map(String::into_bytes))
            .await?;
        result::outcome(
            ended,
            host.scope(),
            &config.exit_codes,
            config.parse,
            config.sigpipe == SigPipe::Ok,
        )
    }
}

//! `exec.script`: a script, run by a shell that stops at the first error.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::result::{self, ExecOutputs, Parse};
use crate::base::field::Code;
use crate::event::{EffectClass, RepeatClass};
use crate::host::{Observe, Processes, Stage};
use crate::step::{Description, Generic, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Script;

/// The shell that runs a script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    /// bash under `-euo pipefail`.
    #[default]
    Bash,
    /// sh under `-eu`.
    Sh,
}

/// Runs a script in a shell that stops at the first error.
///
/// The script is never a template: values reach it through `env:`, so that no value can become
/// code. With bash it runs under `-euo pipefail`: an error, an unset variable or a failed stage of
/// a pipeline ends it.
///
/// # Changes
///
/// What the script changes; only you know. Declare `effect: read` where it changes nothing, and
/// `repeat: idempotent` where it may run again after a crash.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: count-files
/// params:
///   folder: { type: string, default: /etc }
/// steps:
///   - id: count
///     effect: read
///     exec.script:
///       env: { FOLDER: "${{ params.folder }}" }
///       script: |
///         files=$(find "$FOLDER" -maxdepth 1 -type f | wc -l)
///         echo "files=$files" >> "$RUNBOOK_OUTPUT"
///   - id: some
///     flow.assert: { that: [steps.count.outputs.values.files | int > 0], message: no files }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The script.
    pub script: Code,
    /// The shell that runs it.
    #[serde(default)]
    pub shell: Shell,
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

/// The longest script, in bytes: Linux takes 128 KiB in one argument.
const LONGEST: usize = 120 * 1024;

impl StepType for Script {
    const NAME: &'static str = "exec.script";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Once;
    type Config = Config;
    type Outputs = ExecOutputs;

    fn check(config: &Config) -> Result<(), String> {
        let script = config.script.expose();
        if script.trim().is_empty() {
            return Err("the script is empty".to_owned());
        }
        if script.len() > LONGEST {
            let size = script.len();
            return Err(format!(
                "the script has {size} bytes, and at most {LONGEST} are taken; put it into a file"
            ));
        }
        if script.contains('\0') {
            return Err("the script has a NUL character in it".to_owned());
        }
        Ok(())
    }

    fn describe(config: &Partial) -> Description {
        let shell = config.text("shell").unwrap_or_else(|| "bash".to_owned());
        let script = config.text("script").unwrap_or_default();
        let lines = script.lines().count();
        let mut description = Description::line(match lines {
            1 => format!("run with {shell}: {}", script.trim()),
            _ => format!("run a {shell} script of {lines} lines"),
        });
        if lines > 1 {
            description.details = script.lines().map(str::to_owned).collect();
        }
        description
    }
}

impl Generic for Script {
    async fn run(
        config: Config,
        host: &Observe,
        processes: Processes<'_>,
    ) -> Result<Outcome<ExecOutputs>, StepError> {
        let (program, options): (&str, &[&str]) = match config.shell {
            Shell::Bash => ("bash", &["-euo", "pipefail"]),
            Shell::Sh => ("sh", &["-eu"]),
        };
        let words = std::iter::once(program).chain(options.iter().copied());
        let words = words.chain(["-c", config.script.expose(), "script"]);
        let stage = Stage {
            argv: words.map(str::to_owned).collect(),
            env: config.env.into_iter().collect(),
            cwd: config.cwd,
        };
        let ended = processes
            .run(&[stage], config.stdin.map(String::into_bytes))
            .await?;
        result::outcome(ended, host.scope(), &config.exit_codes, config.parse, false)
    }
}

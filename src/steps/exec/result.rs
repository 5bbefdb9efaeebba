//! What the `exec.*` types have in common: their outputs, and when they fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Finding;
use crate::host::Scope;
use crate::host::process::Ended;
use crate::step::{Outcome, StepError, StepErrorKind};

/// How standard output is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parse {
    /// As text.
    #[default]
    Text,
    /// As one JSON value, into `outputs.json`.
    Json,
}

/// What a command put out.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct ExecOutputs {
    /// Its exit status; of a pipeline, the last stage's. Null when a signal ended it.
    pub exit_code: Option<i32>,
    /// Its standard output without the line breaks at its end, up to 1 MiB.
    pub stdout: String,
    /// Its standard error without the line breaks at its end, up to 1 MiB.
    pub stderr: String,
    /// Whether there was more than `stdout` or `stderr` hold. All of it is in the logs.
    pub truncated: bool,
    /// Its standard output as JSON, with `parse: json`.
    pub json: Value,
    /// What it left in the file `$RUNBOOK_OUTPUT`: lines of `key=value`, or one JSON object.
    pub values: serde_json::Map<String, Value>,
}

/// The longest part of a command's last words that an error repeats, in characters.
const LAST_WORDS: usize = 300;

/// The outcome of a pipeline: it succeeded if every stage's exit status is one of `success`.
pub fn outcome(
    ended: Ended,
    scope: &Scope,
    success: &[i32],
    parse: Parse,
    sigpipe_is_fine: bool,
) -> Result<Outcome<ExecOutputs>, StepError> {
    let last = ended.stages.len().saturating_sub(1);
    let failed = ended.stages.iter().enumerate().find(|(at, stage)| {
        let broken_pipe = stage.signal == Some(13) && *at != last && sigpipe_is_fine;
        !broken_pipe && !stage.code.is_some_and(|code| success.contains(&code))
    });
    let failure = failed.map(|(at, stage)| {
        let which = if last == 0 {
            String::new()
        } else {
            format!("stage {} of the pipeline, ", at + 1)
        };
        // Without secrets before it is cut to a line: of half of one, nobody could tell.
        let stderr = ended.stderr.text();
        let words = last_words(&scope.shared.redactor.text(&stderr));
        let said = if words.is_empty() {
            String::new()
        } else {
            format!(": {words}")
        };
        format!("{which}`{}` {}{said}", stage.program, stage.describe())
    });
    let mut outputs = ExecOutputs {
        exit_code: ended.stages.last().and_then(|stage| stage.code),
        stdout: trimmed(ended.stdout.text()),
        stderr: trimmed(ended.stderr.text()),
        truncated: ended.stdout.truncated() || ended.stderr.truncated(),
        json: Value::Null,
        values: ended.values,
    };
    if let Some(message) = failure {
        return Err(StepError::new(StepErrorKind::Opaque, message).with_outputs(&outputs));
    }
    if parse == Parse::Json {
        outputs.json = serde_json::from_slice(&ended.stdout.bytes).map_err(|error| {
            StepError::new(
                StepErrorKind::Opaque,
                format!("its output is not JSON: {error}"),
            )
            .with_outputs(&outputs)
        })?;
    }
    let mut outcome = Outcome::changed(outputs);
    if ended.leftovers {
        outcome.findings.push(
            Finding::warning(
                "processes",
                "it left processes running in its group; they were ended",
            )
            .with_help("start a daemon in a session of its own: `systemd-run`, or `setsid -f`"),
        );
    }
    Ok(outcome)
}

fn trimmed(mut text: String) -> String {
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    text
}

/// The last line that is not empty.
fn last_words(text: &str) -> String {
    let line = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim();
    match line.char_indices().nth(LAST_WORDS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The default of `exit_codes`.
pub fn zero() -> Vec<i32> {
    vec![0]
}

/// Text for a description: `a b 'c d'`.
pub fn shell_words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = words.into_iter().map(|word| {
        let plain = !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&b));
        if plain || word.starts_with('‹') {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

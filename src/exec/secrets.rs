//! Reading the secrets that a program uses, before anything runs.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::base::{Cancel, Clock, Deadline, Duration, RunId, StepId, StepPath};
use crate::compile::Program;
use crate::event::{Redactor, SHORTEST};
use crate::host::connect::Connections;
use crate::host::targets::Targets;
use crate::host::{Part, Processes, RunFolder, Scope, Shared, Stage, files};
use crate::model::SecretSource;

/// The values of secrets, by name. They are never printed.
#[derive(Clone, Default)]
pub struct Secrets(IndexMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Secrets whose values are known already.
impl FromIterator<(String, String)> for Secrets {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

/// A secret that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("secret `{name}`: {message}")]
pub struct SecretError {
    /// Which.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
    /// Where it is declared.
    pub span: crate::base::Span,
    /// What to do about it.
    pub help: Option<String>,
}

/// The longest file or output that is taken as a secret, in bytes.
const LONGEST: u64 = 64 * 1024;

/// How long a command may take to say a secret.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// Reads the secrets that `program` uses.
///
/// # Errors
/// Everything that is wrong with them; none of the messages holds a value.
pub async fn resolve(
    program: &Program,
    clock: &Clock,
    environment: &std::collections::HashMap<std::ffi::OsString, std::ffi::OsString>,
    state: &Path,
) -> Result<Secrets, Vec<SecretError>> {
    let mut values = IndexMap::new();
    let mut errors = Vec::new();
    for name in program.used_secrets() {
        let Some(decl) = program.playbook().secrets.get(name) else {
            continue;
        };
        let value = match &decl.source {
            SecretSource::Env(variable) => from_env(variable),
            SecretSource::File(path) => from_file(&program.info().base_dir.join(path)),
            SecretSource::Command(argv) => {
                from_command(program, clock, environment, state, argv).await
            }
        };
        match value.and_then(usable) {
            Ok(value) => {
                values.insert(name.to_owned(), value);
            }
            Err((message, help)) => {
                errors.push(SecretError {
                    name: name.to_owned(),
                    message,
                    span: decl.span,
                    help,
                });
            }
        }
    }
    if errors.is_empty() {
        Ok(Secrets(values))
    } else {
        Err(errors)
    }
}

type Problem = (String, Option<String>);

fn from_env(variable: &str) -> Result<String, Problem> {
    std::env::var(variable).map_err(|error| match error {
        std::env::VarError::NotPresent => (
            format!("the environment variable {variable} is not set"),
            Some(format!("set it: `export {variable}=…`")),
        ),
        std::env::VarError::NotUnicode(_) => (
            format!("the environment variable {variable} is not UTF-8"),
            None,
        ),
    })
}

fn from_file(path: &Path) -> Result<String, Problem> {
    let bytes =
        files::read_limited(path, LONGEST).map_err(|error| (error.to_string(), error.help))?;
    text(bytes).map_err(|()| (format!("{} is not UTF-8", path.display()), None))
}

/// A secret's text: the line break that editors and `echo` put at the end is not part of it.
fn text(bytes: Vec<u8>) -> Result<String, ()> {
    let mut text = String::from_utf8(bytes).map_err(|_| ())?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

fn usable(value: String) -> Result<String, Problem> {
    match value.chars().count() {
        0 => Err(("it is empty".to_owned(), None)),
        count if value.len() < SHORTEST => Err((
            format!("it has {count} character(s), too few to be hidden in records"),
            Some(format!("a secret has at least {SHORTEST} characters")),
        )),
        _ => Ok(value),
    }
}

async fn from_command(
    program: &Program,
    clock: &Clock,
    environment: &std::collections::HashMap<std::ffi::OsString, std::ffi::OsString>,
    state: &Path,
    argv: &[String],
) -> Result<String, Problem> {
    let Some(step) = StepId::new("secret") else {
        return Err(("it has no name".to_owned(), None));
    };
    let shared = Shared {
        run: RunId::from_parts(0, 0),
        clock: clock.clone(),
        redactor: Arc::new(Redactor::default()),
        connections: Connections::default(),
        environment: environment.clone(),
        base_dir: program.info().base_dir.clone(),
        folder: Arc::new(RunFolder::detached(state.to_owned())),
        transients: tokio::sync::mpsc::channel(1).0,
        targets: Targets::nobody(),
        follow_output: false,
    };
    let cancel = Cancel::new();
    let scope = Scope {
        shared: Arc::new(shared),
        path: StepPath::step(step),
        part: Part::Step,
        attempt: 1,
        deadline: Deadline::NEVER,
        cancel: cancel.clone(),
        durable: false,
        logs: std::sync::Mutex::default(),
    };
    let stages = [Stage {
        argv: argv.to_vec(),
        ..Stage::default()
    }];
    let processes = Processes::for_secrets(&scope);
    let deadline = clock.deadline_in(COMMAND_TIME);
    let run = processes.run_private(&stages);
    let watch = async {
        clock.sleep_until(deadline).await;
        cancel.end(crate::base::EndReason::Timeout);
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = run => ended,
        () = watch => return Err(("its command took too long".to_owned(), None)),
    };
    let ended = ended.map_err(|error| (error.to_string(), error.help))?;
    let end = ended.stages.first();
    if !end.is_some_and(|end| end.succeeded()) {
        let how = end.map(|end| end.describe()).unwrap_or_default();
        return Err((format!("its command {how}"), None));
    }
    if ended.stdout.total > LONGEST {
        return Err((format!("its command wrote more than {LONGEST} bytes"), None));
    }
    text(ended.stdout.bytes).map_err(|()| ("its command's output is not UTF-8".to_owned(), None))
}

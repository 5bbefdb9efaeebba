//! What the command line takes.

mod audit;

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::{Duration, Format, StepPath};
use crate::report::graph::Drawing;

pub(super) use audit::{AuditArgs, AuditVerb, ExportArgs, KeygenArgs, PruneArgs, VerifyArgs};

/// A declarative runbook engine: playbooks that are checked before they run, and an audit trail
/// that can be verified afterwards.
#[derive(Debug, Parser)]
#[command(
    name = "runbook",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit status:
  0         done
  1         a step failed, one of `finally` too, or a check is critical or unknown (validate:
            errors; test: a case failed)
  2         nothing ran: bad usage or an invalid playbook
  3         nothing more ran: an approval is missing
  4         the outcome of a step is unknown
  5         the audit could not be written, or does not verify
  10        plan --detailed-exitcode: there is something to change
  75        another process has it
  124       the run's deadline passed
  130, 143  cancelled";

/// Options of every verb.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Show problems and the verdict alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show more, such as what processes write while they write it
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a playbook
    Run(RunArgs),
    /// Go on with a run that was interrupted, cancelled or left waiting
    Resume(ResumeArgs),
    /// Run a step of a past run again, and what waits for it
    Retry(RetryArgs),
    /// Agree to a step that asks for an approval, or do not
    Approve(ApproveArgs),
    /// End a run that runs, from elsewhere: politely, `finally` included
    Cancel(CancelArgs),
    /// Say whether a step whose outcome is unknown has happened
    Resolve(ResolveArgs),
    /// Look what a run would do: read steps run, the others are previewed
    Plan(PlanArgs),
    /// Check playbooks without running anything
    Validate(ValidateArgs),
    /// Test playbooks against declared answers, in virtual time
    Test(TestArgs),
    /// List the playbooks of a folder
    List(ListArgs),
    /// Show a playbook: its parameters, secrets, connections and steps
    Show(PlaybookArgs),
    /// Draw a playbook's steps and what they wait for
    Graph(GraphArgs),
    /// List the step types, or show one
    Steps(StepsArgs),
    /// Print the JSON Schema of playbooks, for editors
    Schema(SchemaArgs),
    /// Explain a diagnostic's code
    Explain(ExplainArgs),
    /// List past runs, newest first
    History(HistoryArgs),
    /// Show a run
    Status(StatusArgs),
    /// Show what a run's processes wrote
    Logs(LogsArgs),
    /// Verify, sign, export or show the audit trail
    Audit(AuditArgs),
    /// Begin a project in a folder
    Init(InitArgs),
    /// Look whether this machine has what runbook needs
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

/// Reads one of these formats, and lists them in the help.
#[derive(Clone, Debug)]
struct OneOf(&'static [Format]);

impl TypedValueParser for OneOf {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Format, clap::Error> {
        let takes = self.0;
        let read = move |word: &str| word.parse::<Format>()?.one_of(takes);
        read.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = self.0.iter().map(|format| format.as_str());
        Some(Box::new(words.map(PossibleValue::new)))
    }
}

fn longer_than_nothing(text: &str) -> Result<Duration, String> {
    match text.parse::<Duration>() {
        Ok(Duration::ZERO) => Err("it has to be longer than 0s".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Where parameters come from.
#[derive(Debug, Args)]
pub(super) struct ParamArgs {
    /// Set a parameter
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Take parameters from a YAML or JSON file
    #[arg(long, value_name = "FILE")]
    pub params_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The playbook
    #[arg(required_unless_present = "plan")]
    pub playbook: Option<PathBuf>,
    #[command(flatten)]
    pub params: ParamArgs,
    /// Say what would be done, and look at nothing; `runbook plan` looks, and shows how much and what
    #[arg(long, conflicts_with = "plan")]
    pub dry_run: bool,
    /// Do what a saved plan says, and nothing else; refuse if the world has moved
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Run this step alone, with the steps that it needs or reads
    #[arg(long = "step", value_name = "STEP")]
    pub steps: Vec<String>,
    #[command(flatten)]
    pub how: HowArgs,
}

impl HowArgs {
    /// As it is where nobody says anything.
    pub fn plain() -> Self {
        Self {
            yes: false,
            no_input: true,
            max_parallel: None,
            wait: false,
            timeout: None,
            format: Format::Text,
            reports: Vec::new(),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The playbook
    pub playbook: PathBuf,
    #[command(flatten)]
    pub params: ParamArgs,
    /// Save the plan, for `run --plan`
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End with 10 where there is something to change
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// How it is told
    #[arg(long, value_parser = OneOf(Format::FOR_LISTS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

/// How a run is run and told.
#[derive(Debug, Args)]
pub(super) struct HowArgs {
    /// Say yes to what asks for a confirmation (`runbook plan` shows what it is about)
    #[arg(short, long)]
    pub yes: bool,
    /// Never ask
    #[arg(long)]
    pub no_input: bool,
    /// How many steps and items run side by side, where the playbook lets them; by default one a
    /// processor, and at least 4
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_parallel: Option<u16>,
    /// Wait for a lock that another run holds, whatever the playbook says
    #[arg(long)]
    pub wait: bool,
    /// How long the run may take
    #[arg(long, value_name = "DURATION", value_parser = longer_than_nothing)]
    pub timeout: Option<Duration>,
    /// How the run is told on standard output
    #[arg(long, value_parser = OneOf(Format::FOR_RUNS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
    /// Also write a report when the run is over: text, json, junit, github or markdown (repeatable)
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    pub reports: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// A run's id, the beginning of one, or `last`
    pub run: String,
    #[command(flatten)]
    pub params: ParamArgs,
    /// After an edit of the playbook: run finished steps again that it changed
    #[arg(long, conflicts_with = "keep_changed")]
    pub rerun_changed: bool,
    /// After an edit of the playbook: take finished steps that it changed as they are
    #[arg(long)]
    pub keep_changed: bool,
    #[command(flatten)]
    pub how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    /// The step to begin with; it and all that wait for it run again
    #[arg(long, value_name = "STEP")]
    pub from: String,
    #[command(flatten)]
    pub resume: ResumeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// A run's id, the beginning of one, or `last`
    pub run: String,
    /// The step
    pub step: StepPath,
    /// Do not agree
    #[arg(long)]
    pub deny: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// A run's id, the beginning of one, or `last`
    pub run: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// A run's id, the beginning of one, or `last`
    pub run: String,
    /// The step, or an item of it, such as `restart` or `reindex[3]`
    pub step: StepPath,
    /// Whether it happened
    #[arg(long = "as", value_enum, value_name = "OUTCOME")]
    pub outcome: Outcome,
    /// How you know
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Outcome {
    /// It happened: what waits for it can go on
    Done,
    /// It did not happen: it runs again
    NotDone,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// Playbooks, or folders of them; this folder by default
    pub paths: Vec<PathBuf>,
    /// How findings are told
    #[arg(long, value_parser = OneOf(Format::FOR_DIAGNOSTICS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
    /// Fail on warnings too
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Test files, or folders of them (`*.test.yaml`); this folder by default
    pub paths: Vec<PathBuf>,
    /// Play only cases with this in their name
    #[arg(long, value_name = "TEXT")]
    pub run: Option<String>,
    /// Fail if the cases of a file cover less of its playbook
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_coverage: Option<u8>,
    /// How it is told
    #[arg(long, value_parser = OneOf(Format::FOR_TESTS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
    /// Also write a report: text, json or junit (repeatable)
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    pub reports: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The folder; this one by default
    pub folder: Option<PathBuf>,
    /// Print JSON
    #[arg(long, value_parser = OneOf(Format::FOR_LISTS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct PlaybookArgs {
    /// The playbook
    pub playbook: PathBuf,
    /// How it is told
    #[arg(long, value_parser = OneOf(Format::FOR_LISTS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    /// The playbook
    pub playbook: PathBuf,
    /// How it is drawn: text, mermaid, dot or svg
    #[arg(long, default_value_t = Drawing::Text, value_name = "FORMAT")]
    pub format: Drawing,
}

#[derive(Debug, Args)]
pub(super) struct StepsArgs {
    /// A step type, such as `exec.command`; or the beginning of several, such as `host`
    pub name: Option<String>,
    /// How it is told
    #[arg(long, value_enum, default_value_t = StepsFormat::Text, value_name = "FORMAT")]
    pub format: StepsFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StepsFormat {
    Text,
    Json,
    Markdown,
}

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Which schema
    #[arg(value_enum, default_value_t = SchemaKind::Playbook)]
    pub kind: SchemaKind,
    /// Write all generated files (schemas and reference) below this folder
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    pub write: Option<PathBuf>,
    /// Fail if a generated file below this folder is stale
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".", conflicts_with = "write")]
    pub check: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaKind {
    Playbook,
    Project,
    Test,
    Audit,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A code such as RB301; all of them are listed without one
    pub code: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// How many runs
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Of this playbook alone
    #[arg(long, value_name = "NAME")]
    pub playbook: Option<String>,
    /// How they are told
    #[arg(long, value_parser = OneOf(Format::FOR_LISTS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// A run's id, the beginning of one, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// How it is told
    #[arg(long, value_parser = OneOf(Format::FOR_RUNS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// A run's id, the beginning of one, or `last`
    #[arg(default_value = "last")]
    pub run: String,
    /// A step or an item of one, such as `backup` or `reindex[3]`
    pub step: Option<String>,
    /// On a terminal too: the bytes as they were written, one log after the other
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder; this one by default
    pub folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// How it is told
    #[arg(long, value_parser = OneOf(Format::FOR_LISTS), default_value = "text", value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

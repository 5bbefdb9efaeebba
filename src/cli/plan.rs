//! `runbook plan PLAYBOOK`: looks what a run would do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::args::{HowArgs, PlanArgs};
use super::engine::{Setup, on_runtime, reports};
use super::output::Output;
use super::{exit, load};
use crate::base::Format;
use crate::base::count::plural;
use crate::event::{ApprovalKind, EffectClass, Section};
use crate::host::files;
use crate::plan::{Decision, Estimate, Plan, Planned, Pledge, Seen};
use crate::report::terminal::{Ink, Look, Pieces, text_width};
use crate::report::{amount, clean};
use crate::step::Preview;

pub(super) fn run(out: &mut Output, args: PlanArgs) -> u8 {
    let registry = crate::steps::registry();
    let Some(program) = load::program(out, &args.playbook, &registry) else {
        return exit::USAGE;
    };
    let Some(params) = load::params(out, &program, &args.params) else {
        return exit::USAGE;
    };
    let how = HowArgs::plain();
    on_runtime(out, async |out| {
        let looked = async { Setup::new(&program, &how, &[]).await?.plan(&params).await };
        let plan = match looked.await {
            Ok(plan) => plan,
            Err(refusal) => return refusal.tell(out),
        };
        match args.format {
            Format::Json => out.json(&saved(&plan)),
            _ => {
                let look = Look::detect(&std::io::stdout(), out.color);
                out.data(text(&plan, &look));
            }
        }
        if let Some(path) = &args.output {
            let file = format!("{:#}\n", saved(&plan));
            if !reports::write(out, path, file.as_bytes()) {
                return exit::FAILED;
            }
        }
        if plan.fails() {
            exit::FAILED
        } else if args.detailed_exitcode && plan.changes() {
            exit::CHANGES
        } else {
            exit::DONE
        }
    })
}

fn saved(plan: &Plan) -> serde_json::Value {
    let mut value = json!(plan);
    value["pledge"] = json!(plan.pledge());
    value
}

/// A saved plan: what it promises. It is compared, and never run.
pub(super) struct Saved {
    /// The playbook's file.
    pub path: PathBuf,
    /// What it promises.
    pub pledge: Pledge,
}

/// The largest saved plan that is read, in bytes.
const LARGEST: u64 = 256 << 20;

/// Reads a saved plan.
pub(super) fn read(path: &Path) -> Result<Saved, String> {
    #[derive(Deserialize)]
    struct File {
        schema_version: u32,
        playbook: Playbook,
        pledge: Pledge,
        #[serde(default)]
        steps: Vec<Step>,
    }
    #[derive(Deserialize)]
    struct Step {
        path: String,
        preview: Option<Seen>,
    }
    #[derive(Deserialize)]
    struct Playbook {
        path: PathBuf,
    }
    let bytes = files::read_limited(path, LARGEST).map_err(|error| error.to_string())?;
    let wrong = |why: String| format!("{} is no saved plan: {why}", path.display());
    let mut file: File =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if file.schema_version != 1 {
        return Err(wrong(format!("it has version {}", file.schema_version)));
    }
    let seen = file.steps.into_iter();
    file.pledge.seen = seen
        .filter_map(|step| Some((step.path, step.preview?)))
        .collect();
    Ok(Saved {
        path: file.playbook.path,
        pledge: file.pledge,
    })
}

/// What is said of one step: a word, and more.
fn words(step: &Planned) -> (&'static str, String) {
    let described = &step.described;
    let summary = described.description.summary.clone();
    if let Some(error) = &step.error {
        return ("would FAIL", error.clone());
    }
    if described.is_empty() {
        return ("no change", summary);
    }
    match (&described.decision, &step.preview) {
        (Decision::Skip { reason }, _) => ("skipped", reason.clone()),
        (Decision::Fail { error }, _) => ("would FAIL", error.clone()),
        (Decision::MayRun { because }, _) => ("may run", format!("{summary}: {because}")),
        (Decision::Run, Some(Preview::NoChange)) => ("no change", summary),
        (Decision::Run, Some(Preview::Change(change))) => ("change", change.summary.clone()),
        (Decision::Run, Some(Preview::Unknown { because })) => {
            ("unknown", format!("{summary}: {because}"))
        }
        (Decision::Run, Some(Preview::Opaque)) => (
            "opaque",
            format!("{summary}: only its author knows what it does"),
        ),
        (Decision::Run, None) => match &step.looked {
            Some(looked) if looked.status.is_bad() => {
                let error = looked.error.clone().unwrap_or_default();
                let status = match (&looked.before, looked.allowed) {
                    (Some(before), _) => format!("{} now, before `{before}`", looked.status),
                    (None, true) => format!("{} (allowed)", looked.status),
                    (None, false) => looked.status.to_string(),
                };
                ("looked", format!("{status}: {error}"))
            }
            Some(looked) => {
                let found = looked.findings.iter().max_by_key(|finding| finding.level);
                let found = found.map(|found| format!("{}: {}", found.subject, found.message));
                ("looked", found.unwrap_or(summary))
            }
            None if described.section == Section::Finally => ("at the end", summary),
            None => ("would run", summary),
        },
    }
}

/// What to do about what went wrong.
fn help(step: &Planned) -> Option<&str> {
    let looked = step.looked.as_ref().filter(|looked| looked.status.is_bad());
    let found = looked.and_then(|looked| {
        let worst = looked.findings.iter().max_by_key(|finding| finding.level);
        looked.help.as_deref().or(worst?.help.as_deref())
    });
    step.help.as_deref().or(found)
}

/// What would be locked, and where.
fn locks(key: &str, connection: Option<&str>) -> String {
    let everywhere = connection.map(|name| format!(", on `{name}` too"));
    format!(
        "locks `{}`{}",
        clean::line(key),
        everywhere.unwrap_or_default()
    )
}

/// A plan as text, wrapped where a terminal ends.
struct Page<'a> {
    text: String,
    look: &'a Look,
    /// Where what is said of a step goes on.
    indent: usize,
}

impl Page<'_> {
    /// A line; what does not fit goes on below, at column `indent`.
    fn line(&mut self, head: &str, more: &str, indent: usize) {
        self.text.push_str(head);
        let more = Pieces::new().and(Ink::Plain, clean::line(more));
        more.write(&mut self.text, self.look, text_width(head), indent);
    }

    /// A line below a step.
    fn below(&mut self, mark: &str, more: &str) {
        let head = format!("{}{mark}", " ".repeat(self.indent));
        self.line(&head, more, self.indent + mark.len());
    }

    fn step(&mut self, step: &Planned) {
        let (word, more) = words(step);
        let sign = match (step.described.effect, step.changes()) {
            (EffectClass::Destroy, true) => "!",
            (_, true) => "~",
            _ => " ",
        };
        let path = step.described.path.to_string();
        let width = self.indent - 4;
        let head = format!("{sign} {path:width$}  {word:10}  ");
        self.line(&head, &more, self.indent + 12);
        if let Some(help) = help(step) {
            self.below("", &format!("help: {help}"));
        }
        if let Some(Preview::Change(change)) = &step.preview {
            for item in &change.items {
                self.below("| ", item);
            }
            for note in &change.notes {
                self.below("  ", note);
            }
            for line in change.diff.iter().flat_map(|diff| diff.lines()) {
                self.below("| ", line);
            }
        }
        match step.approval.filter(|_| step.changes()) {
            Some(ApprovalKind::Confirm) => self.below("", "asks for a confirmation"),
            Some(ApprovalKind::Approve) => self.below("", "asks for an approval"),
            None => {}
        }
        if let Some(lock) = &step.lock {
            let locks = locks(lock, step.lock_connection.as_deref());
            self.below("", &locks);
        }
    }
}

fn text(plan: &Plan, look: &Look) -> String {
    let width = plan
        .steps
        .iter()
        .map(|step| step.described.path.to_string().len())
        .max();
    let mut page = Page {
        text: format!(
            "Plan of {} on {}: looked, and touched nothing\n\n",
            plan.playbook.name, plan.host
        ),
        look,
        indent: width.unwrap_or(0).min(40) + 4,
    };
    if let Some(lock) = &plan.lock {
        let locks = locks(lock, plan.lock_connection.as_deref());
        page.line("  ", &locks, 2);
        page.text.push('\n');
    }
    let mut finally = false;
    for step in &plan.steps {
        let in_finally = step.described.section == Section::Finally;
        if in_finally && !std::mem::replace(&mut finally, true) {
            page.text.push_str("\nfinally:\n");
        }
        page.step(step);
    }
    page.text.push('\n');
    page.text.push_str(&totals(plan));
    page.text
}

/// How many steps there are of each kind, and how long they are expected to take.
fn totals(plan: &Plan) -> String {
    // A `foreach` step whose items are known stands for them.
    let counted = |step: &&Planned| {
        let id = &step.described.path.step;
        let is_item = |other: &Planned| {
            other.described.path.step == *id && other.described.path.item.is_some()
        };
        step.described.path.item.is_some() || !plan.steps.iter().any(is_item)
    };
    let counted: Vec<&Planned> = plan.steps.iter().filter(counted).collect();
    let count =
        |wanted: &dyn Fn(&Planned) -> bool| counted.iter().filter(|step| wanted(step)).count();
    let mut text = format!(
        "{} looked at, {} to change, {} to destroy, {} not known yet\n",
        plural(count(&|step| step.looked.is_some()), "step"),
        count(&|step| step.changes() && step.described.effect == EffectClass::Change),
        count(&|step| step.changes() && step.described.effect == EffectClass::Destroy),
        count(
            &|step| matches!(step.described.decision, Decision::MayRun { .. })
                || matches!(step.preview, Some(Preview::Unknown { .. }))
        ),
    );
    if let Some(estimate) = &plan.estimate {
        let Estimate {
            total_ms,
            runs,
            unknown,
            ..
        } = estimate;
        let took = amount::duration(*total_ms);
        let _ = write!(
            text,
            "about {took}, as the last {}",
            match runs {
                1 => "run".to_owned(),
                runs => format!("{runs} runs"),
            }
        );
        if !unknown.is_empty() {
            let steps: Vec<String> = unknown.iter().map(|id| format!("`{id}`")).collect();
            let _ = write!(
                text,
                "; and {}, of which nothing is known",
                steps.join(", ")
            );
        }
        text.push('\n');
    }
    text
}

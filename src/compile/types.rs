//! The types of what expressions can read: `params`, `vars`, `secrets`, `steps`, `run`, and in a
//! `foreach` step the item and `loop`.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::context::Context;
use crate::diag::Diagnostics;
use crate::event::{Level, Status};
use crate::expr::{Fields, Type, TypeScope};
use crate::model::{Step, Tree};

/// The types of the roots.
pub(super) struct Types {
    params: Type,
    vars: Type,
    secrets: Type,
    run: Type,
    steps: OnceCell<Type>,
}

/// Where the expressions of a step, of a variable or of a report look names up.
pub(super) struct StepScope<'a> {
    pub context: &'a Context<'a>,
    pub types: &'a Types,
    /// The `as:` name and the item's type, in a `foreach` step.
    pub item: Option<(String, Type)>,
    /// Whether `steps` and `vars` may be read.
    pub steps: bool,
}

impl Types {
    pub fn new(context: &Context<'_>) -> Self {
        let playbook = context.playbook;
        let params = playbook
            .params
            .iter()
            .map(|(name, param)| (name.as_str(), param.expr_type()));
        let params = Fields::new(params)
            .called("parameter")
            .owned_by("the playbook");
        let secrets = playbook
            .secrets
            .keys()
            .map(|name| (name.as_str(), Type::Secret));
        let secrets = Fields::new(secrets)
            .called("secret")
            .owned_by("the playbook");
        let run = Fields::new([
            ("id", Type::String),
            ("playbook", Type::String),
            ("status", Type::String),
            ("started_at", Type::String),
        ]);
        let mut types = Self {
            params: Type::object(params),
            vars: Type::object(Fields::new::<&str>([])),
            secrets: Type::object(secrets),
            run: Type::object(run.called("field").owned_by("`run`")),
            steps: OnceCell::new(),
        };
        types.vars = types.infer_vars(context);
        types
    }

    /// Variables are inferred in an order in which each comes after those that it reads; those in a
    /// circle, which are told elsewhere, have any type.
    fn infer_vars(&self, context: &Context<'_>) -> Type {
        let mut known: HashMap<&str, Type> = HashMap::new();
        let vars = &context.playbook.vars;
        let order = super::rules::vars::order(context.playbook).unwrap_or_default();
        for name in order {
            let Some((name, var)) = vars.get_key_value(name) else {
                continue;
            };
            let scope = VarScope {
                types: self,
                known: &known,
            };
            // What is wrong with it is told by the rule that checks variables.
            let ty = var.value.infer(&scope, &mut Diagnostics::new());
            known.insert(name, ty);
        }
        let fields = vars.keys().map(|name| {
            (
                name.as_str(),
                known.get(name.as_str()).cloned().unwrap_or(Type::Any),
            )
        });
        Type::object(
            Fields::new(fields)
                .called("variable")
                .owned_by("the playbook"),
        )
    }

    fn steps(&self, context: &Context<'_>) -> Type {
        let make = || {
            let fields = context
                .steps
                .iter()
                .map(|step| (step.id.value.as_str(), step_type(context, step)));
            Type::object(Fields::new(fields).called("step").owned_by("the playbook"))
        };
        self.steps.get_or_init(make).clone()
    }
}

/// Where the `expect` of a `verify` looks names up: `probe` is what its own type found.
pub(super) struct ProbeScope<'a> {
    pub inner: &'a dyn TypeScope,
    pub context: &'a Context<'a>,
    /// The name of the type that looks.
    pub ty: &'static str,
}

impl TypeScope for ProbeScope<'_> {
    fn root(&self, name: &str) -> Option<Type> {
        if name != "probe" {
            return self.inner.root(name);
        }
        let outputs = self.context.registry.outputs(self.ty).cloned();
        let fields = Fields::new([
            ("status", Type::one_of(["succeeded", "failed"])),
            ("outputs", outputs.unwrap_or(Type::Any)),
            ("findings", Type::list(finding_type())),
        ]);
        Some(Type::object(fields.owned_by("`probe`")))
    }

    fn roots(&self) -> Vec<String> {
        let mut roots = self.inner.roots();
        roots.push("probe".to_owned());
        roots
    }

    fn describe_missing(&self, path: &[&str]) -> Option<String> {
        self.inner.describe_missing(path)
    }
}

fn finding_type() -> Type {
    Type::object(Fields::new([
        (
            "level",
            Type::one_of(Level::ALL.iter().map(|level| level.as_str())),
        ),
        ("subject", Type::String),
        ("message", Type::String),
        ("help", Type::nullable(Type::String)),
    ]))
}

/// What `steps.<id>` is.
fn step_type(context: &Context<'_>, step: &Step) -> Type {
    let outputs = context
        .registry
        .outputs(step.ty.name())
        .cloned()
        .unwrap_or(Type::Any);
    let outputs = match &step.foreach {
        Some(_) => Type::list(Type::nullable(outputs)),
        None => outputs,
    };
    let over = Status::ALL
        .iter()
        .filter(|status| status.is_over())
        .map(|status| status.as_str());
    let fields = Fields::new([
        ("status", Type::one_of(over)),
        ("changed", Type::Bool),
        ("outputs", outputs),
        ("findings", Type::list(finding_type())),
        ("preview", Type::Any),
    ]);
    Type::object(fields.owned_by(format!("step `{}`", step.id.value)))
}

impl TypeScope for StepScope<'_> {
    fn root(&self, name: &str) -> Option<Type> {
        if let Some((item, ty)) = &self.item {
            if name == item {
                return Some(ty.clone());
            }
            if name == "loop" {
                return Some(Type::object(
                    Fields::new([("index", Type::Int), ("index0", Type::Int)]).owned_by("`loop`"),
                ));
            }
        }
        match name {
            "params" => Some(self.types.params.clone()),
            "vars" => Some(self.types.vars.clone()),
            "secrets" => Some(self.types.secrets.clone()),
            "run" => Some(self.types.run.clone()),
            "steps" if self.steps => Some(self.types.steps(self.context)),
            _ => None,
        }
    }

    fn roots(&self) -> Vec<String> {
        let mut roots: Vec<String> = ["params", "vars", "secrets", "run"]
            .iter()
            .map(|&name| name.to_owned())
            .collect();
        if self.steps {
            roots.push("steps".to_owned());
        }
        if let Some((item, _)) = &self.item {
            roots.push(item.clone());
            roots.push("loop".to_owned());
        }
        roots
    }

    fn describe_missing(&self, path: &[&str]) -> Option<String> {
        let [first, ..] = path else { return None };
        if *first == "steps" && path.len() == 1 {
            return Some("this is evaluated before any step has run".to_owned());
        }
        missing_root(first, self)
    }
}

/// What to do about a root that does not exist.
fn missing_root(name: &str, scope: &StepScope<'_>) -> Option<String> {
    let playbook = scope.context.playbook;
    match name {
        "env" | "environment" => Some(
            "an environment variable is declared as a parameter with `from_env:`, or as a secret"
                .to_owned(),
        ),
        _ if playbook.params.contains_key(name) => Some(format!("write `params.{name}`")),
        _ if playbook.vars.contains_key(name) => Some(format!("write `vars.{name}`")),
        _ if playbook.secrets.contains_key(name) => Some(format!("write `secrets.{name}`")),
        _ if scope.context.index.contains_key(name) => Some(format!("write `steps.{name}`")),
        _ => None,
    }
}

/// Where variables look names up: those that come before them in order.
struct VarScope<'a> {
    types: &'a Types,
    known: &'a HashMap<&'a str, Type>,
}

impl TypeScope for VarScope<'_> {
    fn root(&self, name: &str) -> Option<Type> {
        match name {
            "params" => Some(self.types.params.clone()),
            "secrets" => Some(self.types.secrets.clone()),
            "run" => Some(self.types.run.clone()),
            "vars" => {
                let known = self.known.iter().map(|(name, ty)| (*name, ty.clone()));
                Some(Type::object(Fields::new(known)))
            }
            _ => None,
        }
    }

    fn roots(&self) -> Vec<String> {
        ["params", "vars", "secrets", "run"]
            .iter()
            .map(|&name| name.to_owned())
            .collect()
    }
}

/// The type of a `foreach` step's items.
pub(super) fn item_type(list: &Tree, scope: &dyn TypeScope, diagnostics: &mut Diagnostics) -> Type {
    match list.infer(scope, diagnostics).without_null() {
        Type::List(item) => item.without_null().clone(),
        _ => Type::Any,
    }
}

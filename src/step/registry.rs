//! All step types, by name.

use std::sync::OnceLock;

use serde_json::Value;

use super::AnyStep;
use super::shape::Shape;
use crate::base::suggest;
use crate::expr::{Fields, Type};

/// A step type's public page, taken from the doc comment of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDoc {
    /// The first line.
    pub summary: String,
    /// Everything, as Markdown.
    pub text: String,
    /// The playbook in its `# Example`.
    pub example: Option<String>,
}

/// A step type, and what is read out of its types once it is asked for.
struct Registered {
    step: &'static dyn AnyStep,
    shape: OnceLock<Shape>,
    outputs: OnceLock<Type>,
}

/// All step types. Made once, from the list in `steps`.
pub struct Registry(Vec<Registered>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Registry {
    /// The registry of `steps`.
    pub fn new(steps: &[&'static dyn AnyStep]) -> Self {
        let mut all: Vec<Registered> = steps
            .iter()
            .map(|step| Registered {
                step: *step,
                shape: OnceLock::new(),
                outputs: OnceLock::new(),
            })
            .collect();
        all.sort_by_key(|registered| registered.step.name());
        Self(all)
    }

    fn find(&self, name: &str) -> Option<&Registered> {
        let at = self
            .0
            .binary_search_by_key(&name, |registered| registered.step.name())
            .ok()?;
        self.0.get(at)
    }

    /// The step type called `name`.
    pub fn get(&self, name: &str) -> Option<&'static dyn AnyStep> {
        self.find(name).map(|registered| registered.step)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|registered| registered.step.name())
    }

    /// All step types, by name.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn AnyStep> {
        self.0.iter().map(|registered| registered.step)
    }

    /// The name that `wrong` was meant to be.
    pub fn suggest(&self, wrong: &str) -> Option<&'static str> {
        suggest::nearest(wrong, self.names())
    }

    /// The shape of the configuration of `name`.
    pub fn shape(&self, name: &str) -> Option<&Shape> {
        let registered = self.find(name)?;
        let make = || Shape::from_schema(&registered.step.config_schema());
        Some(registered.shape.get_or_init(make))
    }

    /// The type of the outputs of `name`.
    pub fn outputs(&self, name: &str) -> Option<&Type> {
        let registered = self.find(name)?;
        let make = || match Type::from_json_schema(&registered.step.output_schema()) {
            Type::Object(fields) => {
                let fields = Fields::clone(&fields);
                Type::object(fields.called("output").owned_by(format!("`{name}`")))
            }
            other => other,
        };
        Some(registered.outputs.get_or_init(make))
    }

    /// The public page of `name`.
    pub fn doc(&self, name: &str) -> Option<StepDoc> {
        let schema = self.get(name)?.config_schema();
        Some(page(
            schema
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        ))
    }
}

fn page(text: &str) -> StepDoc {
    let first: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let summary = first.join(" ");
    let example = text.split_once("```yaml\n").and_then(|(_, rest)| {
        rest.split_once("\n```")
            .map(|(example, _)| format!("{example}\n"))
    });
    StepDoc {
        summary,
        text: text.to_owned(),
        example,
    }
}

//! The contract of a step type, and the registry.
//!
//! A step type is one file under `src/steps/` and one line in its list. The file holds
//! - a configuration type (`#[derive(Deserialize, JsonSchema)]`, `deny_unknown_fields`), whose doc
//!   comment is the type's public page: a first line, then `# Changes`, `# Example` with a playbook
//!   in a `yaml` block, and what else is worth saying;
//! - an output type (`#[derive(Serialize, JsonSchema)]`);
//! - a unit type that implements [`StepType`] and one face: [`Look`], [`Act`] or [`Generic`].
//!
//! From these come the parser, the static checker, the JSON Schema, the reference and the engine's
//! calls. Nothing else in the project names a step type.

mod any;
mod outcome;
pub mod partial;
mod registry;
pub mod shape;

use std::future::Future;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use any::{Acts, AnyStep, Generics, LocalFuture, Looks, Means, RawOutcome};
pub use outcome::{Change, Description, Outcome, Preview, StepError, StepErrorKind};
pub use partial::Partial;
pub use registry::{Registry, StepDoc};
pub use shape::Shape;

use crate::event::{EffectClass, RepeatClass};
use crate::host::{Effect, Observe, Processes};

/// What every step type states.
pub trait StepType: Send + Sync + 'static {
    /// `domain.verb`, such as `host.disk`.
    const NAME: &'static str;

    /// What it does to the world, unless [`StepType::classify`] says otherwise of a configuration.
    const EFFECT: EffectClass;

    /// What may be done after a crash in its middle.
    const REPEAT: RepeatClass;

    /// Whether it reaches nothing outside of its run, so that a test of a playbook runs it for real.
    const PURE: bool = false;

    /// What the author writes below the type.
    type Config: DeserializeOwned + JsonSchema + Send + Sync;

    /// What expressions read as `steps.<id>.outputs`.
    type Outputs: Serialize + JsonSchema;

    /// Whatever the types of the fields cannot say: fields that exclude each other, empty lists.
    /// Asked before the run where the configuration holds no expressions, else right before the
    /// step.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    fn check(config: &Self::Config) -> Result<(), String> {
        let _ = config;
        Ok(())
    }

    /// The effect of this very configuration, where it depends on it (SQL); what it depends on may not
    /// be known yet, and then counts as the worst that it can be.
    fn classify(config: &Partial) -> EffectClass {
        let _ = config;
        Self::EFFECT
    }

    /// Why somebody has to approve of this very configuration, where that is so: then a step without an
    /// `approval` of kind `approve` is an error.
    fn needs_approval(config: &Partial) -> Option<&'static str> {
        let _ = config;
        None
    }

    /// What it would do, said without looking anywhere: for a dry-run. Values that are not known
    /// yet print as such.
    fn describe(config: &Partial) -> Description;
}

/// A step type that only looks.
pub trait Look: StepType {
    /// Looks.
    ///
    /// A check returns `Ok` with findings, "could not look" being a finding of level `unknown`. An
    /// `Err` means that the step itself failed.
    fn look(
        config: Self::Config,
        host: &Observe,
    ) -> impl Future<Output = Result<Outcome<Self::Outputs>, StepError>>;
}

/// A step type that touches.
///
/// To find out what it would do it is handed an [`Observe`], and that is no [`Effect`]:
///
/// ```
/// # use runbook::host::{Effect, Observe};
/// fn preview(host: &Observe) { look(host) }
/// fn run(host: &Effect) { look(host.observe()); touch(host) }
/// fn look(_: &Observe) {}
/// fn touch(_: &Effect) {}
/// ```
///
/// ```compile_fail,E0308
/// # use runbook::host::{Effect, Observe};
/// fn preview(host: &Observe) { touch(host) }
/// fn touch(_: &Effect) {}
/// ```
///
/// Nor can it ask for one:
///
/// ```compile_fail,E0053
/// # use runbook::host::{Effect, Observe};
/// # use runbook::step::{Act, Outcome, Preview, StepError, StepType};
/// struct Greedy<T>(T);
/// # impl<T: StepType> StepType for Greedy<T> {
/// #     const NAME: &'static str = T::NAME;
/// #     const EFFECT: runbook::event::EffectClass = T::EFFECT;
/// #     const REPEAT: runbook::event::RepeatClass = T::REPEAT;
/// #     type Config = T::Config;
/// #     type Outputs = T::Outputs;
/// #     fn describe(config: &runbook::step::Partial) -> runbook::step::Description { T::describe(config) }
/// # }
/// impl<T: StepType> Act for Greedy<T> {
///     async fn preview(config: T::Config, host: &Effect) -> Result<Preview, StepError> {
///         Err(StepError::permanent("never"))
///     }
///     async fn run(config: T::Config, host: &Effect) -> Result<Outcome<T::Outputs>, StepError> {
///         Err(StepError::permanent("never"))
///     }
/// }
/// ```
///
/// And the value of an `Effect` cannot be made of an `Observe`, whose scope is lent, not given:
///
/// ```compile_fail,E0308
/// # use runbook::host::{Effect, Observe};
/// fn preview(host: &Observe) { Effect::new(host.scope()); }
/// ```
pub trait Act: StepType {
    /// What it would do, found out by looking: for a plan and for an approval.
    fn preview(
        config: Self::Config,
        host: &Observe,
    ) -> impl Future<Output = Result<Preview, StepError>>;

    /// Does it.
    fn run(
        config: Self::Config,
        host: &Effect,
    ) -> impl Future<Output = Result<Outcome<Self::Outputs>, StepError>>;

    /// Looks, where [`StepType::classify`] says of a configuration that it only looks.
    fn look(
        config: Self::Config,
        host: &Observe,
    ) -> impl Future<Output = Result<Outcome<Self::Outputs>, StepError>> {
        let _ = (config, host);
        let message = format!("{} was not given the means that it needs", Self::NAME);
        std::future::ready(Err(StepError::permanent(message)))
    }
}

/// A step type whose effect its author alone knows: it starts processes, and may be declared to
/// change nothing.
pub trait Generic: StepType {
    /// Does it.
    fn run(
        config: Self::Config,
        host: &Observe,
        processes: Processes<'_>,
    ) -> impl Future<Output = Result<Outcome<Self::Outputs>, StepError>>;
}

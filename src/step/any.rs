//! A step type without its types: what the engine calls.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use serde_json::Value;

use super::outcome::{Description, Outcome, Preview, StepError, StepErrorKind};
use super::partial::Partial;
use super::{Act, Generic, Look, StepType};
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::connect::inline_schema;
use crate::host::{Effect, Observe};

/// The means that a step's attempt is given.
#[derive(Debug)]
pub enum Means<'a> {
    /// It may look.
    Look(&'a Observe),
    /// It may touch.
    Act(&'a Effect),
}

/// An outcome whose outputs are JSON.
#[derive(Clone, Debug)]
pub struct RawOutcome {
    /// What expressions read as `steps.<id>.outputs`.
    pub outputs: Value,
    /// What it found.
    pub findings: Vec<Finding>,
    /// Whether it changed something.
    pub changed: bool,
}

/// A future of the engine's one thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A step type, as the registry holds it.
pub trait AnyStep: Send + Sync {
    /// `domain.verb`.
    fn name(&self) -> &'static str;
    /// What it does to the world, before a configuration is known.
    fn effect(&self) -> EffectClass;
    /// What may be done after a crash in its middle.
    fn repeat(&self) -> RepeatClass;
    /// Whether it reaches nothing outside of its run.
    fn is_pure(&self) -> bool;
    /// Whether its effect is its author's to declare.
    fn is_generic(&self) -> bool;
    /// The schema of its configuration, with everything inline; `description` is its public page.
    fn config_schema(&self) -> Value;
    /// The schema of its outputs, with everything inline.
    fn output_schema(&self) -> Value;
    /// Decodes and checks a configuration without holes.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    fn check(&self, config: &Value) -> Result<(), String>;
    /// What this very configuration does to the world.
    fn classify(&self, config: &Partial) -> EffectClass;
    /// Why somebody has to approve of this very configuration.
    fn needs_approval(&self, config: &Partial) -> Option<&'static str>;
    /// What it would do, said without looking.
    fn describe(&self, config: &Partial) -> Description;
    /// What it would do, found out by looking.
    fn preview<'a>(
        &self,
        config: Value,
        host: &'a Observe,
    ) -> LocalFuture<'a, Result<Preview, StepError>>;
    /// Looks, or does it.
    fn execute<'a>(
        &self,
        config: Value,
        means: Means<'a>,
    ) -> LocalFuture<'a, Result<RawOutcome, StepError>>;
}

/// The entry of a step type that only looks.
#[derive(Debug)]
pub struct Looks<T>(PhantomData<fn() -> T>);

/// The entry of a step type that touches.
#[derive(Debug)]
pub struct Acts<T>(PhantomData<fn() -> T>);

/// The entry of a step type whose effect its author alone knows.
#[derive(Debug)]
pub struct Generics<T>(PhantomData<fn() -> T>);

impl<T: Look> Looks<T> {
    /// The entry.
    pub const ENTRY: &'static dyn AnyStep = &Self(PhantomData);
}

impl<T: Act> Acts<T> {
    /// The entry.
    pub const ENTRY: &'static dyn AnyStep = &Self(PhantomData);
}

impl<T: Generic> Generics<T> {
    /// The entry.
    pub const ENTRY: &'static dyn AnyStep = &Self(PhantomData);
}

fn decode<T: StepType>(config: Value) -> Result<T::Config, StepError> {
    let config = serde_json::from_value(config).map_err(|e| refused::<T>(&e.to_string()))?;
    T::check(&config).map_err(|message| refused::<T>(&message))?;
    Ok(config)
}

fn refused<T: StepType>(message: &str) -> StepError {
    StepError::permanent(format!(
        "{} does not take its configuration: {message}",
        T::NAME
    ))
}

fn raw<T: StepType>(outcome: Outcome<T::Outputs>) -> Result<RawOutcome, StepError> {
    let outputs = serde_json::to_value(outcome.outputs)
        .map_err(|e| StepError::permanent(format!("could not keep the outputs: {e}")))?;
    Ok(RawOutcome {
        outputs,
        findings: outcome.findings,
        changed: outcome.changed,
    })
}

/// What the entries have in common.
macro_rules! typed {
    ($generic:literal) => {
        fn name(&self) -> &'static str {
            T::NAME
        }

        fn effect(&self) -> EffectClass {
            T::EFFECT
        }

        fn repeat(&self) -> RepeatClass {
            T::REPEAT
        }

        fn is_pure(&self) -> bool {
            T::PURE
        }

        fn is_generic(&self) -> bool {
            $generic
        }

        fn config_schema(&self) -> Value {
            inline_schema::<T::Config>()
        }

        fn output_schema(&self) -> Value {
            inline_schema::<T::Outputs>()
        }

        fn check(&self, config: &Value) -> Result<(), String> {
            let config = T::Config::deserialize(config).map_err(|error| error.to_string())?;
            T::check(&config)
        }

        fn classify(&self, config: &Partial) -> EffectClass {
            T::classify(config)
        }

        fn needs_approval(&self, config: &Partial) -> Option<&'static str> {
            T::needs_approval(config)
        }

        fn describe(&self, config: &Partial) -> Description {
            T::describe(config)
        }
    };
}

use serde::Deserialize as _;

impl<T: Look> AnyStep for Looks<T> {
    typed!(false);

    fn preview<'a>(&self, _: Value, _: &'a Observe) -> LocalFuture<'a, Result<Preview, StepError>> {
        Box::pin(std::future::ready(Ok(Preview::NoChange)))
    }

    fn execute<'a>(
        &self,
        config: Value,
        means: Means<'a>,
    ) -> LocalFuture<'a, Result<RawOutcome, StepError>> {
        Box::pin(async move {
            let host = match means {
                Means::Look(host) => host,
                Means::Act(host) => host.observe(),
            };
            raw::<T>(T::look(decode::<T>(config)?, host).await?)
        })
    }
}

impl<T: Act> AnyStep for Acts<T> {
    typed!(false);

    fn preview<'a>(
        &self,
        config: Value,
        host: &'a Observe,
    ) -> LocalFuture<'a, Result<Preview, StepError>> {
        Box::pin(async move { T::preview(decode::<T>(config)?, host).await })
    }

    fn execute<'a>(
        &self,
        config: Value,
        means: Means<'a>,
    ) -> LocalFuture<'a, Result<RawOutcome, StepError>> {
        Box::pin(async move {
            let config = decode::<T>(config)?;
            let host = match means {
                Means::Act(host) => host,
                Means::Look(host) => return raw::<T>(T::look(config, host).await?),
            };
            let outcome = T::run(config, host).await.map_err(|mut error| {
                // What may be done twice is simply done again.
                if error.kind == StepErrorKind::Unknown && T::REPEAT == RepeatClass::Idempotent {
                    error.kind = StepErrorKind::Transient;
                }
                error
            });
            raw::<T>(outcome?)
        })
    }
}

impl<T: Generic> AnyStep for Generics<T> {
    typed!(true);

    fn preview<'a>(&self, _: Value, _: &'a Observe) -> LocalFuture<'a, Result<Preview, StepError>> {
        Box::pin(std::future::ready(Ok(Preview::Opaque)))
    }

    fn execute<'a>(
        &self,
        config: Value,
        means: Means<'a>,
    ) -> LocalFuture<'a, Result<RawOutcome, StepError>> {
        Box::pin(async move {
            let (host, processes) = match means {
                Means::Look(host) => (host, host.processes().ok_or_else(no_means::<T>)?),
                Means::Act(host) => (host.observe(), host.processes()),
            };
            raw::<T>(T::run(decode::<T>(config)?, host, processes).await?)
        })
    }
}

fn no_means<T: StepType>() -> StepError {
    StepError::permanent(format!("{} was not given the means that it needs", T::NAME))
}

//! What is called: filters, tests and `range`.

use minijinja::State;
use minijinja::value::{Kwargs, ValueKind};

use super::select::settled;
use super::{Evaluated, Evaluator, Result, Unknown};
use crate::expr::error::{EvalErrorKind, Failure};
use crate::expr::library::{self, Filter, Passed, Takes, Test, filtered};
use crate::expr::operate::{in_range, operate};
use crate::expr::tree::{Arguments, Node};
use crate::expr::types::Type;
use crate::expr::value::{Value, describe};

/// The longest `range`.
const MAX_RANGE: u64 = 100_000;

impl Evaluator<'_> {
    pub(super) fn filter(
        &mut self,
        filter: &'static Filter,
        input: &Node,
        arguments: &Arguments,
        node: &Node,
    ) -> Result<Evaluated> {
        let value = match filter.takes {
            Takes::EvenUndefined => self.node(input)?,
            _ => self.defined(input)?,
        };
        let passed = self.arguments(arguments)?;
        let (value, passed) = match known(value, passed, arguments) {
            Ok(known) => known,
            Err(not) => {
                let passed = Passed::new(arguments, &not.passed);
                let ty = filtered(filter, &not.input, &passed);
                return Ok(Evaluated::Unknown(not.unknown.of(ty)));
            }
        };
        if !value.is_undefined() && !filter.takes.admits(&value) {
            let kind = if value.is_none() {
                EvalErrorKind::Null
            } else {
                EvalErrorKind::Type
            };
            let wanted = filter.takes.describe();
            let message = format!("`{}` takes {wanted}, not {}", filter.name, describe(&value));
            return Err(self.fail(Failure::new(kind, message), node));
        }
        let mut all = Vec::with_capacity(1 + passed.len());
        all.push(value);
        all.extend(passed);
        let state = self.state.get_or_insert_with(library::state);
        apply(state, filter, &all)
            .map(Evaluated::Known)
            .map_err(|failure| self.fail(failure, node))
    }

    pub(super) fn test(
        &mut self,
        test: &'static Test,
        input: &Node,
        arguments: &Arguments,
        node: &Node,
    ) -> Result<Evaluated> {
        let value = match test.of_presence {
            true => self.node(input)?,
            false => self.defined(input)?,
        };
        let passed = self.arguments(arguments)?;
        let (value, passed) = match known(value, passed, arguments) {
            Ok(known) => known,
            Err(not) => return Ok(Evaluated::Unknown(not.unknown.of(Type::Bool))),
        };
        if let (Some(op), [other]) = (test.operator, passed.as_slice()) {
            return operate(op, &value, other)
                .map(Evaluated::Known)
                .map_err(|failure| self.fail(failure, node));
        }
        let mut all = Vec::with_capacity(1 + passed.len());
        all.push(value);
        all.extend(passed);
        let state = self.state.get_or_insert_with(library::state);
        state
            .perform_test(test.name, &all)
            .map(|answer| Evaluated::Known(Value::from(answer)))
            .map_err(|error| self.fail(named(test.name, error.into()), node))
    }

    /// The values of arguments, in the order of [`Arguments::iter`].
    fn arguments(&mut self, arguments: &Arguments) -> Result<Vec<Evaluated>> {
        arguments.iter().map(|node| self.defined(node)).collect()
    }

    pub(super) fn range(&mut self, arguments: &[Node], node: &Node) -> Result<Evaluated> {
        let mut numbers = Vec::with_capacity(3);
        for argument in arguments {
            match self.whole_number(argument, "`range`")? {
                Ok(number) => numbers.push(number),
                Err(unknown) => {
                    return Ok(Evaluated::Unknown(unknown.of(Type::list(Type::Int))));
                }
            }
        }
        let (start, stop, step) = match numbers.as_slice() {
            [start, stop, step] => (*start, *stop, *step),
            [start, stop] => (*start, *stop, 1),
            [stop] => (0, *stop, 1),
            _ => (0, 0, 1),
        };
        if step == 0 {
            let failure = Failure::new(EvalErrorKind::Value, "a range with a step of 0");
            return Err(self.fail(failure, node));
        }
        let ahead = (start < stop) == (step > 0) && start != stop;
        let length = if ahead {
            start.abs_diff(stop).div_ceil(step.unsigned_abs())
        } else {
            0
        };
        if length > MAX_RANGE {
            let message = format!("the range has more than {MAX_RANGE} numbers");
            let failure = Failure::new(EvalErrorKind::TooCostly, message);
            return Err(self.fail(failure, node));
        }
        let mut values = Vec::with_capacity(length as usize);
        let mut at = start;
        for _ in 0..length {
            values.push(Value::from(at));
            at = at.saturating_add(step);
        }
        Ok(Evaluated::Known(Value::from(values)))
    }
}

/// The types of what was passed, of which something is not known.
struct NotKnown {
    input: Type,
    passed: Vec<Type>,
    unknown: Unknown,
}

/// What is called with `value` and `passed`, as minijinja takes it: names come last, as one value.
fn known(
    value: Evaluated,
    passed: Vec<Evaluated>,
    arguments: &Arguments,
) -> Result<(Value, Vec<Value>), Box<NotKnown>> {
    let mut all = std::iter::once(&value).chain(&passed);
    let unknown = all.find_map(|one| match one {
        Evaluated::Known(_) => None,
        Evaluated::Unknown(unknown) => Some(unknown.clone()),
    });
    if let Some(unknown) = unknown {
        return Err(Box::new(NotKnown {
            input: value.ty(),
            passed: passed.iter().map(Evaluated::ty).collect(),
            unknown,
        }));
    }
    let value = value.into_known().unwrap_or_default();
    let mut values: Vec<Value> = passed
        .into_iter()
        .filter_map(Evaluated::into_known)
        .collect();
    if !arguments.named.is_empty() {
        let named = values.split_off(arguments.positional.len().min(values.len()));
        let names = arguments.named.iter().map(|(name, _)| name.to_string());
        values.push(Kwargs::from_iter(names.zip(named)).into());
    }
    Ok((value, values))
}

fn apply(
    state: &mut State<'static, 'static>,
    filter: &Filter,
    all: &[Value],
) -> Result<Value, Failure> {
    let call = |state: &mut State<'static, 'static>| -> Result<Value, minijinja::Error> {
        let value = state.apply_filter(filter.name, all)?;
        if value.kind() == ValueKind::Iterable {
            // So that what is counted is also what is made.
            state.consume_fuel(value.len().unwrap_or(0) as u64)?;
        }
        let value = settled(value)?;
        // 64 bytes of text cost one, as in minijinja's own evaluation.
        let made = value.as_str().map_or(0, str::len) as u64 / 64;
        state.consume_fuel(1 + made)?;
        Ok(value)
    };
    let value = call(state).map_err(|error| named(filter.name, error.into()))?;
    in_range(value)
}

/// A failure of what is called `name`.
fn named(name: &str, failure: Failure) -> Failure {
    let name = format!("`{name}`");
    if failure.kind == EvalErrorKind::TooCostly || failure.message.starts_with(&name) {
        return failure;
    }
    Failure {
        message: format!("{name}: {}", failure.message),
        ..failure
    }
}

//! The means to call filters and tests, made once: minijinja's environment, without what the tables
//! leave out, and with our own where its would guess.

use std::sync::OnceLock;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value, filters};

use super::TESTS;
use super::conversions::add_conversions;
use crate::expr::error::Failure;
use crate::expr::operate::{compare, operate};

/// What one expression may cost. To sort 100,000 items costs 17 each, a text 1 for 64 bytes; all of
/// it is spent in some 70 ms.
const FUEL: u64 = 4_000_000;

/// A state to call filters and tests with, full of fuel.
pub(in crate::expr) fn state() -> State<'static, 'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(environment).empty_state()
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    // `map('safe')` and `select('filter')` find their filter here, by a name that may come from
    // anywhere: what the language does not have must not be here.
    for filter in ["safe", "escape", "e", "pprint"] {
        environment.remove_filter(filter);
    }
    for test in ["safe", "escaped", "filter", "test", "sameas"] {
        environment.remove_test(test);
    }
    for function in ["range", "dict", "debug", "namespace"] {
        environment.remove_global(function);
    }
    add_conversions(&mut environment);
    add_orders(&mut environment);
    environment
}

pub(super) fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Filters and tests that compare. minijinja's give an order to values of different types.
fn add_orders(environment: &mut Environment<'static>) {
    environment.add_filter("sort", |state: &State, value: Value, kwargs: Kwargs| {
        check_order("sort", &value, kwargs.peek("attribute")?)?;
        filters::sort(state, value, kwargs)
    });
    environment.add_filter("min", |state: &State, value: Value, kwargs: Kwargs| {
        check_order("min", &value, kwargs.peek("attribute")?)?;
        filters::min(state, value, kwargs)
    });
    environment.add_filter("max", |state: &State, value: Value, kwargs: Kwargs| {
        check_order("max", &value, kwargs.peek("attribute")?)?;
        filters::max(state, value, kwargs)
    });
    for test in TESTS {
        let Some(op) = test.operator else { continue };
        environment.add_test(
            test.name,
            move |state: &State, left: &Value, right: &Value| {
                // What `select` does for each item, the operators themselves do not count.
                state.consume_fuel(1 + right.len().unwrap_or(0) as u64 / 4)?;
                operate(op, left, right)
                    .map(|answer| answer.is_true())
                    .map_err(to_error)
            },
        );
    }
}

/// The field of `item` that a dotted path names; undefined where there is none.
pub(super) fn field(item: &Value, path: &str) -> Result<Value, Error> {
    let mut value = item.clone();
    for name in path.split('.') {
        value = match (value.kind(), name.parse::<usize>()) {
            (ValueKind::Seq, Ok(index)) => value.get_item_by_index(index)?,
            (ValueKind::Map | ValueKind::Seq, _) => value.get_attr(name)?,
            _ => return Ok(Value::UNDEFINED),
        };
    }
    Ok(value)
}

fn to_error(failure: Failure) -> Error {
    let help = failure.help.map(|help| format!("; {help}"));
    failed(failure.message + &help.unwrap_or_default())
}

/// Fails unless each two neighbours have an order.
fn check_order(filter: &str, value: &Value, attribute: Option<&str>) -> Result<(), Error> {
    let paths: Vec<Option<&str>> = match attribute {
        Some(names) => names.split(',').map(|name| Some(name.trim())).collect(),
        None => vec![None],
    };
    for path in paths {
        let mut before: Option<Value> = None;
        for item in value.try_iter()?.checked() {
            let item = match path {
                Some(path) => field(&item?, path)?,
                None => item?,
            };
            // Alone it has to be something that has an order, too.
            let previous = before.as_ref().unwrap_or(&item);
            compare(filter, previous, &item).map_err(to_error)?;
            before = Some(item);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use minijinja::{ErrorKind, Value};

    use super::state;
    use crate::expr::library::{FILTERS, TESTS};

    #[test]
    fn the_tables_name_what_is_there() {
        let mut state = state();
        for filter in FILTERS {
            let answer = state.apply_filter(filter.name, &[Value::from("a")]);
            let kind = answer.err().map(|error| error.kind());
            assert_ne!(kind, Some(ErrorKind::UnknownFilter), "{}", filter.name);
        }
        for test in TESTS {
            let answer = state.perform_test(test.name, &[Value::from("a")]);
            let kind = answer.err().map(|error| error.kind());
            assert_ne!(kind, Some(ErrorKind::UnknownTest), "{}", test.name);
        }
        let sorted = |names: Vec<&str>| names.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(sorted(FILTERS.iter().map(|filter| filter.name).collect()));
        assert!(sorted(TESTS.iter().map(|test| test.name).collect()));
        for gone in ["safe", "escape", "e", "pprint"] {
            assert!(
                state.apply_filter(gone, &[Value::from("a")]).is_err(),
                "{gone}"
            );
        }
    }
}

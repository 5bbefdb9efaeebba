//! Expressions: parse, types, check, evaluate; the typed unknown; secrets.
//!
//! An expression is minijinja's language, read by its parser: the grammar, the values and the
//! filters are its own. Checking and evaluating walk a small tree of ours, because a runbook wants
//! more than a template does: types before the run, places for every finding, an order only between
//! what has one, whole numbers of 64 bits, and values that are not known yet.

mod error;
mod eval;
mod expression;
mod fields;
mod infer;
mod library;
mod lower;
mod operate;
mod place;
mod reference;
mod scan;
mod schema;
mod syntax;
mod template;
mod tree;
mod types;
mod typing;
mod value;

pub use error::{EvalError, EvalErrorKind};
pub use eval::{Evaluated, RootSource, Unknown};
pub use expression::Expr;
pub use fields::Fields;
pub use infer::TypeScope;
pub use reference::Reference;
pub use scan::contains_expression;
pub use template::{Part, Template};
pub use types::Type;
pub use value::{Value, from_json, to_json, to_text};

#[cfg(test)]
mod tests;

/// The names of the filters and tests of the language.
pub fn library_names() -> (Vec<&'static str>, Vec<&'static str>) {
    let filters = library::FILTERS.iter().map(|filter| filter.name);
    let tests = library::TESTS.iter().map(|test| test.name);
    (filters.collect(), tests.collect())
}

//! What a statement does to the world, as its text tells.
//!
//! Two readings have to agree that it only looks: the parser's, which knows what kind of statement it
//! is, and one of the bare words, which finds every call of a function wherever it stands. (A call is a
//! name before a parenthesis: the parser may put it in a place that nobody thought of, the words may
//! not.) What the parser cannot read is `destroy`.
//!
//! This guards against mistakes, and is the first of two guards: whatever is said to look runs in a READ
//! ONLY transaction. Neither stops a function that somebody has put into the database under the name of
//! one of PostgreSQL's own, or an operator of such a function: a login that may only read does.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AlterTableOperation, Query, Select, SetExpr, Statement as Ast, UtilityOption, Visit as _,
    Visitor,
};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::calls::Words;
use super::harmless;
use super::script::{DIALECT, Origin, Placed, Shape, Statement};
use crate::event::EffectClass;

/// How deep a statement may be nested.
const DEEPEST: usize = 100;

/// The most words that are read of one statement: a chain of operators is as deep as it is long.
const MOST_WORDS: usize = 4_000;

/// One statement, whose text and tokens these are.
pub(super) fn statement(text: &str, tokens: &[Placed]) -> Statement {
    let word = first_word(tokens);
    let tame = std::cell::Cell::new(false);
    let of = |effect, why: Option<String>, shape| Statement {
        tame: tame.get(),
        text: text.to_owned(),
        effect,
        why,
        word: word.clone(),
        parameters: parameters(tokens),
        fields: Words::of(tokens).fields(),
        shape,
        origin: Origin::default(),
    };
    if tokens.len() > MOST_WORDS {
        let why = format!(
            "it is too long to be read: {} words of {MOST_WORDS}",
            tokens.len()
        );
        return of(EffectClass::Destroy, Some(why), Shape::Other);
    }
    let parsed = Parser::new(&DIALECT)
        .with_recursion_limit(DEEPEST)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_statements());
    let parsed = match parsed.as_deref() {
        Ok([one]) => one,
        Ok(_) => {
            let why = "it is not one statement".to_owned();
            return of(EffectClass::Destroy, Some(why), Shape::Other);
        }
        Err(error) => {
            // The words of the one transaction statement that the parser does not know.
            let shape = match (word.as_str(), second_word(tokens).as_deref()) {
                ("PREPARE", Some("TRANSACTION")) | ("ABORT" | "END" | "BEGIN" | "START", _) => {
                    Shape::Control
                }
                _ => Shape::Other,
            };
            let why = format!("it cannot be read: {}", error.to_string().to_lowercase());
            return of(EffectClass::Destroy, Some(why), shape);
        }
    };
    let shape = match parsed {
        Ast::Query(query) if is_plain(query) => Shape::Query,
        Ast::StartTransaction { .. }
        | Ast::Commit { .. }
        | Ast::Rollback { .. }
        | Ast::Savepoint { .. }
        | Ast::ReleaseSavepoint { .. } => Shape::Control,
        _ => Shape::Other,
    };
    let mut judge = Judge {
        effect: EffectClass::Read,
        why: None,
    };
    // What is only planned is not done, except for the functions that planning calls.
    if !is_only_planned(parsed) {
        let _ = parsed.visit(&mut judge);
    }
    let acting = acting_call(parsed, &Words::of(tokens));
    tame.set(acting.is_none());
    if let Some(name) = acting {
        judge.is(
            EffectClass::Destroy,
            format!("it calls `{name}`, which may do anything"),
        );
    }
    of(judge.effect, judge.why, shape)
}

/// Why a condition cannot be taken: it is none, or may do more than look.
pub(super) fn condition(text: &str, tokens: &[Placed]) -> Option<String> {
    if tokens.len() > MOST_WORDS {
        let words = tokens.len();
        return Some(format!(
            "it is too long to be read: {words} words of {MOST_WORDS}"
        ));
    }
    let parser = Parser::new(&DIALECT).with_recursion_limit(DEEPEST);
    let mut parser = match parser.try_with_sql(text) {
        Ok(parser) => parser,
        Err(error) => return Some(error.to_string().to_lowercase()),
    };
    let parsed = parser.parse_expr();
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return Some(format!(
                "it is no condition: {}",
                error.to_string().to_lowercase()
            ));
        }
    };
    if parser.peek_token().token != Token::EOF {
        let rest = parser.peek_token();
        return Some(format!("it is no condition: `{rest}` follows its end"));
    }
    let mut judge = Judge {
        effect: EffectClass::Read,
        why: None,
    };
    let _ = parsed.visit(&mut judge);
    if let Some(why) = judge.why {
        return Some(format!("it may do more than look: {why}"));
    }
    let name = Words::of(tokens).acting_call()?;
    Some(format!(
        "it calls `{name}`, which is not one of the functions that are known to only look"
    ))
}

/// The highest number of a parameter.
pub(super) fn parameters(tokens: &[Placed]) -> u16 {
    let numbers = tokens.iter().filter_map(|placed| match &placed.token {
        Token::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
        _ => None,
    });
    numbers.max().unwrap_or(0)
}

/// The first function that it calls now and that is not known to only look. Where it defines something, a
/// list of columns looks like a call as well, and what is called later is not called now.
fn acting_call(statement: &Ast, words: &Words<'_>) -> Option<String> {
    match statement {
        Ast::CreateType { .. } | Ast::Analyze(_) | Ast::Comment { .. } | Ast::Grant(_) => None,
        Ast::CreateTable(create) if create.query.is_some() => words.acting_call_in_query(),
        Ast::CreateTable(_) => words.acting_call_in_table(),
        Ast::CreateView(create) if create.materialized => words.acting_call_in_query(),
        Ast::CreateView(_) => None,
        Ast::CreateIndex(_) => words.acting_call_in_index(),
        Ast::AlterTable(_) => words.acting_call_in_columns(),
        _ => words.acting_call(),
    }
}

/// Whether it is a query as PostgreSQL has it, without INSERT and the like at its top.
fn is_plain(query: &Query) -> bool {
    !matches!(
        *query.body,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    )
}

fn first_word(tokens: &[Placed]) -> String {
    words(tokens).next().unwrap_or_default()
}

fn second_word(tokens: &[Placed]) -> Option<String> {
    words(tokens).nth(1)
}

fn words(tokens: &[Placed]) -> impl Iterator<Item = String> {
    tokens.iter().filter_map(|placed| match &placed.token {
        Token::Word(word) => Some(word.value.to_ascii_uppercase()),
        _ => None,
    })
}

/// The worst that is found on the way through a statement.
struct Judge {
    effect: EffectClass,
    why: Option<String>,
}

impl Judge {
    fn is(&mut self, effect: EffectClass, why: impl Into<String>) {
        if effect > self.effect {
            self.effect = effect;
            self.why = Some(why.into());
        }
    }
}

impl Visitor for Judge {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Ast) -> ControlFlow<()> {
        let (effect, why) = does(statement);
        self.is(effect, why);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if !query.locks.is_empty() {
            self.is(EffectClass::Change, "it locks rows");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.into.is_some() {
            self.is(EffectClass::Change, "it makes a table (INTO)");
        }
        ControlFlow::Continue(())
    }
}

/// Whether it is EXPLAIN without ANALYZE.
fn is_only_planned(statement: &Ast) -> bool {
    let Ast::Explain {
        analyze, options, ..
    } = statement
    else {
        return false;
    };
    let runs = |option: &UtilityOption| {
        let name = &option.name.value;
        name.eq_ignore_ascii_case("analyze") || name.eq_ignore_ascii_case("serialize")
    };
    !*analyze && !options.iter().flatten().any(runs)
}

/// What a kind of statement does. What is not listed is `destroy`.
fn does(statement: &Ast) -> (EffectClass, String) {
    use EffectClass::{Change, Destroy, Read};
    let is = |effect, why: &str| (effect, why.to_owned());
    match statement {
        Ast::Query(_) | Ast::ShowVariable { .. } => is(Read, ""),
        // Of what it runs, the visitor finds everything.
        Ast::Explain { .. } => is(Read, ""),
        Ast::Insert(insert) if insert.on.is_none() && !insert.overwrite && !insert.replace_into => {
            is(Change, "it adds rows")
        }
        Ast::Insert(_) => is(Destroy, "it may overwrite rows (ON CONFLICT)"),
        Ast::Update(_) => is(Destroy, "it overwrites rows"),
        Ast::Delete(_) => is(Destroy, "it deletes rows"),
        Ast::Merge(_) => is(Destroy, "it overwrites or deletes rows"),
        Ast::Analyze(_) => is(Change, "it writes statistics"),
        Ast::Comment { .. } | Ast::Grant(_) => is(Change, "it changes the catalog"),
        Ast::CreateTable(create) if !create.or_replace => is(Change, "it makes a table"),
        Ast::CreateIndex(_) => is(Change, "it makes an index"),
        Ast::CreateView(create) if !create.or_replace => is(Change, "it makes a view"),
        Ast::CreateSchema { or_replace, .. } if !*or_replace => is(Change, "it makes a schema"),
        Ast::CreateSequence { .. } => is(Change, "it makes a sequence"),
        Ast::CreateExtension(_) => is(Change, "it makes an extension"),
        Ast::CreateType { .. } => is(Change, "it makes a type"),
        Ast::RefreshMaterializedView(_) => is(Change, "it fills a materialized view again"),
        Ast::AlterTable(alter)
            if { alter.operations.iter() }
                .all(|op| matches!(op, AlterTableOperation::AddColumn { .. })) =>
        {
            is(Change, "it adds columns")
        }
        Ast::StartTransaction { .. }
        | Ast::Commit { .. }
        | Ast::Rollback { .. }
        | Ast::Savepoint { .. }
        | Ast::ReleaseSavepoint { .. } => is(Change, "it begins or ends a transaction"),
        Ast::Set(set) if harmless::is_harmless(set) => {
            is(Change, "it sets something in its session")
        }
        Ast::Set(_) => is(Destroy, "it may switch off what guards the data"),
        _ => is(Destroy, "nothing less is known of such a statement"),
    }
}

#[cfg(test)]
mod tests;

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
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::functions::{LOOKING, WORDS};
use super::script::{DIALECT, Placed, Shape, Statement};
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
        shape,
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
    // What is only explained is not done.
    if !matches!(parsed, Ast::Explain { .. }) || does(parsed).0 != EffectClass::Read {
        let _ = parsed.visit(&mut judge);
    }
    let acting = if calls_now(parsed) {
        acting_call(tokens)
    } else {
        None
    };
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
    let name = acting_call(tokens)?;
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

/// Whether what looks like a call in it is one: in a definition, it is a list of columns as well.
fn calls_now(statement: &Ast) -> bool {
    !matches!(
        statement,
        Ast::CreateTable(_)
            | Ast::CreateIndex(_)
            | Ast::CreateView(_)
            | Ast::CreateType { .. }
            | Ast::AlterTable(_)
            | Ast::Analyze(_)
            | Ast::Comment { .. }
            | Ast::Grant(_)
    )
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
        Token::Word(word) => Some(word.value.to_uppercase()),
        _ => None,
    })
}

/// The first function that is called and not known to only look.
fn acting_call(tokens: &[Placed]) -> Option<String> {
    let told: Vec<&Token> = { tokens.iter().map(|placed| &placed.token) }
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    let get = |at: Option<usize>| at.and_then(|at| told.get(at)).copied();
    for (at, token) in told.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        if get(at.checked_add(1)) != Some(&Token::LParen) {
            continue;
        }
        let before = get(at.checked_sub(1));
        let (name, schema) = match (before, get(at.checked_sub(2))) {
            (Some(Token::Period), Some(Token::Word(schema))) => (word, Some(schema)),
            (Some(Token::Period), _) => return Some(format!("….{}", word.value)),
            _ => (word, None),
        };
        let plain = match name.quote_style {
            None => name.value.to_lowercase(),
            Some(_) => name.value.clone(),
        };
        let is_known = LOOKING.binary_search(&plain.as_str()).is_ok();
        let passes = match schema {
            Some(schema) => {
                let of_system = match schema.quote_style {
                    None => schema.value.eq_ignore_ascii_case("pg_catalog"),
                    Some(_) => schema.value == "pg_catalog",
                };
                let is_table = matches!(get(at.checked_sub(3)), Some(Token::Word(word)) if word.keyword == Keyword::INTO);
                is_table || of_system && is_known && get(at.checked_sub(3)) != Some(&Token::Period)
            }
            None if name.quote_style.is_none() && WORDS.binary_search(&plain.as_str()).is_ok() => {
                true
            }
            // Its options.
            None if at == 0 && plain == "explain" => true,
            None => is_known || names_columns(&told, at),
        };
        if !passes {
            return Some(match schema {
                Some(schema) => format!("{}.{}", schema.value, name.value),
                None => name.value.clone(),
            });
        }
    }
    None
}

/// Whether what stands at `at` gives a name with a list of columns: `AS t (a, b)`, `WITH t (a) AS (`.
/// No call of a function can stand there.
fn names_columns(told: &[&Token], at: usize) -> bool {
    let is = |at: Option<usize>, keyword| match at.and_then(|at| told.get(at)) {
        Some(Token::Word(word)) => word.quote_style.is_none() && word.keyword == keyword,
        _ => false,
    };
    let before = at.checked_sub(1);
    if is(before, Keyword::AS) || is(before, Keyword::INTO) {
        return true;
    }
    // The list of columns, and what follows it.
    let mut depth = 0_usize;
    for (after, token) in told.iter().enumerate().skip(at + 1) {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return is(Some(after + 1), Keyword::AS) && begins_query(told, after + 2);
                }
            }
            // Names and commas, and nothing that would be looked up.
            Token::Word(_) | Token::Comma => {}
            _ => return false,
        }
    }
    false
}

/// Whether a query in parentheses begins at `at`, maybe after MATERIALIZED. A list of columns and types may
/// stand there as well, after a call: `FROM dblink(sql) AS (a int)`, `AS materialized (a int)`; none begins
/// with one of these words, which PostgreSQL reserves.
fn begins_query(told: &[&Token], at: usize) -> bool {
    let word = |at: usize| match told.get(at) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    };
    let mut at = at;
    while matches!(word(at), Some(Keyword::NOT | Keyword::MATERIALIZED)) {
        at += 1;
    }
    if told.get(at) != Some(&&Token::LParen) {
        return false;
    }
    match word(at + 1) {
        Some(Keyword::SELECT | Keyword::WITH | Keyword::TABLE) => true,
        // A column may be called so, and no type begins with a parenthesis.
        Some(Keyword::VALUES) => told.get(at + 2) == Some(&&Token::LParen),
        _ => told.get(at + 1) == Some(&&Token::LParen),
    }
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

/// What a kind of statement does. What is not listed is `destroy`.
fn does(statement: &Ast) -> (EffectClass, String) {
    use EffectClass::{Change, Destroy, Read};
    let is = |effect, why: &str| (effect, why.to_owned());
    match statement {
        Ast::Query(_) | Ast::ShowVariable { .. } => is(Read, ""),
        Ast::Explain {
            analyze,
            statement,
            options,
            ..
        } => {
            let runs = |option: &UtilityOption| {
                option.name.value.eq_ignore_ascii_case("analyze")
                    || option.name.value.eq_ignore_ascii_case("serialize")
            };
            if *analyze || options.iter().flatten().any(runs) {
                return does(statement);
            }
            is(Read, "")
        }
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
        Ast::Set(_) => is(Change, "it sets something in its session"),
        _ => is(Destroy, "nothing less is known of such a statement"),
    }
}

#[cfg(test)]
mod tests;

//! The calls of functions in a text, as its words tell: a name before a parenthesis, wherever it stands.
//!
//! What may stand there besides is known from PostgreSQL's grammar (`gram.y`, and the categories of its
//! `kwlist.h`): a word that can be no function, or one that could be, in a place where no call can stand.

use sqlparser::tokenizer::{Token, Word};

use super::functions::{LOOKING, WORDS};
use super::script::Placed;

/// The words of a text, without what is between them.
pub(super) struct Words<'t>(Vec<&'t Token>);

impl<'t> Words<'t> {
    pub fn of(tokens: &'t [Placed]) -> Self {
        let all = tokens.iter().map(|placed| &placed.token);
        Self(Vec::from_iter(
            all.filter(|token| !matches!(token, Token::Whitespace(_))),
        ))
    }

    fn get(&self, at: Option<usize>) -> Option<&'t Token> {
        at.and_then(|at| self.0.get(at)).copied()
    }

    /// What stands `n` words before `at`.
    fn before(&self, at: usize, n: usize) -> Option<&'t Token> {
        self.get(at.checked_sub(n))
    }

    fn opens(&self, at: usize) -> bool {
        self.get(Some(at)) == Some(&Token::LParen)
    }

    /// Where the parenthesis is closed that is opened at `at`.
    fn closing(&self, at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (place, token) in self.0.iter().enumerate().skip(at) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return Some(place);
            }
        }
        None
    }

    /// Where the parenthesis is opened that is closed at `at`.
    fn opening(&self, at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (place, token) in self.0.iter().enumerate().take(at + 1).rev() {
            match token {
                Token::RParen => depth += 1,
                Token::LParen => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return Some(place);
            }
        }
        None
    }

    /// In how many parentheses `at` is.
    fn depth(&self, at: usize) -> usize {
        self.0.iter().take(at).fold(0, |depth, token| match token {
            Token::LParen => depth + 1,
            Token::RParen => depth.saturating_sub(1),
            _ => depth,
        })
    }

    /// The first function that is called and not known to only look.
    pub fn acting_call(&self) -> Option<String> {
        self.acting_call_in(0, self.0.len())
    }

    /// The same of what stands from `from` to before `to`.
    fn acting_call_in(&self, from: usize, to: usize) -> Option<String> {
        (from..to).find_map(|at| match self.get(Some(at)) {
            Some(Token::Word(word)) if self.opens(at + 1) => self.acting_call_at(at, word),
            _ => None,
        })
    }

    fn acting_call_at(&self, at: usize, name: &Word) -> Option<String> {
        let plain = folded(name);
        let is_known = LOOKING.binary_search(&plain.as_str()).is_ok();
        if self.before(at, 1) == Some(&Token::Period) {
            let Some(Token::Word(schema)) = self.before(at, 2) else {
                return Some(format!("….{}", name.value));
            };
            let of_system = match schema.quote_style {
                None => schema.value.eq_ignore_ascii_case("pg_catalog"),
                Some(_) => schema.value == "pg_catalog",
            };
            let is_table = is(self.before(at, 3), &["into"]);
            let is_whole = self.before(at, 3) != Some(&Token::Period);
            let passes = is_table || of_system && is_known && is_whole;
            return (!passes).then(|| format!("{}.{}", schema.value, name.value));
        }
        let is_word = || {
            WORDS.binary_search(&plain.as_str()).is_ok()
                || self.is_in_its_place(at, &plain)
                // Its options.
                || at == 0 && plain == "explain"
        };
        let passes = is_known || name.quote_style.is_none() && is_word() || self.names_columns(at);
        (!passes).then(|| name.value.clone())
    }

    /// The names that stand after a dot, and before no parenthesis, except for those of tables where that is
    /// certain.
    pub fn fields(&self) -> Vec<String> {
        let mut fields: Vec<String> = { self.0.iter().enumerate() }
            .filter_map(|(at, token)| match token {
                Token::Word(word) if self.before(at, 1) == Some(&Token::Period) => {
                    (!self.opens(at + 1) && !self.is_table(at)).then(|| folded(word))
                }
                _ => None,
            })
            .collect();
        fields.sort();
        fields.dedup();
        fields
    }

    /// Whether what stands at `at`, after a dot, is a table in a schema: after JOIN, INTO and UPDATE, and after
    /// the FROM of a query, which is no `extract(… FROM a.b)` and no `IS DISTINCT FROM a.b`.
    fn is_table(&self, at: usize) -> bool {
        let Some(schema) = at.checked_sub(2) else {
            return false;
        };
        if is(self.before(schema, 1), &["join", "into", "update"]) {
            return true;
        }
        let from = is(self.before(schema, 1), &["from"]);
        if !from || is(self.before(schema, 2), &["distinct"]) {
            return false;
        }
        let mut at = schema;
        while let Some(place) = at.checked_sub(1) {
            at = place;
            match self.get(Some(place)) {
                Some(Token::RParen) => match self.opening(place) {
                    Some(opening) => at = opening,
                    None => return false,
                },
                Some(Token::LParen) => return false,
                begin if is(begin, &["select", "delete"]) => return true,
                _ => {}
            }
        }
        false
    }

    /// Whether the word at `at`, which may be the name of a function, stands where it is part of the
    /// language.
    fn is_in_its_place(&self, at: usize, plain: &str) -> bool {
        let before = |n| self.before(at, n);
        match plain {
            "by" => is(before(1), &["group", "order", "partition"]),
            "sets" => is(before(1), &["grouping"]),
            "rollup" | "cube" => self.groups(at),
            "over" => self.ends_parentheses(at),
            // No expression begins with WHERE.
            "filter" => self.ends_parentheses(at) && is(self.get(Some(at + 2)), &["where"]),
            "materialized" => is(before(1), &["not"]) && is(before(2), &["as"]),
            "varying" => is(before(1), &["bit", "char", "character", "nchar"]),
            "like" | "ilike" => match is(before(1), &["not"]) {
                true => at > 0 && self.ends_operand(at - 1),
                false => self.ends_operand(at),
            },
            "join" => {
                let kinds = [
                    "inner", "left", "right", "full", "outer", "cross", "natural",
                ];
                let query = is(self.get(Some(at + 2)), &["select", "with", "table"]);
                query || is(before(1), &kinds) || self.ends_operand(at)
            }
            _ => false,
        }
    }

    /// Whether parentheses end before `at` after which no expression begins.
    fn ends_parentheses(&self, at: usize) -> bool {
        if self.before(at, 1) != Some(&Token::RParen) {
            return false;
        }
        // `DISTINCT ON (a) f(b)`, `a OPERATOR(pg_catalog.+) f(b)`.
        let opening = self.opening(at - 1);
        opening.is_some_and(|opening| !is(self.before(opening, 1), &["on", "operator"]))
    }

    /// Whether an operand ends before `at`: then a name cannot be the one of a function.
    fn ends_operand(&self, at: usize) -> bool {
        match self.before(at, 1) {
            Some(Token::RParen) => self.ends_parentheses(at),
            Some(
                Token::RBracket
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::EscapedStringLiteral(_)
                | Token::DollarQuotedString(_)
                | Token::Placeholder(_),
            ) => true,
            Some(Token::Word(word)) => {
                let begins = ["where", "and", "or", "when", "having"];
                let goes_on = ["not", "case", "array", "row", "interval"];
                word.quote_style.is_some()
                    || word.keyword == sqlparser::keywords::Keyword::NoKeyword
                    || self.before(at, 2) == Some(&Token::Period)
                    || is(self.before(at, 2), &begins) && !is(self.before(at, 1), &goes_on)
            }
            _ => false,
        }
    }

    /// Whether what stands at `at` is an item of GROUP BY, or of GROUPING SETS there, and no part of one.
    fn groups(&self, at: usize) -> bool {
        let begins = match self.before(at, 1) {
            Some(Token::Comma | Token::LParen) => true,
            before => is(before, &["by", "all", "distinct"]),
        };
        if !begins {
            return false;
        }
        let mut at = at;
        // Back to where the list begins, over whatever is in parentheses.
        while let Some(place) = at.checked_sub(1) {
            at = place;
            match self.get(Some(place)) {
                Some(Token::RParen) => match self.opening(place) {
                    Some(opening) => at = opening,
                    None => return false,
                },
                Some(Token::LParen) => {
                    let sets = is(self.before(place, 1), &["sets"])
                        && is(self.before(place, 2), &["grouping"]);
                    return sets && place > 2 && self.groups(place - 2);
                }
                by if is(by, &["by"]) => return is(self.before(place, 1), &["group"]),
                // An item is part of no array.
                Some(Token::LBracket | Token::RBracket) => return false,
                // Clauses before and after it.
                other if is(other, CLAUSES) => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether what stands at `at` gives a name with a list of columns: `AS t (a, b)`, `WITH t (a) AS (`.
    /// No call of a function can stand there.
    fn names_columns(&self, at: usize) -> bool {
        if is(self.before(at, 1), &["as", "into"]) {
            return true;
        }
        let Some(end) = self.closing(at + 1) else {
            return false;
        };
        // Names and commas, and nothing that would be looked up.
        let names = { self.0.iter().take(end).skip(at + 2) }
            .all(|token| matches!(token, Token::Word(_) | Token::Comma));
        names && is(self.get(Some(end + 1)), &["as"]) && self.begins_query(end + 2)
    }

    /// Whether a query in parentheses begins at `at`, maybe after MATERIALIZED. A list of columns and types
    /// may stand there as well, after a call: `FROM dblink(sql) AS (a int)`, `AS materialized (a int)`; none
    /// begins with one of these words, which PostgreSQL reserves.
    fn begins_query(&self, at: usize) -> bool {
        let mut at = at;
        while is(self.get(Some(at)), &["not", "materialized"]) {
            at += 1;
        }
        let first = self.get(Some(at + 1));
        // A column may be called VALUES, and no type begins with a parenthesis.
        let begins = is(first, &["select", "with", "table"])
            || is(first, &["values"]) && self.opens(at + 2)
            || first == Some(&Token::LParen);
        self.opens(at) && begins
    }

    /// The first acting call in the query of `CREATE … AS query`, which is everything after the first AS that
    /// is in no parentheses: PostgreSQL reserves that word.
    pub fn acting_call_in_query(&self) -> Option<String> {
        let mut depth = 0_usize;
        let query = self.0.iter().position(|token| {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && is(Some(token), &["as"])
        });
        self.acting_call_in(query.map_or(0, |at| at + 1), self.0.len())
    }

    /// The first acting call in CREATE INDEX: its columns, and what follows them.
    pub fn acting_call_in_index(&self) -> Option<String> {
        let columns = self.0.iter().position(|token| **token == Token::LParen)?;
        let end = self.closing(columns).unwrap_or(self.0.len());
        let include = is(self.get(Some(end + 1)), &["include"]);
        let rest = if include { end + 2 } else { end };
        self.acting_call_in(columns, end)
            .or_else(|| self.acting_call_in(rest, self.0.len()))
    }

    /// The first acting call in what CREATE TABLE evaluates at once: the bounds of a partition, and what is
    /// planned to see whether it may change: the keys of a partition, generated columns, exclusions.
    /// Defaults and checks wait for rows.
    pub fn acting_call_in_table(&self) -> Option<String> {
        (0..self.0.len()).find_map(|at| {
            let before = |n| self.before(at, n);
            let is_evaluated = is(before(1), &["from", "to", "in", "exclude"])
                || is(before(1), &["as"]) && is(before(2), &["always"])
                || is(before(2), &["using"]) && is(before(3), &["exclude"])
                || is(before(2), &["by"]) && is(before(3), &["partition"]);
            if !(self.opens(at) && is_evaluated) {
                return None;
            }
            let end = self.closing(at).unwrap_or(self.0.len());
            self.acting_call_in(at, end)
        })
    }

    /// The first acting call in ALTER TABLE … ADD COLUMN. A table that is referred to has a list of columns,
    /// and a type has modifiers.
    pub fn acting_call_in_columns(&self) -> Option<String> {
        // A column may be called `add`, and stands in a check, in parentheses.
        let is_type = |at: usize| {
            let named = matches!(self.before(at, 1), Some(Token::Word(_)));
            let added = named && is(self.before(at, 2), &["add", "column", "exists"]);
            added && self.depth(at) == 0
        };
        let refers = |at: usize| {
            let name = match self.before(at, 1) {
                Some(Token::Period) => at.checked_sub(2),
                _ => Some(at),
            };
            name.is_some_and(|name| is(self.before(name, 1), &["references"]))
        };
        (0..self.0.len()).find_map(|at| match self.get(Some(at)) {
            Some(Token::Word(word)) if self.opens(at + 1) && !refers(at) && !is_type(at) => {
                self.acting_call_at(at, word)
            }
            _ => None,
        })
    }
}

/// A name as the server knows it: unquoted, it is folded, in ASCII alone where the database's encoding has
/// several bytes.
fn folded(name: &Word) -> String {
    match name.quote_style {
        None => name.value.to_ascii_lowercase(),
        Some(_) => name.value.clone(),
    }
}

/// Words that begin a clause of a query, or end one; PostgreSQL reserves them.
const CLAUSES: &[&str] = &[
    "select",
    "from",
    "where",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "intersect",
    "except",
    "on",
    "using",
    "returning",
    "values",
    "with",
];

/// Whether it is one of these words, unquoted.
fn is(token: Option<&Token>, words: &[&str]) -> bool {
    match token {
        Some(Token::Word(word)) if word.quote_style.is_none() => {
            words.iter().any(|it| word.value.eq_ignore_ascii_case(it))
        }
        _ => false,
    }
}

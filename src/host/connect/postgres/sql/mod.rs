//! SQL as text: what authors write is taken apart and classed here, and what we ask ourselves is put
//! together here.
//!
//! - [`Script`] is what an author wrote, statement by statement, each with the class of its effect.
//! - [`Predicate`] is a condition that an author wrote, which only looks.
//! - [`Sql`] is a statement of ours: text that is known when we compile, with names that are quoted, and
//!   with parts of an author's that were classed.

mod calls;
mod classify;
mod functions;
mod harmless;
mod script;

use std::borrow::Cow;

use script::{Origin, line_column};

pub use script::{BadSql, Predicate, Script, Statement};

/// A statement that we ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sql {
    text: Cow<'static, str>,
    authors: Option<Authors>,
}

/// The part of a statement that an author wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Authors {
    /// Where it begins, in bytes, and where it ends.
    from: usize,
    to: usize,
    /// Where it stands in what the author wrote; of a condition nothing more is known.
    origin: Option<Origin>,
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self {
            text: Cow::Borrowed(text),
            authors: None,
        }
    }
}

impl Sql {
    /// Begins with `text`.
    pub fn new(text: &'static str) -> Self {
        text.into()
    }

    /// Goes on with `text`.
    pub fn then(mut self, text: &'static str) -> Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Goes on with a name, quoted.
    pub fn name(mut self, name: &str) -> Self {
        self.text.to_mut().push_str(&quoted(name));
        self
    }

    /// Goes on with a name in a schema, both quoted.
    pub fn qualified(self, schema: &str, name: &str) -> Self {
        self.name(schema).then(".").name(name)
    }

    /// Goes on with a list of names, each quoted, with commas between them.
    pub fn names<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        for (at, name) in names.into_iter().enumerate() {
            if at > 0 {
                self = self.then(", ");
            }
            self = self.name(name);
        }
        self
    }

    /// Goes on with a whole number.
    pub fn number(mut self, number: i64) -> Self {
        self.text.to_mut().push_str(&number.to_string());
        self
    }

    /// Goes on with a condition that an author wrote, in parentheses.
    pub fn predicate(self, predicate: &Predicate) -> Self {
        // A comment at its end must not take our own text with it.
        self.then("(").authors(predicate.text(), None).then("\n)")
    }

    /// Goes on with a statement that an author wrote and that only looks; `None` where it may do more.
    pub fn reading(self, statement: &Statement) -> Option<Self> {
        statement
            .only_looks()
            .then(|| self.authors(statement.text(), Some(statement.origin)))
    }

    /// What the server's planner says of a statement that an author wrote, as JSON; `None` where it does
    /// not plan it, or where planning may do more than look.
    pub fn explaining(statement: &Statement) -> Option<Self> {
        statement.can_be_explained().then(|| {
            Self::new("EXPLAIN (FORMAT JSON) ").authors(statement.text(), Some(statement.origin))
        })
    }

    /// A statement that an author wrote, whatever it does.
    pub fn acting(statement: &Statement) -> Self {
        Self::new("").authors(statement.text(), Some(statement.origin))
    }

    fn authors(mut self, text: &str, origin: Option<Origin>) -> Self {
        let from = self.text.len();
        self.text.to_mut().push_str(text);
        let to = self.text.len();
        self.authors = Some(Authors { from, to, origin });
        self
    }

    /// Goes on with another statement of ours.
    pub fn sql(mut self, other: &Self) -> Self {
        let shift = self.text.len();
        self.text.to_mut().push_str(&other.text);
        let theirs = other.authors.map(|authors| Authors {
            from: authors.from + shift,
            to: authors.to + shift,
            ..authors
        });
        self.authors = self.authors.or(theirs);
        self
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether an author wrote a part of it, whose names are looked up as in a session of theirs.
    pub(super) fn is_authors(&self) -> bool {
        self.authors.is_some()
    }

    /// Where in what an author wrote the character number `at` of the text is, from 1: "line 3, column 7 of
    /// `sql`, in statement 2".
    pub(super) fn place(&self, at: u32) -> Option<String> {
        let Authors { from, to, origin } = self.authors?;
        let at = usize::try_from(at).ok()?.checked_sub(1)?;
        // What is missing at the end is missed behind the last character.
        let byte = self.text.char_indices().nth(at).map(|(byte, _)| byte)?;
        let before = self.text.get(from..byte).filter(|_| byte <= to)?;
        let (mut line, mut column) = line_column(before);
        let Some(origin) = origin else {
            return Some(format!("line {line}, column {column} of `where`"));
        };
        if line == 1 {
            column += origin.column.saturating_sub(1);
        }
        line += origin.line.saturating_sub(1);
        let place = format!("line {line}, column {column} of `sql`");
        match origin.number {
            0 => Some(place),
            number => Some(format!("{place}, in statement {number}")),
        }
    }
}

/// `name` as SQL writes it, whatever is in it: PostgreSQL's manual, "Identifiers and Key Words".
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as SQL writes it, where nothing can be bound: a string constant with escapes, which means
/// the same whatever `standard_conforming_strings` says.
pub fn literal(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

/// A statement that gives settings their values, until the end of the transaction where `local`. With `SET`,
/// each value would be a statement of its own to `pg_stat_statements`, which forgets others in its place.
pub fn settings(local: bool, values: &[(&str, &str)]) -> String {
    let set = |(name, value): &(&str, &str)| {
        let (name, value) = (literal(name), literal(value));
        format!("pg_catalog.set_config({name}, {value}, {local})")
    };
    format!(
        "SELECT {}",
        Vec::from_iter(values.iter().map(set)).join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::{Predicate, Script, Sql, literal, quoted, settings};

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(quoted("UserData"), "\"UserData\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's \\n"), "E'it''s \\\\n'");
        assert_eq!(
            settings(true, &[("jit", "off"), ("a", "b")]),
            "SELECT pg_catalog.set_config(E'jit', E'off', true), pg_catalog.set_config(E'a', E'b', true)"
        );
        let sql = Sql::new("SELECT ").names(["a", "b c"]).then(" FROM ");
        let sql = sql.qualified("S", "t.u").then(" LIMIT ").number(3);
        assert_eq!(
            sql.text(),
            "SELECT \"a\", \"b c\" FROM \"S\".\"t.u\" LIMIT 3"
        );
        assert!(!sql.is_authors());
    }

    #[test]
    fn what_authors_wrote_is_classed_first() {
        let predicate = Predicate::parse("a < $1 -- old").unwrap();
        let sql = Sql::new("SELECT count(*) FROM t WHERE ").predicate(&predicate);
        assert_eq!(sql.text(), "SELECT count(*) FROM t WHERE (a < $1 -- old\n)");
        assert!(sql.is_authors());
        assert_eq!(sql.place(30), None);
        assert_eq!(sql.place(31).unwrap(), "line 1, column 1 of `where`");
        let script = Script::parse("SELECT 1; DELETE FROM t").unwrap();
        let reads: Vec<bool> = { script.statements().iter() }
            .map(|statement| Sql::new("").reading(statement).is_some())
            .collect();
        assert_eq!(reads, [true, false]);
    }

    #[test]
    fn places_are_those_in_the_authors_text() {
        let place = |script: &str, number: usize, at: u32| {
            let script = Script::parse(script).unwrap();
            let sql = Sql::new("/* ours */ ").sql(&Sql::acting(&script.statements()[number]));
            sql.place(11 + at)
        };
        let script = "SELECT 1; SELECT\n  2;\n\n  DELETE FROM t\nWHERE x";
        let said = |number, at| place(script, number, at).unwrap();
        assert_eq!(said(0, 8), "line 1, column 8 of `sql`, in statement 1");
        assert_eq!(said(1, 1), "line 1, column 11 of `sql`, in statement 2");
        assert_eq!(said(1, 10), "line 2, column 3 of `sql`, in statement 2");
        assert_eq!(said(2, 1), "line 4, column 3 of `sql`, in statement 3");
        assert_eq!(said(2, 21), "line 5, column 7 of `sql`, in statement 3");
        let only = place("\nSELECT x;", 0, 8).unwrap();
        assert_eq!(only, "line 2, column 8 of `sql`");
    }
}

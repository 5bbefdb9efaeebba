//! SQL that an author wrote, as the types that take it check, describe and read it.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio_postgres::Row;

use crate::host::connect::postgres::sql::{Script, Statement};
use crate::step::{Description, Partial};

/// The one statement of a text.
pub(super) struct Single(pub Statement);

impl Single {
    /// Reads `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let script = Script::parse(text).map_err(|error| format!("`sql`: {error}"))?;
        match script.statements() {
            [only] => Ok(Self(only.clone())),
            more => Err(format!(
                "`sql` is one statement here, and these are {}: use a step each",
                more.len()
            )),
        }
    }

    /// Whether it only looks.
    pub fn only_looks(&self) -> Result<(), String> {
        if self.0.only_looks() {
            return Ok(());
        }
        let why = self.0.why().unwrap_or("it is no query");
        Err(format!(
            "`sql` may do more than look: {why}; what changes something belongs into \
             `postgres.execute`"
        ))
    }

    /// Whether it takes this many values.
    pub fn takes(&self, values: usize) -> Result<(), String> {
        binds(&[&self.0], values)
    }
}

/// Whether these statements together take this many values.
pub(super) fn binds(statements: &[&Statement], values: usize) -> Result<(), String> {
    let most = statements.iter().map(|s| s.parameters()).max().unwrap_or(0);
    let wanted = usize::from(most);
    if wanted > values {
        return Err(format!(
            "`sql` has a `${wanted}`, and `bind` has {values} values: give one for each"
        ));
    }
    if wanted < values {
        return Err(format!(
            "`bind` binds {values} values, and `sql` takes {wanted}: `$1`, `$2`, … stand for them"
        ));
    }
    Ok(())
}

/// `summary: SELECT …`, with the whole text where it has several lines.
pub(super) fn described(summary: String, config: &Partial) -> Description {
    let sql = config.text("sql").unwrap_or_default();
    let lines: Vec<&str> = sql.trim().lines().collect();
    match lines.as_slice() {
        [only] => Description::line(format!("{summary}: {only}")),
        _ => Description {
            summary: format!("{summary}: {} lines of SQL", lines.len()),
            details: lines.into_iter().map(str::to_owned).collect(),
        },
    }
}

/// A row by the names of its columns, of which no two may be the same: one would be lost.
#[derive(Debug)]
pub(super) struct Record(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;

        impl<'de> Visitor<'de> for Columns {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut columns: A) -> Result<Record, A::Error> {
                let mut row = Map::new();
                while let Some((name, value)) = columns.next_entry::<String, Value>()? {
                    if row.contains_key(&name) {
                        let said = format!(
                            "two columns are called `{name}`: give one of them another name"
                        );
                        return Err(A::Error::custom(said));
                    }
                    row.insert(name, value);
                }
                Ok(Record(row))
            }
        }

        deserializer.deserialize_map(Columns)
    }
}

/// A row whose columns are text.
pub(super) fn row(row: &Row) -> Map<String, Value> {
    let cell = |(at, column): (usize, &tokio_postgres::Column)| {
        let text: Option<String> = row.try_get(at).ok().flatten();
        let value = match text {
            Some(text) => Value::String(text),
            // EXPLAIN's other formats.
            None => row
                .try_get::<_, Option<Value>>(at)
                .ok()
                .flatten()
                .unwrap_or(Value::Null),
        };
        (column.name().to_owned(), value)
    };
    row.columns().iter().enumerate().map(cell).collect()
}

/// The longest statement that is put out, in characters.
const LONGEST: usize = 300;

/// A statement on one line, no longer than is read.
pub(super) fn one_line(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST).collect()
}

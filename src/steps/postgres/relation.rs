//! Tables that an author names, resolved in the catalog: names are never taken apart here.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::types::Type;

use super::asking::Asking;
use crate::host::connect::postgres::sql::{Sql, quoted};
use crate::host::connect::postgres::{Bound, PgEffect, PgObserve, PgTransaction};
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};

/// Whoever answers questions: a session that looks, one that touches, a transaction.
pub(super) trait Answers {
    /// The rows of a query that only looks, read as JSON.
    async fn records<T: DeserializeOwned>(
        &self,
        sql: Sql,
        bound: &[Bound<'_>],
    ) -> Result<Vec<T>, ReachError>;
}

/// A session, and how long its answers may take.
pub(super) struct Within<'a, S>(pub &'a S, pub Allowance);

impl Answers for Within<'_, PgObserve<'_>> {
    async fn records<T: DeserializeOwned>(
        &self,
        sql: Sql,
        bound: &[Bound<'_>],
    ) -> Result<Vec<T>, ReachError> {
        self.0.records(sql, bound, self.1).await
    }
}

impl Answers for Within<'_, PgEffect<'_>> {
    async fn records<T: DeserializeOwned>(
        &self,
        sql: Sql,
        bound: &[Bound<'_>],
    ) -> Result<Vec<T>, ReachError> {
        self.0.records(sql, bound, self.1).await
    }
}

impl Answers for Within<'_, PgTransaction<'_, '_>> {
    async fn records<T: DeserializeOwned>(
        &self,
        sql: Sql,
        bound: &[Bound<'_>],
    ) -> Result<Vec<T>, ReachError> {
        self.0.records(sql, bound, self.1).await
    }
}

impl Answers for Asking<'_> {
    async fn records<T: DeserializeOwned>(
        &self,
        sql: Sql,
        bound: &[Bound<'_>],
    ) -> Result<Vec<T>, ReachError> {
        Asking::records(self, sql, bound).await
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Relation {
    /// Its number in `pg_class`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Both as SQL writes them, quoted where needed: for people.
    pub shown: String,
    /// `pg_class.relkind`: `r` table, `p` partitioned table, `m` materialized view, `v` view, …
    pub kind: char,
    /// Its owner.
    pub owner: String,
}

/// A look has no schemas but PostgreSQL's own in its path; names of an author's are meant in the path
/// that the login has. The text of the whole query is looked up before that path is set.
const RESOLVE: &str = "WITH path AS MATERIALIZED (\
       SELECT pg_catalog.set_config('search_path', reset_val, true) AS path \
       FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'), \
     named AS MATERIALIZED (\
       SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid FROM path) \
     SELECT c.oid::pg_catalog.int8 AS oid, n.nspname AS schema, c.relname AS name, \
       pg_catalog.format('%I.%I', n.nspname, c.relname) AS shown, c.relkind AS kind, \
       pg_catalog.pg_get_userbyid(c.relowner) AS owner \
     FROM named \
     JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) named.oid \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace";

/// How many bytes of a name the server keeps (`NAMEDATALEN`); in some encodings that is more text than here.
const MOST_BYTES: usize = 63;

/// The first part of a name that the server would cut, as `to_regclass()` does without a word.
const CUT: &str = "SELECT part, pg_catalog.octet_length(part) AS bytes \
     FROM pg_catalog.unnest(pg_catalog.parse_ident($1)) AS part \
     WHERE pg_catalog.octet_length(part) OPERATOR(pg_catalog.>) \
       pg_catalog.current_setting('max_identifier_length')::pg_catalog.int4 LIMIT 1";

/// Refuses names of which the server would only look at the beginning: another table can be called so.
async fn refuse_cut(answers: &impl Answers, name: &str) -> Result<(), ReachError> {
    #[derive(Deserialize)]
    struct Cut {
        part: String,
        bytes: usize,
    }
    if name.len() <= MOST_BYTES {
        return Ok(());
    }
    let bound = [(&name as _, Type::TEXT)];
    let cut: Vec<Cut> = answers.records(Sql::new(CUT), &bound).await?;
    let Some(Cut { part, bytes }) = cut.into_iter().next() else {
        return Ok(());
    };
    let action = format!("find the table `{name}`");
    let cause = format!(
        "`{part}` has {bytes} bytes, and no name has more than {MOST_BYTES}: PostgreSQL would cut it, and \
         might find another one"
    );
    let help = "write the name as it is in the catalog";
    Err(ReachError::new(Obstacle::Rejected, action, cause).with_help(help))
}

impl Relation {
    /// What `name` stands for, written as in SQL: `table` or `schema.table`, quoted where needed.
    pub async fn resolve(answers: &impl Answers, name: &str) -> Result<Self, ReachError> {
        refuse_cut(answers, name).await?;
        let found: Result<Vec<Self>, _> = answers
            .records(Sql::new(RESOLVE), &[(&name, Type::TEXT)])
            .await;
        let found = match found {
            // Up to PostgreSQL 15 a name that SQL cannot read is an error, and says no name.
            Err(error) if error.cause.contains("(SQLSTATE 42602)") => {
                let cause = "that is no name, as SQL writes them";
                return Err(missing(name, cause));
            }
            found => found?,
        };
        let found = found.into_iter().next();
        found.ok_or_else(|| missing(name, "there is no such table"))
    }
}

/// There is no table of this name, because of `cause`.
fn missing(name: &str, cause: &str) -> ReachError {
    let help = match in_quotes(name) {
        Some(quoted) => format!(
            "write it as SQL does; where it has capitals, spaces or the like, put it in double quotes: \
             `{quoted}`"
        ),
        None => "write it as SQL does: `schema.table`".to_owned(),
    };
    ReachError::new(
        Obstacle::Rejected,
        format!("find the table `{name}`"),
        cause,
    )
    .with_help(help)
}

/// How `name` may be meant: only for people to read. None where it is written so already, or where quotes
/// change nothing.
fn in_quotes(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
    if name.contains('"') || name.chars().all(plain) {
        return None;
    }
    let parts: Vec<String> = name.splitn(2, '.').map(quoted).collect();
    Some(parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::in_quotes;

    #[test]
    fn names_are_shown_in_quotes_where_that_helps() {
        let shown = |name| in_quotes(name).unwrap_or_default();
        assert_eq!(shown("Order Items"), "\"Order Items\"");
        assert_eq!(shown("shop.Orders"), "\"shop\".\"Orders\"");
        assert_eq!(shown("shop.orders"), "");
        assert_eq!(shown("\"Order Items\""), "");
    }
}

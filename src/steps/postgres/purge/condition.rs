//! A condition that reads the table that it is about: what matches would be another thing after each batch.

use serde::Deserialize;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::subject::Subject;
use crate::host::connect::postgres::sql::{Predicate, Sql};
use crate::host::connect::postgres::{Bound, PgEffect, PgObserve};
use crate::host::reach::ReachError;
use crate::step::StepError;
use crate::steps::postgres::relation::{Answers, Relation, Within};

/// Whoever can say how the server would do a query.
pub(super) trait Explains: Answers {
    /// The topmost node of the server's plan: EXPLAIN, format JSON. Nothing is run.
    async fn explain(&self, sql: Sql, bound: &[Bound<'_>]) -> Result<Value, ReachError>;
}

impl Explains for Within<'_, PgObserve<'_>> {
    async fn explain(&self, sql: Sql, bound: &[Bound<'_>]) -> Result<Value, ReachError> {
        Ok(topmost(&self.0.rows(asked(&sql), bound, self.1).await?))
    }
}

impl Explains for Within<'_, PgEffect<'_>> {
    async fn explain(&self, sql: Sql, bound: &[Bound<'_>]) -> Result<Value, ReachError> {
        Ok(topmost(&self.0.rows(asked(&sql), bound, self.1).await?))
    }
}

fn asked(sql: &Sql) -> Sql {
    Sql::new("EXPLAIN (VERBOSE, FORMAT JSON) ").sql(sql)
}

fn topmost(rows: &[Row]) -> Value {
    let plan: Option<Value> = rows.first().and_then(|row| row.try_get(0).ok());
    let top = plan.and_then(|mut plan| Some(plan.get_mut(0)?.get_mut("Plan")?.take()));
    top.unwrap_or_default()
}

/// All tables whose rows are the rows of one, or are parts of those of one of its parents.
const FAMILY: &str = "WITH RECURSIVE family AS (\
       SELECT $1::oid AS oid \
       UNION SELECT more.oid FROM family CROSS JOIN LATERAL (\
         SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = family.oid \
         UNION ALL SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = family.oid) AS more) \
     SELECT n.nspname AS schema, c.relname AS name FROM family JOIN pg_class c USING (oid) \
       JOIN pg_namespace n ON n.oid = c.relnamespace";

#[derive(PartialEq, Eq, Deserialize)]
struct Table {
    schema: String,
    name: String,
}

/// Refuses a condition that reads the table that it is about, through views too.
pub(super) async fn refuse_circular(
    answers: &impl Explains,
    subject: &Subject,
    predicate: &Predicate,
    bound: &[Bound<'_>],
) -> Result<(), StepError> {
    if !predicate.asks() {
        return Ok(());
    }
    let Relation {
        schema, name, oid, ..
    } = &subject.table;
    // The condition over a row of nowhere: whatever is read is read by the condition. `OFFSET 0` keeps the
    // server from seeing that the row is null, and leaving out what depends on it.
    let row = Sql::new("SELECT FROM (SELECT (it).* FROM (SELECT NULL::");
    let row = row
        .qualified(schema, name)
        .then(" AS it OFFSET 0) AS one OFFSET 0) AS ");
    let sql = row.name(name).then(" WHERE ").predicate(predicate);
    let plan = answers.explain(sql, bound).await?;
    let mut read = Vec::new();
    tables(&plan, &mut read);
    let oid = i64::from(*oid);
    let by_oid: [Bound<'_>; 1] = [(&oid, Type::INT8)];
    let family: Vec<Table> = answers.records(FAMILY.into(), &by_oid).await?;
    let Some(own) = read.iter().find(|table| family.contains(table)) else {
        return Ok(());
    };
    let message = format!(
        "could not purge {}: its condition reads {}.{}, and what matches would be another thing after each batch",
        subject.table.shown, own.schema, own.name
    );
    let help = "list what is to go in a table of its own first (`postgres.execute`), and ask for that: \
                `id IN (SELECT id FROM to_go)`";
    Err(StepError::permanent(message).with_help(help))
}

/// The tables that a plan reads.
fn tables(node: &Value, found: &mut Vec<Table>) {
    let text = |key| node.get(key).and_then(Value::as_str).map(str::to_owned);
    if let (Some(schema), Some(name)) = (text("Schema"), text("Relation Name")) {
        found.push(Table { schema, name });
    }
    for below in node
        .get("Plans")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        tables(below, found);
    }
}

#[cfg(test)]
mod tests {
    use super::tables;
    use serde_json::json;

    #[test]
    fn a_plan_is_read_to_its_leaves() {
        let scan = json!({ "Node Type": "Seq Scan", "Schema": "public", "Relation Name": "t" });
        let plan =
            json!({ "Node Type": "Result", "Plans": [{ "Node Type": "Limit", "Plans": [scan] }] });
        let mut found = Vec::new();
        tables(&plan, &mut found);
        let names: Vec<_> = { found.iter() }
            .map(|table| (&*table.schema, &*table.name))
            .collect();
        assert_eq!(names, [("public", "t")]);
    }
}

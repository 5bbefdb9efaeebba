//! Columns that are functions: `t.f` calls `f(t)` where there is such a function, and no such column.
//!
//! PostgreSQL's manual, "Using Composite Types in Queries". No text tells one from the other, so the catalog
//! is asked before an author's text runs that may only look.

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::relation::Answers;
use crate::host::reach::ReachError;
use crate::step::StepError;

/// A function that a column's notation may call.
#[derive(Debug, Deserialize)]
pub(super) struct Called {
    function: String,
    name: String,
}

/// Functions of these names, not PostgreSQL's own, that can be called with one argument which is a row: of a
/// composite type or a domain of one, or of any type. An index finds them by their names, which are cut off
/// (63 bytes) as the server cuts off those in a text. A session that touches has the login's search path, so
/// everything is named with its schema.
const CALLED: &str = "SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text AS function, \
       p.proname::pg_catalog.text AS name \
     FROM pg_catalog.pg_proc p \
     JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
     JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) p.proargtypes[0] \
     LEFT JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) t.typbasetype \
     WHERE p.proname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[]::pg_catalog.name[]) \
       AND n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema}'::pg_catalog.name[]) \
       AND p.pronargs OPERATOR(pg_catalog.>=) 1 \
       AND (p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults) OPERATOR(pg_catalog.<=) 1 \
       AND (t.typtype OPERATOR(pg_catalog.=) 'c' \
         OR b.typtype OPERATOR(pg_catalog.=) ANY ('{c,d}'::pg_catalog.\"char\"[]) \
         OR p.provariadic OPERATOR(pg_catalog.<>) 0 \
         OR t.typname OPERATOR(pg_catalog.=) ANY ('{record,any,anyelement,anynonarray,anycompatible,\
           anycompatiblenonarray}'::pg_catalog.name[])) \
     ORDER BY 1 LIMIT 1";

/// A function that one of these names may call in the place of a column, as in `t.name`.
pub(super) async fn called(
    answers: &impl Answers,
    names: &[String],
) -> Result<Option<Called>, ReachError> {
    if names.is_empty() {
        return Ok(None);
    }
    let names = names.to_vec();
    let bound = [(&names as _, Type::TEXT_ARRAY)];
    let found: Vec<Called> = answers.records(CALLED.into(), &bound).await?;
    Ok(found.into_iter().next())
}

/// Refuses what may call a function in the place of a column; `what` is the field that it stands in.
pub(super) async fn only_columns(
    answers: &impl Answers,
    what: &str,
    names: &[String],
) -> Result<(), StepError> {
    let Some(Called { function, name }) = called(answers, names).await? else {
        return Ok(());
    };
    let message = format!(
        "`{what}` may do more than look: `….{name}` in it may call {function}, a function of the \
         database that takes a row"
    );
    let help = format!(
        "give what is called `{name}` another name, or write it without what stands before its dot; \
         what calls a function belongs into `postgres.execute`"
    );
    Err(StepError::permanent(message).with_help(help))
}

//! A sequence, the columns that take their values from it, and how far both have come.

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::relation::Answers;
use crate::base::count::count;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;

/// A sequence with its columns.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sequence {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Both as SQL writes them: for people.
    pub shown: String,
    pub owner: String,
    /// Whether this login may do with it what its owner may.
    pub owned: bool,
    /// Whether this login may see how far it is.
    pub readable: bool,
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cache: i64,
    pub cycles: bool,
    /// The columns, by their tables' numbers.
    pub columns: Vec<Column>,
    /// Columns that have to do with its values, and cannot be compared with it.
    pub unjudged: Vec<Unjudged>,
}

/// A column that cannot be compared with its sequence.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Unjudged {
    /// Schema, table and column as SQL writes them.
    pub shown: String,
    pub why: String,
}

/// A column that takes its values from a sequence.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Column {
    oid: u32,
    pub schema: String,
    pub table: String,
    pub name: String,
    /// All three as SQL writes them: for people.
    pub shown: String,
    /// The smallest value of its type; none where that has none (`numeric`).
    lowest: Option<i64>,
    highest: Option<i64>,
    /// Whether this login may read all of it.
    pub readable: bool,
}

/// How far a sequence and its columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct State {
    pub last_value: i64,
    /// Whether `last_value` has been given out, or is the next one.
    pub is_called: bool,
    /// The furthest value in the columns, of those that the sequence can come to; none where there is
    /// none.
    pub reached: Option<i64>,
}

/// A column belongs to a sequence that it owns (`serial`, identity), or that its default, or else that of its
/// domain, depends on: PostgreSQL's manual, "pg_depend". Whether that default is the next value and nothing
/// else, but for casts, its text says. Domains are followed to what they are made of. Partitions are read with
/// their table. Row security hides rows from everybody whom it is active for.
const SEQUENCES: &str = r#"WITH RECURSIVE domains AS (
       SELECT oid, typbasetype AS base FROM pg_type WHERE typtype = 'd'
       UNION ALL
       SELECT d.oid, t.typbasetype FROM domains d JOIN pg_type t ON t.oid = d.base AND t.typtype = 'd'),
     given AS (
       SELECT d.objid AS seq, d.refobjid AS tab, d.refobjsubid AS att, NULL AS expression
       FROM pg_depend d
       WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
         AND d.objsubid = 0 AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
       UNION ALL
       SELECT d.refobjid, a.adrelid, a.adnum, pg_get_expr(a.adbin, a.adrelid)
       FROM pg_depend d JOIN pg_attrdef a ON a.oid = d.objid
       JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
       WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
       UNION ALL
       SELECT d.refobjid, a.attrelid, a.attnum, pg_get_expr(t.typdefaultbin, 0)
       FROM pg_depend d JOIN pg_type t ON t.oid = d.objid
       JOIN pg_attribute a ON a.atttypid = t.oid AND a.attnum > 0 AND NOT a.atthasdef
       WHERE d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_class'::regclass
         AND t.typtype = 'd' AND t.typdefaultbin IS NOT NULL),
     linked AS (
       SELECT g.seq, g.tab, g.att, min(g.expression) AS expression, bool_or(g.expression IS NULL) AS owned
       FROM given g JOIN pg_class s ON s.oid = g.seq AND s.relkind = 'S'
       GROUP BY g.seq, g.tab, g.att),
     typed AS (
       SELECT l.*, a.attname, c.relname, c.relkind, n.nspname, n.oid AS nsp, t.oid AS type,
         t.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype) AS numbers
       FROM linked l JOIN pg_class c ON c.oid = l.tab AND c.relkind IN ('r', 'p', 'f')
       JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_attribute a ON a.attrelid = l.tab AND a.attnum = l.att AND NOT a.attisdropped
       JOIN pg_type t ON t.typtype <> 'd'
         AND t.oid IN (SELECT a.atttypid UNION ALL SELECT base FROM domains d WHERE d.oid = a.atttypid)),
     bound AS (
       SELECT b.*, CASE
           WHEN b.relkind = 'f' THEN 'it is of a foreign table'
           WHEN NOT b.numbers THEN 'it holds no whole numbers, but ' || format_type(b.type, NULL)
           WHEN NOT b.owned AND b.expression !~
             '^\(*nextval\(''([^'']|'''')*''::regclass\)(\)::("([^"]|"")+"|[a-z_0-9$]+)(\.("([^"]|"")+"|[a-z_0-9$]+))?(\([0-9, -]+\))?)*$'
             THEN 'its default computes with the value: ' || b.expression
         END AS why
       FROM typed b
       WHERE (b.expression IS NOT NULL OR b.numbers)
         AND NOT EXISTS (SELECT FROM typed o WHERE o.seq = b.seq AND o.tab <> b.tab
           AND o.attname = b.attname AND o.tab IN (SELECT relid FROM pg_partition_ancestors(b.tab))))
     SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name,
       format('%I.%I', n.nspname, c.relname) AS shown, pg_get_userbyid(c.relowner) AS owner,
       pg_has_role(c.relowner, 'USAGE') AS owned,
       has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable,
       s.seqstart AS start, s.seqincrement AS increment, s.seqmin AS min, s.seqmax AS max,
       s.seqcache AS cache, s.seqcycle AS cycles,
       coalesce(json_agg(json_build_object('oid', b.tab::int8, 'schema', b.nspname, 'table', b.relname,
         'name', b.attname, 'shown', format('%I.%I.%I', b.nspname, b.relname, b.attname),
         'lowest', CASE b.type WHEN 'int2'::regtype THEN -32768 WHEN 'int4'::regtype
           THEN -2147483648 WHEN 'int8'::regtype THEN -9223372036854775808 END,
         'highest', CASE b.type WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype
           THEN 2147483647 WHEN 'int8'::regtype THEN 9223372036854775807 END,
         'readable', has_column_privilege(b.tab, b.att::int2, 'SELECT')
           AND has_schema_privilege(b.nsp, 'USAGE') AND NOT row_security_active(b.tab))
         ORDER BY b.tab, b.att) FILTER (WHERE b.why IS NULL), '[]') AS columns,
       coalesce(json_agg(json_build_object('shown', format('%I.%I.%I', b.nspname, b.relname, b.attname),
         'why', b.why) ORDER BY b.tab, b.att) FILTER (WHERE b.why IS NOT NULL), '[]') AS unjudged
     FROM bound b JOIN pg_class c ON c.oid = b.seq AND c.relpersistence <> 't'
     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
     WHERE $1::oid[] IS NULL OR EXISTS (SELECT FROM bound w WHERE w.seq = b.seq AND w.tab = ANY ($1))
     GROUP BY c.oid, n.oid, n.nspname, c.relname, c.relowner, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
       s.seqcache, s.seqcycle
     ORDER BY n.nspname, c.relname"#;

/// Whether somebody has taken a value, and no lock on a table that it may go into.
const TAKEN: &str = "SELECT EXISTS (SELECT FROM pg_locks s \
       WHERE s.relation = $1 AND s.granted AND s.pid <> pg_backend_pid() \
         AND s.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND NOT EXISTS (SELECT FROM pg_locks t WHERE t.pid = s.pid AND t.granted \
           AND t.relation = ANY ($2) AND t.mode = 'RowExclusiveLock')) AS taken";

/// The sequences of the columns of these tables; of all tables where there are none.
pub(super) async fn sequences(
    answers: &impl Answers,
    tables: Option<Vec<u32>>,
) -> Result<Vec<Sequence>, ReachError> {
    let bound: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] =
        [(&tables, Type::OID_ARRAY)];
    answers.records(Sql::new(SEQUENCES), &bound).await
}

impl Sequence {
    /// Whether it counts upwards.
    fn rises(&self) -> bool {
        self.increment > 0
    }

    /// How far it and its columns are. Values that it never comes to are nobody's concern: a 0 or a
    /// 999999999 that stands for something.
    pub async fn state(&self, answers: &impl Answers) -> Result<Option<State>, ReachError> {
        let (furthest, whole, outer) = match self.rises() {
            true => ("max(", "ceil(", "greatest("),
            false => ("min(", "floor(", "least("),
        };
        let mut sql = Sql::new("SELECT last_value, is_called, ").then(outer);
        for (at, column) in self.columns.iter().enumerate() {
            sql = if at > 0 { sql.then(", ") } else { sql };
            sql = sql.then("(SELECT ").then(whole).then(furthest);
            sql = sql.name(&column.name).then(")::numeric)::int8 FROM ");
            sql = sql.qualified(&column.schema, &column.table).then(" WHERE ");
            sql = sql.name(&column.name).then(" BETWEEN (").number(self.min);
            sql = sql.then(")::int8 AND (").number(self.max).then(")::int8)");
        }
        let sql = sql.then(") AS reached FROM ");
        let rows: Vec<State> =
            { answers.records(sql.qualified(&self.schema, &self.name), &[]) }.await?;
        Ok(rows.into_iter().next())
    }

    /// Whether somebody has taken a value and may be about to insert it. Whoever locks the table then
    /// keeps it from that, and waits in vain for the sequence.
    pub async fn is_taken(&self, answers: &impl Answers) -> Result<bool, ReachError> {
        #[derive(Deserialize)]
        struct Row {
            taken: bool,
        }
        let tables: Vec<u32> = self.columns.iter().map(|column| column.oid).collect();
        let bound: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&self.oid, Type::OID), (&tables, Type::OID_ARRAY)];
        let rows: Vec<Row> = answers.records(Sql::new(TAKEN), &bound).await?;
        Ok(rows.iter().any(|row| row.taken))
    }

    /// Its columns, for people.
    pub fn columns_shown(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|it| it.shown.as_str()).collect();
        columns.join(", ")
    }

    /// Whether this login may see what there is to be judged.
    pub fn is_readable(&self) -> bool {
        self.readable && self.columns.iter().all(|column| column.readable)
    }

    /// The last value that it and its columns can hold.
    pub fn limit(&self) -> i64 {
        let columns = self.columns.iter();
        match self.rises() {
            true => columns.filter_map(|it| it.highest).fold(self.max, i64::min),
            false => columns.filter_map(|it| it.lowest).fold(self.min, i64::max),
        }
    }

    /// What it gives out next; none where that is beyond its own range.
    pub fn next(&self, state: &State) -> Option<i64> {
        if !state.is_called {
            return Some(state.last_value);
        }
        let next = state.last_value.checked_add(self.increment)?;
        (self.min..=self.max).contains(&next).then_some(next)
    }

    /// The value that it has to be moved to so that it gives out none that is there already; none where
    /// it is ahead. One that begins anew at its end meets old values by intention.
    pub fn behind(&self, state: &State) -> Option<i64> {
        let reached = state.reached.filter(|_| !self.cycles)?;
        let next = i128::from(state.last_value)
            + match state.is_called {
                true => i128::from(self.increment),
                false => 0,
            };
        let is = match self.rises() {
            true => next <= i128::from(reached),
            false => next >= i128::from(reached),
        };
        is.then_some(reached)
    }

    /// How many values it has to give out until its next one is beyond `reached`.
    pub fn steps(&self, state: &State, reached: i64) -> u64 {
        let step = i128::from(self.increment);
        let next = i128::from(state.last_value) + if state.is_called { step } else { 0 };
        let steps = (i128::from(reached) - next) / step + 1;
        u64::try_from(steps).unwrap_or(0)
    }

    /// How much of what it can give out is used, in percent.
    pub fn used_percent(&self, state: &State) -> f64 {
        let called = Some(state.last_value).filter(|_| state.is_called);
        let furthest = match self.rises() {
            true => called.max(state.reached),
            false => match (called, state.reached) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        };
        let Some(at) = furthest else { return 0.0 };
        // From where it began, unless it was set back before that.
        let begin = match (self.rises(), at >= self.start) {
            (true, true) | (false, false) => self.start,
            (true, false) => self.min,
            (false, true) if at == self.start => self.start,
            (false, true) => self.max,
        };
        let steps = |to: i64| (i128::from(to) - i128::from(begin)).abs() + 1;
        let sides =
            (i128::from(self.limit()) - i128::from(begin)) * i128::from(self.increment.signum());
        if sides < 0 {
            return 100.0;
        }
        let percent = steps(at) as f64 * 100.0 / steps(self.limit()) as f64;
        (percent * 100.0).round() / 100.0
    }

    /// `5 → 120`.
    pub fn way(&self, state: &State, to: i64) -> String {
        format!("{} → {}", number(state.last_value), number(to))
    }
}

/// `number` with its thousands apart.
pub(super) fn number(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", count(number.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::{Column, Sequence, State};

    fn column(range: Option<(i64, i64)>) -> Column {
        Column {
            oid: 1,
            schema: "public".to_owned(),
            table: "t".to_owned(),
            name: "id".to_owned(),
            shown: "public.t.id".to_owned(),
            lowest: range.map(|it| it.0),
            highest: range.map(|it| it.1),
            readable: true,
        }
    }

    fn sequence(increment: i64, min: i64, max: i64) -> Sequence {
        Sequence {
            oid: 2,
            schema: "public".to_owned(),
            name: "s".to_owned(),
            shown: "public.s".to_owned(),
            owner: "me".to_owned(),
            owned: true,
            readable: true,
            start: if increment > 0 { min } else { max },
            increment,
            min,
            max,
            cache: 1,
            cycles: false,
            columns: vec![column(None)],
            unjudged: Vec::new(),
        }
    }

    fn state(last_value: i64, is_called: bool, reached: impl Into<Option<i64>>) -> State {
        State {
            last_value,
            is_called,
            reached: reached.into(),
        }
    }

    #[test]
    fn is_behind_where_its_next_value_is_not_beyond_all_others() {
        let up = sequence(1, 1, 1000);
        assert_eq!(up.behind(&state(5, true, 5)), None);
        assert_eq!(up.behind(&state(5, true, 6)), Some(6));
        assert_eq!(up.behind(&state(5, false, 5)), Some(5));
        assert_eq!(up.behind(&state(5, false, 4)), None);
        assert_eq!(up.behind(&state(1, false, None)), None);
        // 7 comes next, and passes 6.
        assert_eq!(sequence(2, 1, 1000).behind(&state(5, true, 6)), None);
        let down = sequence(-1, -1000, -1);
        assert_eq!(down.behind(&state(-5, true, -5)), None);
        assert_eq!(down.behind(&state(-5, true, -6)), Some(-6));
        assert_eq!(down.behind(&state(-5, true, -1)), None);
        assert_eq!(up.steps(&state(5, true, None), 6), 1);
        assert_eq!(up.steps(&state(5, false, None), 5), 1);
        // 7 and 9, and 11 comes next.
        assert_eq!(sequence(2, 1, 10).steps(&state(5, true, None), 10), 2);
        assert_eq!(down.steps(&state(-5, true, None), -7), 2);
        let end = sequence(1, 1, i64::MAX);
        assert_eq!(end.behind(&state(i64::MAX, true, i64::MAX)), None);
        let round = Sequence {
            cycles: true,
            ..sequence(1, 1, 10)
        };
        assert_eq!(round.behind(&state(3, true, 10)), None);
    }

    #[test]
    fn the_narrowest_column_is_the_limit() {
        let int4 = (i64::from(i32::MIN), i64::from(i32::MAX));
        let mut up = sequence(1, 1, i64::MAX);
        up.columns = vec![column(None), column(Some(int4))];
        assert_eq!(up.limit(), i64::from(i32::MAX));
        assert_eq!(up.used_percent(&state(2_147_483_647, true, None)), 100.0);
        assert_eq!(up.used_percent(&state(1_073_741_824, true, 5)), 50.0);
        assert_eq!(up.used_percent(&state(1, false, None)), 0.0);
        assert_eq!(up.used_percent(&state(1, false, 2_147_483_647)), 100.0);
        let mut down = sequence(-1, i64::MIN, -1);
        assert_eq!(down.limit(), i64::MIN);
        down.columns = vec![column(Some(int4))];
        assert_eq!(down.used_percent(&state(-1_073_741_824, true, None)), 50.0);
        // One that was set beyond what its column can hold.
        assert!(up.used_percent(&state(3_000_000_000, true, None)) > 100.0);
    }
}

//! `postgres.execute`: statements that change a database.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::notation;
use super::relation::Within;
use super::text;
use crate::base::Duration;
use crate::base::count::plural;
use crate::base::field::Code;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::sql::{Script, Sql, Statement};
use crate::host::connect::postgres::{Bound, Notice, PgEffect, PgObserve, PgValue, Postgres};
use crate::host::net::Allowance;
use crate::host::reach::ReachError;
use crate::host::{Effect, Observe};
use crate::step::{Act, Change, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Execute;

/// Runs SQL statements that change a PostgreSQL database.
///
/// All of them are one transaction, unless `transaction: false`. It stops at the first error; what a
/// statement said beside its result (WARNING, NOTICE) is a finding. SQL is never a template: values are
/// bound, as `$1`, `$2`, …, and all statements share them.
///
/// A parser says what the statements do to the world. INSERT, CREATE, ANALYZE and the like are `change`;
/// UPDATE, DELETE, DROP, settings that guard something, whatever calls a function that is not known to only
/// look (also in `CREATE TABLE … AS`, an index, or a column's default), and whatever the parser cannot read
/// are `destroy`, and need a confirmation. What the database itself brings (views, triggers, operators,
/// casts, a function in the place of a column as in `t.f`) is not looked into.
///
/// Where the connection is lost while the transaction is committed, the server is asked what became of
/// it. Without an answer the outcome is `unknown`.
///
/// # Changes
///
/// What the statements change.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: note-maintenance
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: note
///     postgres.execute:
///       connection: main
///       sql: INSERT INTO maintenance (run, at) VALUES ($1, now())
///       bind: ["${{ run.id }}"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database; its primary.
    pub connection: Conn<Postgres>,
    /// The statements, with semicolons between them.
    pub sql: Code,
    /// The values of `$1`, `$2`, …; a list is an array, a mapping is JSON. Secrets may flow in here.
    #[serde(default)]
    #[schemars(extend("x-runbook-secrets" = true))]
    pub bind: Vec<Value>,
    /// Whether they are one transaction. `false` for what cannot be in one, such as
    /// `CREATE INDEX CONCURRENTLY`; then what was done before an error stays.
    #[serde(default = "yes")]
    pub transaction: bool,
    /// How long each statement waits for a lock: whoever waits for a table's lock makes everybody else
    /// wait behind it.
    #[serde(default = "five_seconds")]
    pub lock_timeout: Duration,
}

fn yes() -> bool {
    true
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

/// What was done.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The statements that were run, in their order.
    pub statements: Vec<Ran>,
    /// How many rows they were about, together.
    pub affected: u64,
}

/// A statement that was run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran {
    /// Its first word, such as `UPDATE`.
    pub statement: String,
    /// How many rows it was about.
    pub affected: u64,
}

impl Config {
    fn script(&self) -> Result<Script, String> {
        Script::parse(self.sql.expose()).map_err(|error| format!("`sql`: {error}"))
    }

    fn values(&self) -> Vec<PgValue> {
        self.bind.iter().map(PgValue::of).collect()
    }
}

impl StepType for Execute {
    const NAME: &'static str = "postgres.execute";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Once;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        let script = config.script()?;
        let statements: Vec<&Statement> = script.statements().iter().collect();
        if let Some(control) = statements.iter().find(|s| s.is_transaction_control()) {
            return Err(format!(
                "`{}` in `sql`: where a transaction begins and ends is said by `transaction`",
                control.word()
            ));
        }
        text::binds(&statements, config.bind.len())
    }

    fn classify(config: &Partial) -> EffectClass {
        let sql = config.value::<String>("sql");
        let script = sql.and_then(|sql| Script::parse(&sql).ok());
        let effect = script.map_or(EffectClass::Destroy, |script| script.effect());
        // What only looks is a change here: it takes the means to touch.
        effect.max(EffectClass::Change)
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        text::described(format!("run in `{connection}`"), config)
    }
}

impl Act for Execute {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let script = config.script().map_err(StepError::permanent)?;
        let values = config.values();
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await??;
        let (mut items, mut counts) = (Vec::new(), Map::new());
        let mut estimated: Option<f64> = Some(0.0);
        for statement in script.statements() {
            let rows = match Sql::explaining(statement) {
                None => None,
                // Planning calls functions, which columns may be.
                Some(_) if !only_columns(&session, statement, allowance).await => None,
                Some(sql) => {
                    let bound = bound(statement, &values);
                    let planned = session.rows(sql, &bound, allowance).await;
                    // A table that an earlier statement makes is not there yet.
                    planned.ok().and_then(|rows| estimate(&rows))
                }
            };
            let words = one_line(statement.text());
            items.push(match rows {
                Some(rows) => format!("{words} -- about {rows:.0} rows"),
                None => words,
            });
            estimated = estimated.zip(rows).map(|(sum, rows)| sum + rows);
        }
        let count = script.statements().len();
        counts.insert("statements".to_owned(), json!(count));
        let mut summary = format!("run {} in {}", plural(count, "statement"), session.shown());
        if let Some(rows) = estimated {
            counts.insert("rows_estimated".to_owned(), json!(rows as u64));
            summary.push_str(&format!(", about {rows:.0} rows by the server's estimate"));
        }
        Ok(Preview::Change(Change {
            summary,
            counts,
            items,
            ..Change::default()
        }))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let script = config.script().map_err(StepError::permanent)?;
        let values = config.values();
        let allowance = host.scope().allow_all();
        let mut session = host.postgres(&config.connection, allowance).await?;
        session.keep_apart();
        session
            .set_lock_timeout(config.lock_timeout, allowance)
            .await?;
        // Whether what its author wrote is compiled is for the server to say.
        session.run("RESET jit", &[], allowance).await?;
        let mut work = Work {
            subject: config.connection.name.clone(),
            outputs: Outputs::default(),
            findings: Vec::new(),
        };
        let done = if config.transaction {
            together(&session, &script, &values, &mut work).await
        } else {
            one_by_one(&session, &script, &values, &mut work).await
        };
        session.close().await;
        let Work {
            outputs, findings, ..
        } = work;
        match done {
            Ok(()) => Ok(Outcome::changed(outputs).with_findings(findings)),
            Err(error) => {
                let mut error = StepError::from(explain(error)).with_outputs(&outputs);
                error.findings = findings;
                Err(error)
            }
        }
    }
}

/// What was done so far.
struct Work {
    subject: String,
    outputs: Outputs,
    findings: Vec<Finding>,
}

impl Work {
    fn done(&mut self, statement: &Statement, affected: u64, notices: &[Notice]) {
        self.outputs.affected += affected;
        self.outputs.statements.push(Ran {
            statement: statement.word().to_owned(),
            affected,
        });
        let finding = |notice: &Notice| said(&self.subject, notice);
        self.findings.extend(notices.iter().map(finding));
    }
}

/// What a server said, as a finding.
fn said(subject: &str, notice: &Notice) -> Finding {
    let detail = notice.detail.as_ref().map(|detail| format!(" ({detail})"));
    let message = format!(
        "{}: {}{}",
        notice.severity,
        notice.message,
        detail.unwrap_or_default()
    );
    let finding = match notice.is_warning() {
        true => Finding::warning(subject, message),
        false => Finding::ok(subject, message),
    };
    match &notice.hint {
        Some(hint) => finding.with_help(hint.clone()),
        None => finding,
    }
}

async fn together(
    session: &PgEffect<'_>,
    script: &Script,
    values: &[PgValue],
    work: &mut Work,
) -> Result<(), ReachError> {
    let allowance = session.allow_all();
    let transaction = session.begin(allowance).await?;
    let mut kept = Work {
        subject: work.subject.clone(),
        outputs: Outputs::default(),
        findings: Vec::new(),
    };
    for statement in script.statements() {
        let bound = bound(statement, values);
        let done = transaction
            .run(Sql::acting(statement), &bound, allowance)
            .await;
        match done {
            Ok(done) => kept.done(statement, done.affected, &done.notices),
            Err(error) => {
                // Whatever comes of it, nothing of the transaction stays.
                let _ = transaction.roll_back(allowance).await;
                work.findings = kept.findings;
                return Err(error);
            }
        }
    }
    let committed = transaction.commit(allowance).await;
    work.findings = kept.findings;
    committed?;
    work.outputs = kept.outputs;
    Ok(())
}

async fn one_by_one(
    session: &PgEffect<'_>,
    script: &Script,
    values: &[PgValue],
    work: &mut Work,
) -> Result<(), ReachError> {
    for statement in script.statements() {
        let bound = bound(statement, values);
        let done = session
            .run(Sql::acting(statement), &bound, session.allow_all())
            .await?;
        work.done(statement, done.affected, &done.notices);
    }
    Ok(())
}

/// Whether the columns in it are no functions.
async fn only_columns(
    session: &PgObserve<'_>,
    statement: &Statement,
    allowance: Allowance,
) -> bool {
    let answers = Within(session, allowance);
    let called = notation::called(&answers, statement.fields()).await;
    called.is_ok_and(|called| called.is_none())
}

/// The values that a statement takes.
fn bound<'v>(statement: &Statement, values: &'v [PgValue]) -> Vec<Bound<'v>> {
    let wanted = usize::from(statement.parameters());
    values.iter().take(wanted).map(PgValue::bound).collect()
}

/// How many rows the server's planner expects a statement to be about: those that come to its topmost
/// node that changes something, else those that it gives.
fn estimate(rows: &[tokio_postgres::Row]) -> Option<f64> {
    let plan: Value = rows.first()?.try_get(0).ok()?;
    let top = plan.get(0)?.get("Plan")?;
    let node = match top.get("Node Type")?.as_str()? {
        "ModifyTable" => top.get("Plans")?.get(0)?,
        _ => top,
    };
    node.get("Plan Rows")?.as_f64()
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

fn explain(error: ReachError) -> ReachError {
    if error.cause.contains("25001") && error.help.is_none() {
        return error.with_help("it cannot be in a transaction: say `transaction: false`");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::{Config, Execute};
    use crate::event::EffectClass;
    use crate::step::{Partial, StepType as _};
    use serde_json::json;

    fn config(sql: &str, bind: serde_json::Value) -> serde_json::Value {
        json!({ "connection": "main", "sql": sql, "bind": bind })
    }

    #[test]
    fn the_worst_statement_says_what_it_does() {
        for (sql, effect) in [
            ("SELECT 1", EffectClass::Change),
            ("INSERT INTO t VALUES (1)", EffectClass::Change),
            (
                "INSERT INTO t VALUES (1); DELETE FROM t",
                EffectClass::Destroy,
            ),
            ("anything", EffectClass::Destroy),
        ] {
            let partial = Partial::Known(config(sql, json!([])));
            assert_eq!(Execute::classify(&partial), effect, "{sql}");
        }
        assert_eq!(
            Execute::classify(&Partial::Unknown("later".into())),
            EffectClass::Destroy
        );
    }

    #[test]
    fn transactions_are_not_the_scripts_business() {
        let check = |sql: &str, bind| {
            Execute::check(&serde_json::from_value::<Config>(config(sql, bind)).unwrap())
        };
        check("UPDATE t SET a = $1; UPDATE u SET b = $2", json!([1, 2])).unwrap();
        assert!(check("BEGIN; DELETE FROM t; COMMIT", json!([])).is_err());
        assert!(check("UPDATE t SET a = $1", json!([])).is_err());
        assert!(check(";", json!([])).is_err());
    }
}

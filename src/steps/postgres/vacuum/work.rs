//! The tables, one after the other.

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::{Config, Outputs, Vacuumed};
use crate::base::count::count;
use crate::base::{ByteSize, Duration};
use crate::event::{Finding, Level};
use crate::host::Effect;
use crate::host::connect::postgres::PgEffect;
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::steps::postgres::relation::Within;
use crate::steps::postgres::rewrite::{Forecast, forecast};
use crate::steps::postgres::tables::{self, Table};

/// From this version on a server counts the dead rows that VACUUM left at once.
const COUNTS_AT_ONCE: u32 = 150_000;

/// What was done so far.
pub(super) struct Work<'a> {
    config: &'a Config,
    host: &'a Effect,
    session: &'a PgEffect<'a>,
    allowance: Allowance,
    pub findings: Vec<Finding>,
    pub outputs: Outputs,
}

impl<'a> Work<'a> {
    pub fn new(
        config: &'a Config,
        host: &'a Effect,
        session: &'a PgEffect<'a>,
        allowance: Allowance,
    ) -> Self {
        Self {
            config,
            host,
            session,
            allowance,
            findings: Vec::new(),
            outputs: Outputs::default(),
        }
    }

    /// Vacuums what is due. One table's trouble is a finding; an error is the server's or the run's.
    pub async fn all(&mut self, due: &[Table]) -> Result<(), ReachError> {
        for (at, table) in due.iter().enumerate() {
            let scope = self.host.scope();
            scope.progress(at as u64, Some(due.len() as u64), "tables");
            if self.is_window_over() {
                self.window_over(&due[at..], "`window` was over before its turn");
                return Ok(());
            }
            match self.one(table).await {
                Ok(true) => {}
                Ok(false) => self.outputs.skipped += 1,
                Err(error) if self.is_window_over() && is_late(&error) => {
                    let (this, others) = due[at..].split_at(1);
                    self.window_over(this, "cancelled when `window` was over: it is as it was");
                    self.window_over(others, "`window` was over before its turn");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether it was done as asked for.
    async fn one(&mut self, table: &Table) -> Result<bool, ReachError> {
        let forecast = self.forecast(table).await?;
        let short = |it: &&Forecast| self.config.check_space && it.is_short();
        if let Some(forecast) = forecast.as_ref().filter(short) {
            let message = format!("left alone for want of space: {forecast}");
            let help = "make room; or, if you know better, say `check_space: false`";
            self.findings
                .push(Finding::critical(&table.shown, message).with_help(help));
            return Ok(false);
        }
        let clock = self.host.scope().clock();
        let began = clock.now();
        let sql = self.config.statement(table);
        let done = match self.session.run(sql, &[], self.allowance).await {
            Ok(done) => done,
            Err(error) => {
                self.findings.push(tables::failed(table, error)?);
                return Ok(false);
            }
        };
        let seconds = clock.now().since(began).as_secs_f64();
        let said = tables::said(table, Level::Critical, &done.notices);
        let well = said.iter().all(|finding| finding.level == Level::Ok);
        self.findings.extend(said);
        if !well {
            return Ok(false);
        }
        let size = |forecast: Option<Forecast>| forecast.map(|it| it.size.bytes);
        let (before, after) = (size(forecast), size(self.forecast(table).await?));
        if let (Some(before), Some(after)) = (before, after) {
            let message = format!("was {}, is {}", ByteSize(before), ByteSize(after));
            self.findings.push(Finding::ok(&table.shown, message));
        }
        let dead_after = self.dead(table).await?;
        self.findings
            .extend(dead_after.and_then(|dead| stays(table, dead)));
        self.outputs.vacuumed += 1;
        self.outputs.tables.push(Vacuumed {
            schema: table.schema.clone(),
            table: table.name.clone(),
            dead: table.dead,
            dead_after,
            bytes_before: before,
            bytes_after: after,
            seconds,
        });
        Ok(true)
    }

    /// What it takes to rewrite a table now; none where it is not rewritten.
    async fn forecast(&self, table: &Table) -> Result<Option<Forecast>, ReachError> {
        if !self.config.full {
            return Ok(None);
        }
        let answers = Within(self.session, self.allowance);
        let (observe, identity) = (self.host.observe(), self.session.identity());
        let one = std::slice::from_ref(table);
        let mut forecasts = forecast(&answers, observe, identity, one).await?;
        Ok(forecasts.remove(&table.oid))
    }

    /// How many dead rows a table still has; none where the server does not count them at once.
    async fn dead(&self, table: &Table) -> Result<Option<u64>, ReachError> {
        #[derive(Deserialize)]
        struct Row {
            dead: u64,
        }
        if self.config.full || self.session.version() < COUNTS_AT_ONCE {
            return Ok(None);
        }
        let sql = "SELECT pg_stat_get_dead_tuples($1) AS dead";
        let bound = [(&table.oid as _, Type::OID)];
        let row: Row = self.session.record(sql, &bound, self.allowance).await?;
        Ok(Some(row.dead))
    }

    fn is_window_over(&self) -> bool {
        let left = self.allowance.left(self.host.scope());
        self.config.window.is_some() && left == Duration::ZERO
    }

    fn window_over(&mut self, left: &[Table], why: &str) {
        self.outputs.skipped += left.len();
        for table in left {
            let message = format!("not vacuumed: {why}");
            self.findings.push(Finding::critical(&table.shown, message));
        }
    }
}

/// Whether it was our own limit that ended a statement.
fn is_late(error: &ReachError) -> bool {
    matches!(error.obstacle, Obstacle::NoAnswer | Obstacle::InDoubt)
}

/// Whether most dead rows are still there.
fn stays(table: &Table, dead: u64) -> Option<Finding> {
    if table.dead == 0 || dead < table.dead.div_ceil(2) {
        return None;
    }
    let (dead, all) = (count(dead), count(table.dead));
    let message =
        format!("{dead} dead rows are still there, of {all}: something may still see them");
    let help = "look for old transactions (`postgres.activity` with `max_transaction`), prepared \
                ones, and replication slots that nobody reads";
    Some(Finding::warning(&table.shown, message).with_help(help))
}

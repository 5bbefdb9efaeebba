//! One index after the other: counted where that can be, estimated elsewhere.

use tokio_postgres::types::Type;

use super::ask::{self, COUNTER, Candidate, Counter};
use super::pages::Counted;
use super::{Found, Index, Method, NotJudged};
use crate::event::Finding;
use crate::host::reach::{Obstacle, ReachError};
use crate::steps::postgres::asking::Asking;

/// Why the bloat of an index is not known, and what to do about it.
pub(super) struct NotKnown {
    pub reason: String,
    pub help: &'static str,
}

impl Candidate {
    /// Why it is not to be judged at all.
    pub fn is_none_of_ours(&self) -> Option<String> {
        match self.method.as_str() {
            "btree" if self.valid => None,
            "btree" => Some("it is invalid: see `postgres.invalid_indexes`".to_owned()),
            other => Some(format!("its method is {other}")),
        }
    }

    pub fn not_judged(&self, reason: String) -> NotJudged {
        NotJudged {
            schema: self.schema.clone(),
            name: self.name.clone(),
            table: self.table.clone(),
            quoted: self.quoted.clone(),
            size_bytes: self.size_bytes,
            reason,
        }
    }

    /// It as judged, where it would have `pages` pages.
    fn judged(&self, size: u64, pages: f64, method: Found) -> Index {
        let wanted = (pages * self.shape.block) as u64;
        let bloat = size.saturating_sub(wanted);
        let percent = bloat as f64 * 100.0 / (size.max(1) as f64);
        Index {
            schema: self.schema.clone(),
            name: self.name.clone(),
            table: self.table.clone(),
            quoted: self.quoted.clone(),
            size_bytes: size,
            bloat_percent: (percent * 10.0).round() / 10.0,
            bloat_bytes: bloat,
            method,
        }
    }

    fn estimated(&self) -> Result<Index, NotKnown> {
        match self.shape.pages() {
            Some(pages) => Ok(self.judged(self.size_bytes, pages, Found::Estimate)),
            None => Err(NotKnown {
                reason:
                    "there are no statistics that this login may read, or they are older than most \
                         rows"
                        .to_owned(),
                help: "ANALYZE its table (`postgres.analyze`), let the login read it, or install \
                       `pgstattuple`",
            }),
        }
    }
}

/// Finds out about one index after the other.
pub(super) struct Reader<'r, 'a> {
    method: Method,
    asking: &'r Asking<'a>,
    counter: Option<Counter>,
    /// The time is up.
    late: bool,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub async fn new(
        method: Method,
        asking: &'r Asking<'a>,
        subject: &str,
        findings: &mut Vec<Finding>,
    ) -> Result<Self, ReachError> {
        let mut reader = Self {
            method,
            asking,
            counter: None,
            late: false,
        };
        if method == Method::Estimate {
            return Ok(reader);
        }
        let found: Vec<Counter> = asking.records(COUNTER, &[]).await?;
        let found = found.into_iter().next();
        if method == Method::Exact {
            let missing = match &found {
                None => Some((
                    "the extension `pgstattuple` is not installed in this database",
                    "`CREATE EXTENSION pgstattuple`, or say `method: estimate`",
                )),
                Some(counter) if !counter.callable => Some((
                    "this login may not call `pgstatindex()`",
                    "`GRANT pg_stat_scan_tables`, or say `method: estimate`",
                )),
                Some(_) => None,
            };
            let finding =
                |(why, help): (&str, &str)| Finding::unknown(subject, why).with_help(help);
            findings.extend(missing.map(finding));
        }
        reader.counter = found.filter(|counter| counter.callable);
        Ok(reader)
    }

    pub async fn judge(
        &mut self,
        index: &Candidate,
    ) -> Result<Result<Index, NotKnown>, ReachError> {
        let why = match (&self.counter, self.method) {
            (_, Method::Estimate) | (None, Method::Auto) => return Ok(index.estimated()),
            (None, Method::Exact) => "`pgstatindex()` cannot be called".to_owned(),
            (Some(_), _) if self.late => "the time was over before it was read".to_owned(),
            (Some(_), _) if index.locked => "somebody locks it (ACCESS EXCLUSIVE)".to_owned(),
            (Some(counter), _) => match self.count(counter, index).await {
                Ok(found) => return Ok(Ok(found)),
                Err(error) if matches!(error.obstacle, Obstacle::Ended(_)) => return Err(error),
                Err(error) => {
                    self.late |= error.obstacle == Obstacle::NoAnswer;
                    error.cause
                }
            },
        };
        if self.method == Method::Auto {
            return Ok(index.estimated());
        }
        Ok(Err(NotKnown {
            reason: why,
            help: "look again with a longer `timeout`, or say `method: auto`",
        }))
    }

    async fn count(&self, counter: &Counter, index: &Candidate) -> Result<Index, ReachError> {
        let bound = [(&index.oid as _, Type::OID)];
        let counted: Counted = self.asking.record(ask::count(counter), &bound).await?;
        let shape = &index.shape;
        let pages = counted.pages(shape.block, shape.fillfactor);
        Ok(index.judged(counted.index_size as u64, pages, Found::Exact))
    }
}

//! What rewriting a table would take: space beside it, and a lock that nobody else may hold.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::catalog::LOCKED;
use super::relation::Answers;
use super::tables::Table;
use crate::base::ByteSize;
use crate::host::Observe;
use crate::host::connect::postgres::PgIdentity;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;

/// What a rewrite of one table would take.
#[derive(Debug)]
pub(super) struct Forecast {
    pub size: Sizes,
    /// Who holds a lock on it now, and so would be waited for.
    pub holders: Vec<Holder>,
    /// What its tablespace has left, in bytes; or why that is not known.
    pub free: Result<u64, String>,
}

/// How large a table is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sizes {
    oid: u32,
    /// With its TOAST table and its indexes, in bytes.
    pub bytes: u64,
    /// What a copy of them takes at most, in bytes.
    pub needed: u64,
    /// Where its tablespace is: an absolute path, or one below the data directory.
    place: String,
    data_directory: Option<String>,
}

/// A session that holds a lock.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Holder {
    oid: u32,
    pid: Option<i32>,
    user: Option<String>,
    application: Option<String>,
    mode: String,
}

/// To ask for a size takes a lock on the table, its TOAST table and their indexes, and would wait for
/// whoever rewrites one of them at this moment: then the number of pages is what the catalog knows. A rewrite leaves a share of each page free where
/// the table says so (`fillfactor`), so that it can be larger than what it copies.
/// `pg_settings` shows `data_directory` to whom may see it.
const SIZES: &str = " SELECT oid::int8 AS oid, bytes, \
       bytes + (heap * (100.0 / fill - 1))::int8 AS needed, place, \
       (SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory \
     FROM (SELECT c.oid, \
         CASE WHEN l.locked THEN p.pages ELSE pg_total_relation_size(c.oid) END AS bytes, \
         CASE WHEN l.locked THEN p.pages ELSE pg_relation_size(c.oid) END AS heap, \
         coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions) \
           WHERE option_name = 'fillfactor'), 100) AS fill, \
         coalesce(nullif(pg_tablespace_location(CASE c.reltablespace WHEN 0 \
           THEN (SELECT dattablespace FROM pg_database WHERE datname = current_database()) \
           ELSE c.reltablespace END), ''), 'base') AS place \
       FROM pg_class c, \
       LATERAL (SELECT EXISTS (SELECT FROM held WHERE relation IN (c.oid, c.reltoastrelid) \
         OR relation IN (SELECT indexrelid FROM pg_index \
           WHERE indrelid IN (c.oid, c.reltoastrelid))) AS locked) AS l, \
       LATERAL (SELECT sum(r.relpages::int8)::int8 * current_setting('block_size')::int8 AS pages \
         FROM pg_class r WHERE r.oid IN (c.oid, c.reltoastrelid) \
         OR r.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid)) AS p \
       WHERE c.oid = ANY ($1)) AS sized";

const HOLDERS: &str = "SELECT l.relation::int8 AS oid, l.pid, a.usename AS user, \
       a.application_name AS application, l.mode \
     FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) \
     WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1) \
       AND l.pid IS DISTINCT FROM pg_backend_pid() \
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     ORDER BY l.pid, l.mode";

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            None => f.write_str("a prepared transaction")?,
            Some(pid) => write!(f, "pid {pid}")?,
        }
        if let Some(user) = &self.user {
            write!(f, " of {user}")?;
        }
        if let Some(application) = self.application.as_ref().filter(|name| !name.is_empty()) {
            write!(f, ", {application}")?;
        }
        write!(f, " ({})", self.mode)
    }
}

impl std::fmt::Display for Forecast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sizes { bytes, needed, .. } = self.size;
        let (bytes, needed) = (ByteSize(bytes), ByteSize(needed));
        write!(f, "{bytes} now, needs up to {needed} more; ")?;
        match &self.free {
            Ok(free) => write!(f, "{} free; ", ByteSize(*free))?,
            Err(why) => write!(f, "free space not known: {why}; ")?,
        }
        f.write_str("ACCESS EXCLUSIVE lock")?;
        let holders: Vec<String> = self.holders.iter().map(Holder::to_string).collect();
        match holders.as_slice() {
            [] => f.write_str(", which nobody is in the way of now"),
            some => write!(f, ", in the way of which are now: {}", some.join("; ")),
        }
    }
}

impl Forecast {
    /// Whether it is known that the space may not be enough.
    pub fn is_short(&self) -> bool {
        { self.free.as_ref() }.is_ok_and(|free| *free < self.size.needed)
    }
}

/// What rewriting each of `tables` would take.
pub(super) async fn forecast(
    answers: &impl Answers,
    host: &Observe,
    identity: &PgIdentity,
    tables: &[Table],
) -> Result<HashMap<u32, Forecast>, ReachError> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let bound: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    let sizes = Sql::new("WITH held AS MATERIALIZED ")
        .then(LOCKED)
        .then(SIZES);
    let sizes: Vec<Sizes> = answers.records(sizes, &bound).await?;
    let holders: Vec<Holder> = answers.records(Sql::new(HOLDERS), &bound).await?;
    let mut free: HashMap<String, Result<u64, String>> = HashMap::new();
    let mut forecasts = HashMap::new();
    for size in sizes {
        let free = match free.get(&size.place) {
            Some(known) => known.clone(),
            None => {
                let known = left(&size, host, identity).await;
                free.insert(size.place.clone(), known.clone());
                known
            }
        };
        let holders = holders.iter().filter(|holder| holder.oid == size.oid);
        let holders = holders.cloned().collect();
        let oid = size.oid;
        forecasts.insert(
            oid,
            Forecast {
                size,
                holders,
                free,
            },
        );
    }
    Ok(forecasts)
}

/// What the file system of a tablespace has left, where that is one of this machine's: where the data
/// directory is here, and its control file has the number of the very cluster that answers. That number is
/// the file's first field (`ControlFileData` in the server's `pg_control.h`).
async fn left(size: &Sizes, host: &Observe, identity: &PgIdentity) -> Result<u64, String> {
    let Some(data) = size.data_directory.as_ref().map(Path::new) else {
        return Err("this login may not see where the server's files are".to_owned());
    };
    let Some(cluster) = &identity.system_identifier else {
        return Err("this login may not see which cluster it is".to_owned());
    };
    let control = host.read_small(&data.join("global/pg_control"));
    let control = control.map_err(|_| "the server's files cannot be read from here".to_owned())?;
    let number = { control.first_chunk::<8>() }.map(|bytes| u64::from_ne_bytes(*bytes));
    if number.map(|number| number.to_string()).as_ref() != Some(cluster) {
        return Err("the server is on another machine".to_owned());
    }
    let place: PathBuf = data.join(&size.place);
    let at = host.space_at(&place).await;
    at.map(|at| at.space.available)
        .map_err(|error| error.to_string())
}

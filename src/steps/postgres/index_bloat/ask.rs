//! What is asked of the catalog about indexes, and of `pgstattuple`.

use serde::Deserialize;

use super::pages::Shape;
use crate::host::connect::postgres::sql::Sql;
use crate::steps::postgres::catalog::{LOCKED, size_of_index};

/// An index that is large enough, whatever it is.
#[derive(Debug, Deserialize)]
pub(super) struct Candidate {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub table: String,
    pub quoted: String,
    pub method: String,
    pub size_bytes: u64,
    pub valid: bool,
    pub locked: bool,
    pub shape: Shape,
}

/// Equal values share an entry where the index has no included columns, and each key's operator class says
/// that equal means alike (support function 4 of B-tree): the manual, "B-Tree Support Functions". An index
/// over an expression has statistics of its own, under its own name.
const JUDGED: &str = " AS size FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
       WHERE c.relkind = 'i' AND c.relpersistence <> 't') \
     SELECT l.indexrelid::int8 AS oid, n.nspname AS schema, l.relname AS name, \
       t.relname AS \"table\", format('%I.%I', n.nspname, l.relname) AS quoted, \
       am.amname AS method, l.size::int8 AS size_bytes, \
       l.indisvalid AND l.indisready AND l.indislive AS valid, l.locked, \
       json_build_object(\
         'block', current_setting('block_size')::int8, 'rows', l.reltuples::float8, \
         'table_rows', t.reltuples::float8, 'table_pages', t.relpages, 'table_bytes', CASE WHEN t.oid NOT IN (SELECT relation FROM held) \
           THEN pg_relation_size(t.oid) END, \
         'fillfactor', coalesce((SELECT option_value::float8 FROM pg_options_to_table(l.reloptions) \
           WHERE option_name = 'fillfactor'), 90), \
         'deduplicates', NOT l.indisunique AND l.indnatts = l.indnkeyatts \
           AND coalesce((SELECT option_value::bool FROM pg_options_to_table(l.reloptions) \
             WHERE option_name = 'deduplicate_items'), true) \
           AND NOT EXISTS (SELECT FROM generate_series(0, l.indnkeyatts - 1) AS at \
             JOIN pg_opclass o ON o.oid = l.indclass[at] \
             LEFT JOIN pg_amproc p ON p.amprocfamily = o.opcfamily AND p.amprocnum = 4 \
               AND p.amproclefttype = o.opcintype AND p.amprocrighttype = o.opcintype \
             LEFT JOIN pg_collation k ON k.oid = l.indcollation[at] \
             WHERE p.oid IS NULL OR NOT coalesce(k.collisdeterministic, true)), \
         'columns', (SELECT json_agg(json_build_object(\
             'width', s.avg_width, 'nulls', s.null_frac, 'distinct', s.n_distinct, \
             'length', a.attlen, 'align', a.attalign, 'computed', ta.attname IS NULL) ORDER BY a.attnum) \
           FROM pg_attribute a \
           LEFT JOIN pg_attribute ta ON ta.attrelid = l.indrelid \
             AND ta.attnum = l.indkey[a.attnum - 1] AND ta.attnum > 0 \
           LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND NOT s.inherited \
             AND s.tablename = CASE WHEN ta.attname IS NULL THEN l.relname ELSE t.relname END \
             AND s.attname = coalesce(ta.attname, a.attname) \
           WHERE a.attrelid = l.indexrelid AND a.attnum > 0)) AS shape \
     FROM large l JOIN pg_class t ON t.oid = l.indrelid \
     JOIN pg_namespace n ON n.oid = l.relnamespace JOIN pg_am am ON am.oid = l.relam \
     WHERE l.size >= $1 AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
     ORDER BY l.size DESC, n.nspname, l.relname";

pub(super) fn candidates() -> Sql {
    let sql = Sql::new("WITH held AS MATERIALIZED ").then(LOCKED).then(
        ", large AS MATERIALIZED (\
         SELECT i.*, c.relname, c.relam, c.reltuples, c.reloptions, c.relnamespace, \
           c.oid IN (SELECT relation FROM held) AS locked, ",
    );
    size_of_index(sql).then(JUDGED)
}

/// Where `pgstatindex()` is, if it is there.
#[derive(Debug, Deserialize)]
pub(super) struct Counter {
    pub schema: String,
    pub callable: bool,
}

pub(super) const COUNTER: &str = "SELECT n.nspname AS schema, \
     has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(n.oid, 'USAGE') AS callable \
     FROM pg_extension e \
     JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid \
       AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' \
     JOIN pg_proc p ON p.oid = d.objid AND p.proname = 'pgstatindex' \
       AND p.pronargs = 1 AND p.proargtypes[0] = 'regclass'::regtype \
     JOIN pg_namespace n ON n.oid = p.pronamespace WHERE e.extname = 'pgstattuple'";

/// It waits for nobody's lock for longer than a moment.
pub(super) fn count(counter: &Counter) -> Sql {
    Sql::new(
        "SELECT s.index_size, s.internal_pages, s.leaf_pages, \
         CASE WHEN s.leaf_pages > 0 THEN s.avg_leaf_density END AS density \
         FROM (SELECT set_config('lock_timeout', '500ms', true) AS set OFFSET 0) AS first, LATERAL ",
    )
    .qualified(&counter.schema, "pgstatindex")
    .then("(CASE WHEN first.set IS NOT NULL THEN $1::oid::regclass END) AS s")
}

//! The extension `pg_stat_statements`: whether there is something to read, where, and in which columns.

use serde::Deserialize;

/// What is known of the extension.
#[derive(Debug, Deserialize)]
pub(super) struct Extension {
    database: String,
    pub version: Option<String>,
    schema: Option<String>,
    /// Whether the server has the files for it.
    available: bool,
    preloaded: bool,
    counting: bool,
    readable: Option<bool>,
    /// Whether times have the names of 1.8 and later.
    renamed: Option<bool>,
    has_info: Option<bool>,
}

// The settings of a library are there once the server has loaded it at its start. Which columns the view
// has is asked of the view itself: it is as old as the last CREATE or ALTER EXTENSION, whatever the
// server's version. PostgreSQL's manual, "pg_stat_statements"; `total_time` became `total_exec_time` in
// version 1.8 of the extension (PostgreSQL 13).
pub(super) const EXTENSION: &str = "SELECT current_database() AS database, e.extversion AS version, \
     n.nspname AS schema, \
     EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available, \
     EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max') AS preloaded, \
     coalesce(current_setting('compute_query_id', true), 'auto') <> 'off' \
       AND coalesce(current_setting('pg_stat_statements.track', true), 'top') <> 'none' AS counting, \
     has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(v.oid, 'SELECT') AS readable, \
     EXISTS (SELECT FROM pg_attribute \
       WHERE attrelid = v.oid AND attname = 'total_exec_time') AS renamed, \
     EXISTS (SELECT FROM pg_class i WHERE i.relnamespace = n.oid \
       AND i.relname = 'pg_stat_statements_info' AND has_table_privilege(i.oid, 'SELECT')) AS has_info \
     FROM (SELECT) AS one \
     LEFT JOIN pg_extension e ON e.extname = 'pg_stat_statements' \
     LEFT JOIN pg_namespace n ON n.oid = e.extnamespace \
     LEFT JOIN pg_class v ON v.relnamespace = n.oid AND v.relname = 'pg_stat_statements'";

/// Where statements can be read.
pub(super) struct Source<'a> {
    pub schema: &'a str,
    /// What follows `total_`, `mean_` and `max_` in the columns' names.
    pub renamed: bool,
    pub has_info: bool,
}

impl Extension {
    /// Where to read; else why not, and what to do.
    pub fn source(&self) -> Result<Source<'_>, (String, String)> {
        let database = &self.database;
        let preload =
            "add `pg_stat_statements` to `shared_preload_libraries` and restart the server";
        let Some(schema) = &self.schema else {
            let message = format!(
                "database {database} does not have the extension pg_stat_statements, so nobody counts \
                 what its statements take"
            );
            let create = "`CREATE EXTENSION pg_stat_statements` in it";
            let help = match (self.available, self.preloaded) {
                (false, _) => format!(
                    "install PostgreSQL's contrib modules on the server's machine, {preload}, then \
                     {create}"
                ),
                (true, false) => format!("{preload}, then {create}"),
                (true, true) => create.to_owned(),
            };
            return Err((message, help));
        };
        if !self.preloaded {
            let message = "the extension pg_stat_statements is there, and the server has not loaded its \
                           library at its start, so it counts nothing";
            return Err((message.to_owned(), preload.to_owned()));
        }
        if self.readable != Some(true) {
            let message = "this login may not read what pg_stat_statements has counted";
            let help = "`GRANT USAGE` on its schema and `GRANT SELECT` on its view, and make the login a \
                        member of `pg_read_all_stats`";
            return Err((message.to_owned(), help.to_owned()));
        }
        if !self.counting {
            let message = "pg_stat_statements is there, and is told to count nothing";
            let help = "set `compute_query_id = auto` and `pg_stat_statements.track = top`";
            return Err((message.to_owned(), help.to_owned()));
        }
        Ok(Source {
            schema,
            renamed: self.renamed == Some(true),
            has_info: self.has_info == Some(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Extension;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_said_with_its_cure() {
        let cure = |facts: serde_json::Value| {
            let mut whole = json!({ "database": "shop", "version": "1.10", "schema": "public",
                "available": true, "preloaded": true, "counting": true, "readable": true, "renamed": true,
                "has_info": true });
            let into = whole.as_object_mut().unwrap();
            into.extend(facts.as_object().unwrap().clone());
            let extension: Extension = serde_json::from_value(whole).unwrap();
            extension.source().err().map(|(_, help)| help)
        };
        assert_eq!(cure(json!({})), None);
        let absent = cure(json!({ "schema": null })).unwrap();
        assert_eq!(absent, "`CREATE EXTENSION pg_stat_statements` in it");
        let absent = cure(json!({ "schema": null, "preloaded": false, "available": false }));
        assert!(absent.unwrap().contains("contrib"));
        let unloaded = cure(json!({ "preloaded": false })).unwrap();
        assert!(unloaded.contains("shared_preload_libraries"));
        let closed = cure(json!({ "readable": false })).unwrap();
        assert!(closed.contains("GRANT SELECT"));
    }
}

//! The settings that an author may give a value without a confirmation: they switch off no guard, and what
//! other statements do stays the same.

use sqlparser::ast::{ObjectName, Set};

/// PostgreSQL's manual, "Server Configuration", sorted. Not listed is what keeps triggers from firing
/// (`session_replication_role`), lets a commit be lost, keeps something out of the log, gives a query other
/// rows, or has texts read in another way.
const HARMLESS: &[&str] = &[
    "application_name",
    "client_min_messages",
    "datestyle",
    "effective_cache_size",
    "effective_io_concurrency",
    "from_collapse_limit",
    "geqo",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "join_collapse_limit",
    "lock_timeout",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "plan_cache_mode",
    "random_page_cost",
    "search_path",
    "seq_page_cost",
    "statement_timeout",
    "temp_buffers",
    "timezone",
    "transaction_timeout",
    "work_mem",
];

/// Whether it only sets what is harmless.
pub(super) fn is_harmless(set: &Set) -> bool {
    match set {
        Set::SingleAssignment {
            hivevar,
            variable: ObjectName(parts),
            values,
            ..
        } => {
            let [name] = parts.as_slice() else {
                return false;
            };
            let Some(name) = name.as_ident() else {
                return false;
            };
            // Names of settings are compared without regard to case, quoted or not.
            let name = name.value.to_ascii_lowercase();
            // Where PostgreSQL's own schema is not the first, other functions and operators can stand in
            // for its own.
            let hides = |value: &_| format!("{value}").to_lowercase().contains("pg_catalog");
            let hides = name == "search_path" && values.iter().any(hides);
            !hivevar && !hides && HARMLESS.binary_search(&name.as_str()).is_ok()
        }
        Set::SetTimeZone { .. } | Set::SetTransaction { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_sorted() {
        assert!(super::HARMLESS.is_sorted(), "sorted, for the search in it");
    }
}

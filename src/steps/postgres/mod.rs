//! `postgres.*`: PostgreSQL databases.

pub(super) mod ping;

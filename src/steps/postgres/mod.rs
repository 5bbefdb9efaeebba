//! `postgres.*`: PostgreSQL databases.

pub(super) mod activity;
mod asking;
pub(super) mod execute;
pub(super) mod ping;
pub(super) mod query;
mod text;

//! `postgres.*`: PostgreSQL databases.

pub(super) mod activity;
pub(super) mod analyze;
mod asking;
pub(super) mod cancel;
pub(super) mod execute;
mod limits;
pub(super) mod locks;
pub(super) mod ping;
pub(super) mod purge;
pub(super) mod query;
pub(super) mod ready;
mod relation;
pub(super) mod replication;
mod rewrite;
mod sequence;
pub(super) mod sequences;
pub(super) mod settings;
pub(super) mod slow_queries;
mod tables;
pub(super) mod terminate;
mod text;
pub(super) mod vacuum;
mod victims;
mod window;
pub(super) mod wraparound;

//! `redis.*`: Redis servers.

mod asking;
pub(super) mod delete;
mod facts;
pub(super) mod get;
pub(super) mod info;
mod judge;
mod keys;
mod limits;
pub(super) mod ping;
pub(super) mod purge;
pub(super) mod set;
pub(super) mod slowlog;

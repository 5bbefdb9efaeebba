//! `redis.*`: Redis servers.

pub(super) mod ping;

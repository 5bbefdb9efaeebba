//! `service.*`: units of this machine's systemd.

mod act;
pub(super) mod check;
mod find;
mod judge;
mod order;
pub(super) mod reload;
pub(super) mod restart;
pub(super) mod start;
pub(super) mod stop;

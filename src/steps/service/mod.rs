//! `service.*`: units of this machine's systemd.

pub(super) mod check;
mod judge;

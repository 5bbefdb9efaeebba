//! The step types: one file each, in folders by domain. This is the one list of them.

mod exec;
mod flow;
mod host;
mod http;
mod latency;
mod log;
mod postgres;
mod reach;
mod redis;
mod service;

use crate::step::{Acts, AnyStep, Generics, Looks, Registry};

/// Every step type. One line each; the order does not matter.
pub const ALL: &[&dyn AnyStep] = &[
    Generics::<exec::command::Command>::ENTRY,
    Generics::<exec::pipeline::Pipeline>::ENTRY,
    Generics::<exec::script::Script>::ENTRY,
    Looks::<flow::assert::Assert>::ENTRY,
    Looks::<flow::set::Set>::ENTRY,
    Looks::<flow::wait::Wait>::ENTRY,
    Looks::<host::cpu::Cpu>::ENTRY,
    Looks::<host::disk::Disk>::ENTRY,
    Looks::<host::load::Load>::ENTRY,
    Looks::<host::memory::Memory>::ENTRY,
    Looks::<host::processes::Processes>::ENTRY,
    Looks::<http::check::Check>::ENTRY,
    Looks::<log::scan::Scan>::ENTRY,
    Looks::<postgres::activity::Activity>::ENTRY,
    Acts::<postgres::analyze::Analyze>::ENTRY,
    Acts::<postgres::cancel::Cancel>::ENTRY,
    Acts::<postgres::execute::Execute>::ENTRY,
    Looks::<postgres::index_bloat::IndexBloat>::ENTRY,
    Looks::<postgres::invalid_indexes::InvalidIndexes>::ENTRY,
    Looks::<postgres::locks::Locks>::ENTRY,
    Looks::<postgres::ping::Ping>::ENTRY,
    Acts::<postgres::purge::Purge>::ENTRY,
    Looks::<postgres::query::Query>::ENTRY,
    Looks::<postgres::ready::Ready>::ENTRY,
    Acts::<postgres::reindex::Reindex>::ENTRY,
    Looks::<postgres::replication::Replication>::ENTRY,
    Acts::<postgres::sequences::Sequences>::ENTRY,
    Looks::<postgres::settings::Settings>::ENTRY,
    Looks::<postgres::slow_queries::SlowQueries>::ENTRY,
    Looks::<postgres::table_sizes::TableSizes>::ENTRY,
    Acts::<postgres::terminate::Terminate>::ENTRY,
    Looks::<postgres::unused_indexes::UnusedIndexes>::ENTRY,
    Acts::<postgres::vacuum::Vacuum>::ENTRY,
    Looks::<postgres::wraparound::Wraparound>::ENTRY,
    Acts::<redis::delete::Delete>::ENTRY,
    Looks::<redis::get::Get>::ENTRY,
    Looks::<redis::info::Info>::ENTRY,
    Looks::<redis::ping::Ping>::ENTRY,
    Acts::<redis::purge::Purge>::ENTRY,
    Acts::<redis::set::Set>::ENTRY,
    Looks::<redis::slowlog::Slowlog>::ENTRY,
    Looks::<service::check::Check>::ENTRY,
    Acts::<service::reload::Reload>::ENTRY,
    Acts::<service::restart::Restart>::ENTRY,
    Acts::<service::start::Start>::ENTRY,
    Acts::<service::stop::Stop>::ENTRY,
];

/// The registry of all step types.
pub fn registry() -> Registry {
    Registry::new(ALL)
}

//! The step types: one file each, in folders by domain. This is the one list of them.

mod exec;
mod flow;
mod http;
mod latency;
mod postgres;
mod reach;
mod redis;
mod service;

use crate::step::{AnyStep, Generics, Looks, Registry};

/// Every step type. One line each; the order does not matter.
pub const ALL: &[&dyn AnyStep] = &[
    Generics::<exec::command::Command>::ENTRY,
    Generics::<exec::pipeline::Pipeline>::ENTRY,
    Generics::<exec::script::Script>::ENTRY,
    Looks::<flow::assert::Assert>::ENTRY,
    Looks::<flow::set::Set>::ENTRY,
    Looks::<flow::wait::Wait>::ENTRY,
    Looks::<http::check::Check>::ENTRY,
    Looks::<postgres::ping::Ping>::ENTRY,
    Looks::<redis::ping::Ping>::ENTRY,
    Looks::<service::check::Check>::ENTRY,
];

/// The registry of all step types.
pub fn registry() -> Registry {
    Registry::new(ALL)
}

//! What tests stand on: real servers, scripted ones, and the program itself.
//!
//! One file a fixture. A fixture that cannot be had fails the test and says what to install; nothing
//! skips. What is started here dies with the test process, however that ends: see `lifetime`.

#![allow(dead_code, reason = "fixtures offer more than the tests of today use")]

pub mod certificates;
pub mod daemon;
pub mod disk;
pub mod fuse;
pub mod http;
pub mod judge;
pub mod lifetime;
pub mod moto;
pub mod net;
pub mod oracle;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod run;
pub mod session;
pub mod shop;
pub mod syslog;
pub mod systemd;
pub mod tracer;
pub mod wait;

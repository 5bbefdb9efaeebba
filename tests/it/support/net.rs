//! Ports for servers, and the ends of the network that never answer.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex};

/// Ports for servers come from below the range that Linux gives to outgoing connections (32768 up, see
/// ip(7)), so that no client takes one between our look and the server's start.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A loopback port that nothing listens on, and that is given once in this process.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut given = GIVEN.lock().unwrap();
    // Test processes side by side begin at different places.
    let span = u32::from(RANGE.end - RANGE.start);
    let first = std::process::id().wrapping_mul(97) % span;
    for port in RANGE.cycle().skip(first as usize).take(span as usize) {
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free loopback port in {RANGE:?}");
}

/// A port on which connections are taken (by the kernel, for nobody accepts them) and never answered.
pub struct BlackHole {
    listener: TcpListener,
}

impl BlackHole {
    pub fn open() -> BlackHole {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be bound");
        BlackHole { listener }
    }

    pub fn port(&self) -> u16 {
        self.listener
            .local_addr()
            .expect("a bound socket has an address")
            .port()
    }
}

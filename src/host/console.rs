//! The terminal of the run: what is typed there.

use std::io::{BufRead as _, IsTerminal as _};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Whether somebody is there to be asked.
pub fn is_attended() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// The lines that are typed from now on. They are read on a thread of their own, which ends with the
/// process.
pub fn lines() -> UnboundedReceiver<String> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

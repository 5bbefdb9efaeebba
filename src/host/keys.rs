//! The keys of the state folder: `keys/`, for their owner alone.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use super::store::{IfExists, write_whole};
use super::{HostError, StateDir};

impl StateDir {
    /// The key of keyed digests, made on first use. 32 random bytes in `keys/digest.key`, 0600.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn digest_key(&self) -> Result<Vec<u8>, HostError> {
        let path = self.path().join("keys/digest.key");
        let action = || format!("make the key {}", path.display());
        for _ in 0..2 {
            match std::fs::read(&path) {
                Ok(key) if key.len() == 32 => return Ok(key),
                Ok(key) => {
                    let cause = format!("it has {} bytes instead of 32", key.len());
                    return Err(HostError::permanent(
                        format!("use the key {}", path.display()),
                        cause,
                    ));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(HostError::io(format!("read {}", path.display()), &error));
                }
            }
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|e| HostError::permanent(action(), e.to_string()))?;
            match write_whole(&path, &key, 0o600, IfExists::Refuse) {
                Ok(()) => return Ok(key.to_vec()),
                // Another run made it meanwhile: read that one.
                Err(_) if path.exists() => {}
                Err(error) => return Err(error),
            }
        }
        Err(HostError::permanent(action(), "it keeps changing"))
    }
}

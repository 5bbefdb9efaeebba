//! The keys that sign checkpoints: Ed25519 (RFC 8032), in files that openssl reads.
//!
//! The private one is PKCS #8 in PEM, the public one SPKI in PEM; in records a public key stands as
//! its 32 bytes in base64, and is named by the SHA-256 of these bytes.

use std::fmt;
use std::io::{Read as _, Seek as _, SeekFrom};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    KeypairBytes,
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::checkpoint::CHECKPOINT_KIND;
use super::record::Digest;
use crate::host::{HostError, StateDir, records};

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key that `text` holds: SPKI in PEM, or its 32 bytes in base64.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.starts_with("-----BEGIN") {
            return VerifyingKey::from_public_key_pem(text).ok().map(Self);
        }
        let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok().map(Self)
    }

    /// What records call it: the SHA-256 of its 32 bytes.
    pub fn id(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// Whether `signature`, in base64, is this key's under `message`.
    pub fn has_signed(&self, message: &str, signature: &str) -> bool {
        let signature = STANDARD.decode(signature).ok();
        signature
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .is_some_and(|signature| self.0.verify_strict(message.as_bytes(), &signature).is_ok())
    }

    /// For a file: SPKI in PEM.
    pub(super) fn to_pem(&self) -> Result<String, String> {
        let pem = self.0.to_public_key_pem(LineEnding::LF);
        pem.map_err(|error| error.to_string())
    }
}

/// In base64, as it stands in records.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0.as_bytes()))
    }
}

/// A private key.
pub struct Signer(SigningKey);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public().id())
    }
}

impl Signer {
    /// The one of `state`; `None` where none was made.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn load(state: &StateDir) -> Result<Option<Self>, HostError> {
        match state.read_checkpoint_key()? {
            Some(text) => Self::read(&text, state).map(Some),
            None if is_signed(state)? => {
                let action = format!("use the key {}", state.checkpoint_key().display());
                let error = HostError::permanent(action, "it is gone, and the ledger is signed");
                Err(error.with_help(
                    "bring it back; if it is lost, `runbook audit keygen --replace` makes another one",
                ))
            }
            None => Ok(None),
        }
    }

    /// The one of `state` that a new one is to replace, while that one is being made.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub(super) fn load_old(state: &StateDir) -> Result<Option<Self>, HostError> {
        let text = state.read_old_checkpoint_key()?;
        text.map(|text| Self::read(&text, state)).transpose()
    }

    /// One whose making was cut off, else a new one, which is kept beside the one in use.
    ///
    /// # Errors
    /// When it can be neither read nor kept.
    pub(super) fn load_new(state: &StateDir) -> Result<Self, HostError> {
        if let Some(text) = state.read_new_checkpoint_key()? {
            return Self::read(&text, state);
        }
        let wrong = |cause: String| HostError::permanent("make a key", cause);
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| wrong(e.to_string()))?;
        let key = SigningKey::from_bytes(&secret);
        // The first version of PKCS #8, without the public half: openssl 3.0 does not read the second.
        let bytes = KeypairBytes {
            secret_key: secret,
            public_key: None,
        };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF);
        state.keep_new_checkpoint_key(&pem.map_err(|e| wrong(e.to_string()))?)?;
        Ok(Self(key))
    }

    /// Takes the new key, which this is, into use.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn take(&self, state: &StateDir) -> Result<(), HostError> {
        let public = self.public().to_pem();
        let public = public.map_err(|cause| HostError::permanent("make a key", cause))?;
        state.take_new_checkpoint_key(&public)
    }

    fn read(text: &str, state: &StateDir) -> Result<Self, HostError> {
        SigningKey::from_pkcs8_pem(text).map(Self).map_err(|error| {
            let action = format!("use the key {}", state.checkpoint_key().display());
            HostError::permanent(action, format!("it is no Ed25519 key in PEM ({error})"))
        })
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Its signature under `message`, in base64.
    pub(super) fn sign(&self, message: &str) -> String {
        STANDARD.encode(self.0.sign(message.as_bytes()).to_bytes())
    }
}

/// How much of the ledger's end is looked at for signatures, in bytes: the lines of some hundred runs
/// that have not ended.
const LOOKED_AT: u64 = 64 << 10;

/// Whether signatures stand at the ledger's end: each run's end has had one since there was a key.
fn is_signed(state: &StateDir) -> Result<bool, HostError> {
    let path = state.ledger();
    let error = |e: &std::io::Error| HostError::io(format!("read {}", path.display()), e);
    let Some(mut file) = records::open(&path)? else {
        return Ok(false);
    };
    let length = file.metadata().map_err(|e| error(&e))?.len();
    let start = length.saturating_sub(LOOKED_AT);
    file.seek(SeekFrom::Start(start)).map_err(|e| error(&e))?;
    let mut end = Vec::new();
    file.take(LOOKED_AT)
        .read_to_end(&mut end)
        .map_err(|e| error(&e))?;
    let kind = format!("\"kind\":\"{CHECKPOINT_KIND}\"");
    Ok(memchr::memmem::find(&end, kind.as_bytes()).is_some())
}

//! Keys that nobody can guess.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of randomness in a key: as many as its digest has.
const KEY_BYTES: usize = 32;

/// A key that was just made; never shown but to whoever asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct RandomKey(String);

/// The system has no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers")]
pub struct NoRandomNumbers;

impl RandomKey {
    /// A key that begins with `prefix`, of the system's own random numbers. It is good for nothing until a store knows
    /// its digest.
    ///
    /// # Errors
    /// When there are none.
    pub fn generate(prefix: &str) -> Result<Self, NoRandomNumbers> {
        let mut bytes = [0; KEY_BYTES];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut bytes).map_err(|_| NoRandomNumbers)?;
        // Letters, digits, `-` and `_`: all may stand behind `Bearer`.
        Ok(Self(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RandomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use skein_shared::config::is_bearer_token;

    use super::*;

    #[test]
    fn a_key_can_be_sent_and_is_not_shown_and_no_two_are_the_same() {
        let keys = [RandomKey::generate("sk_").unwrap(), RandomKey::generate("sk_").unwrap()];
        for key in &keys {
            let (prefix, random) = key.expose().split_at(3);
            assert_eq!((prefix, random.len()), ("sk_", 43));
            assert!(is_bearer_token(key.expose()));
            assert!(!format!("{key:?}").contains(random));
        }
        assert_ne!(keys[0], keys[1]);
    }
}

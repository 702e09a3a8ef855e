//! What an API key is called where it must not be shown.

use std::fmt;
use std::str::FromStr;

/// Bytes of a key's digest that its id shows. Among a million keys, two share them once in 37 million times; what they
/// reveal of a random key is nothing.
const BYTES: usize = 8;
/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;
const PREFIX: &str = "key_";

/// The public id of an API key: the beginning of its digest. It is known as soon as the digest is, so keys that were
/// made before there were ids have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; BYTES]);

/// Text that is no id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a key")]
pub struct MalformedKeyId;

impl KeyId {
    /// The id of the key with this digest.
    #[must_use]
    pub fn of(digest: &[u8; DIGEST_BYTES]) -> Self {
        let mut id = [0; BYTES];
        id.copy_from_slice(&digest[..BYTES]);
        Self(id)
    }

    /// The smallest digest that has this id.
    #[must_use]
    pub fn first_digest(self) -> [u8; DIGEST_BYTES] {
        self.digest_ending_with(0)
    }

    /// The largest digest that has this id.
    #[must_use]
    pub fn last_digest(self) -> [u8; DIGEST_BYTES] {
        self.digest_ending_with(u8::MAX)
    }

    fn digest_ending_with(self, byte: u8) -> [u8; DIGEST_BYTES] {
        let mut digest = [byte; DIGEST_BYTES];
        digest[..BYTES].copy_from_slice(&self.0);
        digest
    }
}

/// `key_` and 16 hex digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:016x}", u64::from_be_bytes(self.0))
    }
}

impl FromStr for KeyId {
    type Err = MalformedKeyId;

    fn from_str(text: &str) -> Result<Self, MalformedKeyId> {
        let digits = text.strip_prefix(PREFIX).ok_or(MalformedKeyId)?;
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if digits.len() != 2 * BYTES || !digits.bytes().all(is_hex) {
            return Err(MalformedKeyId);
        }
        let number = u64::from_str_radix(digits, 16).map_err(|_| MalformedKeyId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_beginning_of_a_digest() {
        let mut digest = [0x5a; DIGEST_BYTES];
        digest[0] = 0x01;
        let id = KeyId::of(&digest);
        assert_eq!(id.to_string(), "key_015a5a5a5a5a5a5a");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.first_digest() < digest && digest < id.last_digest());
        assert_eq!((KeyId::of(&id.first_digest()), KeyId::of(&id.last_digest())), (id, id));
    }

    #[test]
    fn anything_else_is_no_id() {
        for text in [
            "",
            "key_",
            "015a5a5a5a5a5a5a",
            "key_015a5a5a5a5a5a5",
            "key_015a5a5a5a5a5a5a5",
            "key_015A5A5A5A5A5A5A",
            "key_+15a5a5a5a5a5a5a",
            "sk_015a5a5a5a5a5a5a",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(MalformedKeyId), "{text}");
        }
    }
}

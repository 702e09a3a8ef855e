//! The key that a provider is shown.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use reqwest::header::HeaderValue;

/// Bytes of a key at most. The longest in use are tokens of a kilobyte or two.
const KEY_BYTES_MAX: usize = 8 * 1024;

/// A provider's key; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderKey(String);

impl ProviderKey {
    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key behind `scheme`, as the value of a header that nobody prints. `None` when it cannot be one.
    pub(super) fn header(&self, scheme: &str) -> Option<HeaderValue> {
        if self.0.is_empty() || self.0.len() > KEY_BYTES_MAX || !self.0.is_ascii() {
            return None;
        }
        let mut value = HeaderValue::from_str(&format!("{scheme}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl FromStr for ProviderKey {
    type Err = Infallible;

    /// Takes any text: clap prints what a parser refuses, and this is a secret.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

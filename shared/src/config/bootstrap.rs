//! The key that exists without anybody having made it.

use std::fmt;

use super::ConfigError;
use super::guessable::is_guessable;
use crate::domain::limits::IDENTITY_CHARS_MAX;
use crate::domain::tenant::Identity;

const VARIABLE: &str = "SKEIN_BOOTSTRAP_KEY";

/// Characters of the bootstrap key at least. It is the only key that a person may choose, so it is
/// the only one that could be guessed.
pub const BOOTSTRAP_KEY_CHARS_MIN: usize = 16;
/// Characters of any API key at most: it is hashed with every request.
pub const KEY_CHARS_MAX: usize = 256;

/// An API key that must exist after start, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct BootstrapArgs {
    /// An API key that must exist after start: for tests and first installs.
    #[arg(long, env = VARIABLE, hide_env_values = true, value_name = "KEY", value_parser = hidden)]
    pub bootstrap_key: Option<BootstrapKey>,
    /// The organization that the key stands for.
    #[arg(
        long,
        env = "SKEIN_BOOTSTRAP_ORGANIZATION",
        default_value = "default",
        value_name = "NAME"
    )]
    pub bootstrap_organization: String,
    /// The workspace that the key stands for.
    #[arg(long, env = "SKEIN_BOOTSTRAP_WORKSPACE", default_value = "default", value_name = "NAME")]
    pub bootstrap_workspace: String,
    /// The user that the key stands for.
    #[arg(long, env = "SKEIN_BOOTSTRAP_USER", default_value = "bootstrap", value_name = "NAME")]
    pub bootstrap_user: String,
}

/// An API key as somebody wrote it; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapKey(String);

impl BootstrapKey {
    /// A key from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BootstrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Takes any text: clap prints what a parser refuses, and this is a secret.
#[expect(clippy::unnecessary_wraps, reason = "the signature of a clap value parser")]
fn hidden(text: &str) -> Result<BootstrapKey, std::convert::Infallible> {
    Ok(BootstrapKey::new(text))
}

impl BootstrapArgs {
    /// The key and what it stands for, if there is to be one.
    ///
    /// # Errors
    /// When the key is too short or too long, could be guessed, holds characters that cannot be sent in an
    /// `Authorization: Bearer` header, or stands for a name that is empty or too long.
    pub fn key(&self) -> Result<Option<(&BootstrapKey, Identity)>, ConfigError> {
        let Some(key) = &self.bootstrap_key else { return Ok(None) };
        let text = key.expose();
        if !(BOOTSTRAP_KEY_CHARS_MIN..=KEY_CHARS_MAX).contains(&text.len()) {
            return Err(ConfigError::new(
                VARIABLE,
                format!("must have {BOOTSTRAP_KEY_CHARS_MIN} to {KEY_CHARS_MAX} characters"),
            ));
        }
        if !is_bearer_token(text) {
            return Err(ConfigError::new(
                VARIABLE,
                "may hold letters, digits and - . _ ~ + / only (and = at its end)",
            ));
        }
        if is_guessable(text) {
            return Err(ConfigError::new(
                VARIABLE,
                "could be guessed: it is made of known words, sequences or repetitions; take a random one, as \
                 `openssl rand -hex 24` prints",
            ));
        }
        for (name, value) in [
            ("SKEIN_BOOTSTRAP_ORGANIZATION", &self.bootstrap_organization),
            ("SKEIN_BOOTSTRAP_WORKSPACE", &self.bootstrap_workspace),
            ("SKEIN_BOOTSTRAP_USER", &self.bootstrap_user),
        ] {
            if value.trim().is_empty()
                || value.chars().any(char::is_control)
                || value.chars().count() > IDENTITY_CHARS_MAX
            {
                let message = format!("must be a name of at most {IDENTITY_CHARS_MAX} characters");
                return Err(ConfigError::new(name, message));
            }
        }
        let identity = Identity::new(
            self.bootstrap_organization.as_str(),
            self.bootstrap_workspace.as_str(),
            self.bootstrap_user.as_str(),
        );
        Ok(Some((key, identity)))
    }
}

/// Whether the text can stand after `Bearer ` (RFC 6750, `b68token`).
#[must_use]
pub fn is_bearer_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(key: &str) -> BootstrapArgs {
        BootstrapArgs {
            bootstrap_key: Some(BootstrapKey::new(key)),
            bootstrap_organization: "acme".into(),
            bootstrap_workspace: "research".into(),
            bootstrap_user: "ada".into(),
        }
    }

    #[test]
    fn a_key_stands_for_an_identity_and_is_never_shown() {
        let args = args("s3cret-wR7pQ2xK9mVt==");
        let (key, identity) = args.key().unwrap().unwrap();
        assert_eq!(key.expose(), "s3cret-wR7pQ2xK9mVt==");
        assert_eq!(identity, Identity::new("acme", "research", "ada"));
        assert!(!format!("{args:?}").contains("s3cret"));
    }

    #[test]
    fn keys_that_could_be_guessed_or_not_be_sent_are_refused() {
        let long = "x".repeat(KEY_CHARS_MAX + 1);
        for key in
            ["", "s3cret", "s3cret with spaces", "s3cretäöüs3cretäöü", "================", &long]
        {
            let error = args(key).key().unwrap_err();
            assert_eq!(error.name, "SKEIN_BOOTSTRAP_KEY");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        for weak in ["changemechangeme", "s3cret-s3cret-s3cret"] {
            let error = args(weak).key().unwrap_err().to_string();
            assert!(error.contains("openssl rand") && !error.contains(weak), "{error}");
        }
        for name in [" ".to_owned(), "n".repeat(IDENTITY_CHARS_MAX + 1)] {
            let mut unnamed = args("s3cret-wR7pQ2xK9mVt==");
            unnamed.bootstrap_user = name;
            assert_eq!(unnamed.key().unwrap_err().name, "SKEIN_BOOTSTRAP_USER");
        }
    }
}

//! Configuration that several programs share: one `Args` struct a concern, each field a flag and an
//! environment variable.
//!
//! Nothing here reads the environment by itself and nothing prints a password: URLs are
//! [`SecretUrl`]s, and an error names the variable and never its value.

mod bootstrap;
mod broker;
mod guessable;
mod http;
mod ops;
mod secret;
mod store;
mod trace;
mod trace_url;

pub use bootstrap::{
    BOOTSTRAP_KEY_CHARS_MIN, BootstrapArgs, BootstrapKey, KEY_CHARS_MAX, is_bearer_token,
};
pub use broker::{Amqp, BrokerArgs};
pub use http::{HttpArgs, ListenAddress};
pub use ops::{OpsAddress, OpsArgs};
pub use secret::SecretUrl;
pub use store::{StoreArgs, StoreUrl};
pub use trace::TraceArgs;
pub use trace_url::{TraceUrlArgs, TraceUrlTemplate};

/// A setting that cannot be used. Names the setting and what it may be, never what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct ConfigError {
    /// The environment variable.
    pub name: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl ConfigError {
    /// An error about the variable `name`.
    pub fn new(name: &'static str, problem: impl Into<String>) -> Self {
        Self { name, problem: problem.into() }
    }
}

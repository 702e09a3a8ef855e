//! Statements, and the databases that they go to, by what telemetry says of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The database that a store's statements go to: what all their spans and metrics say of it.
#[derive(Debug)]
pub struct Database {
    /// `postgresql` or `sqlite`.
    pub system: &'static str,
    /// The database, or the name of the file.
    pub namespace: Arc<str>,
    /// The host and the port, where it is elsewhere.
    pub server: Option<(Arc<str>, u16)>,
    /// When a span was last made of each statement that serves many.
    pub(super) shown: Mutex<HashMap<&'static str, Instant>>,
}

impl Database {
    /// A database.
    #[must_use]
    pub fn new(system: &'static str, namespace: &str, server: Option<(&str, u16)>) -> Self {
        Self {
            system,
            namespace: namespace.into(),
            server: server.map(|(host, port)| (host.into(), port)),
            shown: Mutex::default(),
        }
    }
}

/// A statement, by the name that Skein has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// The name: one of few.
    pub name: &'static str,
    /// How many requests share it, where it is one that serves many at a time.
    pub requests: Option<usize>,
}

impl Statement {
    /// One that is made for somebody, or for nobody in particular.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self { name, requests: None }
    }

    /// The same, made for so many at a time.
    #[must_use]
    pub fn serving(self, requests: usize) -> Self {
        Self { requests: Some(requests), ..self }
    }
}

/// Why a statement failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseError {
    /// A word of few values, or the database's own code.
    pub word: Cow<'static, str>,
    /// Whether it is that.
    pub is_code: bool,
}

impl DatabaseError {
    /// Nobody waits for the answer any more.
    pub(super) fn given_up() -> Self {
        Self { word: Cow::Borrowed("cancelled"), is_code: false }
    }
}

//! A provider as the operator has set it up.

use std::fmt;
use std::sync::Arc;

use super::ChatModel;
use super::wire_format::WireFormat;

/// A provider that workflows can name.
#[derive(Clone)]
pub struct Provider {
    /// What workflows call it.
    pub name: Arc<str>,
    /// What outputs and spans call it: its name, or `mock` when a script answers in its place.
    pub shown: Arc<str>,
    /// How it is spoken to.
    pub wire: WireFormat,
    /// Its models.
    pub model: Arc<dyn ChatModel>,
    /// What the OpenTelemetry conventions call it (`gen_ai.provider.name`): `openai`, `anthropic`, `gcp.gemini`, another
    /// well-known word by its host, or else its name.
    pub semconv_name: Arc<str>,
    /// The host of its URL (`server.address`).
    pub server_address: Arc<str>,
    /// The port of it (`server.port`).
    pub server_port: u16,
    /// Requests a minute that its key has, for the whole fleet.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute that its key has, for the whole fleet.
    pub tokens_per_minute: Option<u64>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("wire", &self.wire)
            .field("server_address", &self.server_address)
            .field("server_port", &self.server_port)
            .finish_non_exhaustive()
    }
}

//! The providers of models: everything between a request in neutral form and bytes on the wire.
//!
//! A node kind speaks [`ChatRequest`] and [`ChatReply`]; each wire format is one file that turns the one into bytes and
//! bytes into the other. Where a provider is and what its key is says the operator ([`ModelArgs`]), never a workflow.
//! Nothing in here retries, waits for a rate, counts money or keeps a record: whoever calls does.
//!
//! Why not a library: of those that there are, `genai` 0.7.2 comes nearest. It takes headers for each call, hands out the
//! status and the headers of errors, and lets its caller choose the API. But it cannot be bounded from outside: it gathers
//! an event of a stream, and the body of an error, for as long as bytes come, and hands them out only then; a byte that is
//! no UTF-8 and an escape of half a surrogate pair end the stream; usage that cannot be read is as if it were missing, and
//! a count of 0 reads as none; and ids of calls are taken as they come, doubled or missing.

mod answer;
mod anthropic;
mod base_url;
mod call;
mod config;
mod error;
mod google;
mod key;
mod lenient;
mod openai;
mod pace;
pub mod prices;
mod provider;
mod providers;
mod refusal;
mod reply;
mod request;
mod schema;
mod settings;
mod sse;
mod wire;
mod wire_format;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;

pub use base_url::MalformedBase;
pub use call::Call;
pub use config::ModelArgs;
pub use error::{Billing, CallError, ErrorClass};
pub use key::ProviderKey;
pub use lenient::{parse_json, parse_within};
pub use provider::Provider;
pub use providers::{NoProvider, Providers};
pub use reply::ChatReply;
pub use request::{ChatRequest, Message, ToolCall, ToolSpec};
pub use settings::{ModelSettings, ProviderSettings};
pub(crate) use sse::EventReader;
pub use wire_format::{UnknownWireFormat, WireFormat};

/// Bytes of one whole answer, decompressed: 128 Ki tokens, the longest answer of today's models, at 320 bytes an event.
pub const ANSWER_BYTES_MAX: usize = 40 * 1024 * 1024;
/// Events of one whole answer: one for each of 128 Ki tokens, and as many that carry none.
pub const EVENTS_MAX: usize = 256 * 1024;
/// Bytes of one event of a stream, or of an answer that is not streamed. [`TEXT_BYTES_MAX`] of text and
/// [`ARGUMENTS_BYTES_MAX`] of arguments fit, most of it escaped.
pub const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of the text of an answer as it is recorded, where quotes and line breaks take two: 128 Ki tokens at five and a
/// half. All that is taken of an answer can be recorded, and is room for in what a node yields.
pub const TEXT_BYTES_MAX: usize = 704 * 1024;
/// The same of an answer to a schema: 128 Ki tokens of JSON at three and a half. What a node yields holds it twice.
pub const SCHEMA_TEXT_BYTES_MAX: usize = 448 * 1024;
/// Bytes of the arguments of all tool calls of an answer together, as they are recorded. They are checked, and sent back
/// each turn.
pub const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;
/// Tool calls in one answer. Models make some; each is a request to somebody.
pub const TOOL_CALLS_MAX: usize = 64;
/// Bytes of a body that comes with an error. Providers send some hundred.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a provider's own words in an error: a sentence or two.
pub const ERROR_TEXT_BYTES_MAX: usize = 512;
/// Bytes of names and ids that a provider chooses: of a model, an answer, a tool, a reason. They stand on rows and spans.
pub const NAME_BYTES_MAX: usize = 128;
/// For the look-up of a provider's name, the connection and the TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A model behind one wire format, one URL and one key.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Makes exactly one request and reads the whole answer. MUST NOT try again, follow a redirect, or send the key to
    /// any other place than its own URL.
    ///
    /// The answer is streamed from the provider even when nobody listens, so that what is too large or too slow ends
    /// early. What it says of itself (ids, arguments, counts) MUST be bounded and MUST NOT be trusted: an id that is
    /// missing, doubled or unusual is replaced by an own one, arguments stay the text that they were, and counts that
    /// cannot be right are missing. NUL and lone surrogates, which no store can keep as text, become U+FFFD.
    ///
    /// Dropping the future abandons the request, as [`Call::cancelled`] does; what was sent may be billed all the same.
    /// A crash in the middle is the same to the provider.
    ///
    /// # Errors
    /// When there is no whole answer. [`CallError::billing`] says whether it may cost something,
    /// [`CallError::usage`] what the provider had counted by then. No message holds the key.
    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatReply, CallError>;

    /// More tokens than the input of the request can have: bytes of what is sent, and what providers put in front of
    /// it. No tokenizer makes more than one token of a byte.
    fn request_bytes(&self, request: &ChatRequest) -> usize;
}

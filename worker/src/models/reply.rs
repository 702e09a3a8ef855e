//! What a model answered.

use std::time::Duration;

use super::request::ToolCall;
use skein_shared::domain::usage::Usage;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatReply {
    /// Its text; empty when the model only called tools.
    pub text: String,
    /// The tools that it wants to have called, in its order.
    pub tool_calls: Vec<ToolCall>,
    /// What the provider counted; `None` when it did not say, not after the answer was complete, or what cannot be: far
    /// more than the request and its `max_tokens` allow.
    pub usage: Option<Usage>,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter`, or a provider's own word for anything else, in
    /// lower case. With `content_filter`, there may be no text at all.
    pub finish_reason: String,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// From the request to the first token of any kind, hidden reasoning included.
    pub time_to_first_token: Option<Duration>,
}

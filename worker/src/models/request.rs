//! What is asked of a model, whatever its provider.

use serde_json::Value;

/// One request for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model, as its provider calls it.
    pub model: String,
    /// What the model is to be and do.
    pub system: Option<String>,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// The tools that it may call.
    pub tools: Vec<ToolSpec>,
    /// A JSON Schema that the text of the answer is to match. Providers try; whoever asked MUST check.
    pub schema: Option<Value>,
    /// Tokens of the answer at most. Always sent: it bounds what the call can cost.
    pub max_tokens: u32,
    /// How much chance there is.
    pub temperature: Option<f64>,
    /// From how much of the probability tokens are chosen.
    pub top_p: Option<f64>,
    /// The seed of chance, where a provider knows one: Anthropic does not, and is not sent it.
    pub seed: Option<i64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

/// A part of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// What was said to the model.
    User(String),
    /// What it answered.
    Assistant {
        /// Its text; may be empty when it called tools.
        text: String,
        /// The tools that it called.
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool yielded. Those that answer one message of the model follow it at once.
    ToolResult {
        /// The call that it answers.
        call_id: String,
        /// The tool.
        name: String,
        /// The result, as the model is to read it.
        content: String,
        /// Whether the tool failed.
        is_error: bool,
    },
}

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name: letters, digits, `_` and `-`, up to 64.
    pub name: String,
    /// What it is for, to the model.
    pub description: String,
    /// A JSON Schema of its arguments.
    pub parameters: Value,
}

/// A tool that a model wants to have called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call within its conversation: letters, digits, `_` and `-`, up to 40. No other call of the reply or of
    /// the request's messages has it.
    pub id: String,
    /// The tool. May be none of those that the request offered.
    pub name: String,
    /// The arguments as JSON text, as the model sent it: it may be malformed. `{}` where it sent none.
    /// [`crate::models::parse_json`] reads it.
    pub arguments: String,
    /// What the provider wants to have back with this call when the conversation goes on: Google's thought signature,
    /// without which its models from Gemini 3 on refuse the conversation. MUST be left out towards another model.
    pub signature: Option<String>,
}

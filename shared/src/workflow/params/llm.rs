//! `llm`: asks a model.
//!
//! The output is `{text, json?, tool_calls?, usage, cost_usd, finish_reason, model, provider}`: `json` under a `schema`,
//! `tool_calls` when the model wants tools called, which the node does not do. `usage` and `cost_usd` are those of all
//! requests that it took; `cost_usd` is null when one of them has no price.
//!
//! # What it costs
//!
//! Each request is a step: its intent is recorded and what it may cost at most is reserved before it is sent, and what it
//! did cost when it is over. After a crash no answer that was recorded is asked for again; a request that was under way is
//! made once more, with the same `Idempotency-Key`, and both are counted.
//!
//! # When it asks again
//!
//! Where a provider asks to wait (429, 529), the node waits without a slot and asks the same again, within its `timeout`
//! from the first refusal on. Where a model does not answer (no connection, 5xx, a stream that is cut, no token in time,
//! too long a wait, a key that is not taken or has nothing left), the models of `fallback` are asked in their order; after
//! the last one it is `retry` that decides. A request that the provider finds malformed is not made again. An answer that
//! does not fit the `schema` is sent back once, with what is wrong with it; then the node fails with `invalid_output`.

mod checks;
mod schemas;
mod values;

use serde::Deserialize;
use serde_json::Value;

use super::values::Texts;
use super::{Definition, Output, Parameter, Rendered, Shape};
use crate::domain::kind::Effect;
use crate::domain::limits::MODEL_TIMEOUT_DEFAULT;

pub(super) use schemas::{max_tokens as max_tokens_schema, temperature as temperature_schema};
pub use values::{ChatMessage, ChatRole, Content, Fallback, Tool};
pub(super) use values::{MAX_TOKENS, is_max_tokens, max_tokens};

/// Tokens of an answer unless given.
pub const MAX_TOKENS_DEFAULT: u32 = 4_096;
/// Tokens of an answer at most: the longest of today's models.
pub const MAX_TOKENS_MAX: u32 = 131_072;
/// Messages of a conversation. What is longer is better said in fewer.
pub const MESSAGES_MAX: usize = 200;
/// Tools that a model is told of. Providers take 128; models choose badly among more.
pub const TOOLS_MAX: usize = 128;
/// Texts that end an answer. OpenAI takes four.
pub const STOPS_MAX: usize = 4;
/// Models that are asked in place of one that does not answer.
pub const FALLBACKS_MAX: usize = 8;

/// Rendered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmParams {
    /// Who is asked, as the operator calls it; absent for the only one that there is.
    pub provider: Option<String>,
    /// The model, as its provider calls it.
    #[serde(deserialize_with = "values::name")]
    pub model: String,
    /// What the model is to be and do.
    pub system: Option<String>,
    /// What it is asked, in place of `messages`.
    pub prompt: Option<String>,
    /// The conversation that it goes on with.
    #[serde(default, deserialize_with = "values::messages")]
    pub messages: Vec<ChatMessage>,
    /// A JSON Schema that the answer is to match.
    pub schema: Option<Value>,
    /// Tools that it may want to have called.
    #[serde(default, deserialize_with = "values::tools")]
    pub tools: Vec<Tool>,
    /// Tokens of the answer at most.
    #[serde(deserialize_with = "values::max_tokens")]
    pub max_tokens: u32,
    /// How much chance there is.
    #[serde(default, deserialize_with = "values::temperature")]
    pub temperature: Option<f64>,
    /// From how much of the probability it chooses.
    #[serde(default, deserialize_with = "values::top_p")]
    pub top_p: Option<f64>,
    /// What makes it choose the same again.
    pub seed: Option<i64>,
    /// Texts that end the answer.
    #[serde(default, deserialize_with = "values::stop")]
    pub stop: Texts,
    /// Whether whoever watches the run reads along.
    #[serde(default)]
    pub stream: bool,
    /// What is asked in place of a model that does not answer.
    #[serde(default, deserialize_with = "values::fallback")]
    pub fallback: Vec<Fallback>,
}

impl Rendered for LlmParams {}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[
        Parameter {
            name: "provider",
            shape: Shape::Text,
            required: false,
            doc: "Who is asked, by the name that the operator has given it: `openai`, `anthropic`, `google` or another. May be left out where there is one only.",
        },
        Parameter {
            name: "model",
            shape: Shape::Text,
            required: true,
            doc: "The model, as its provider calls it.",
        },
        Parameter {
            name: "system",
            shape: Shape::Text,
            required: false,
            doc: "What the model is to be and do.",
        },
        Parameter {
            name: "prompt",
            shape: Shape::Text,
            required: false,
            doc: "What it is asked, in place of `messages`.",
        },
        Parameter {
            name: "messages",
            shape: Shape::Special(schemas::messages),
            required: false,
            doc: "A conversation, as a list of `{role: user|assistant|system, content}` or an expression that yields one.",
        },
        Parameter {
            name: "schema",
            shape: Shape::Special(schemas::schema),
            required: false,
            doc: "A JSON Schema that the answer must match; the output has it as `json`.",
        },
        Parameter {
            name: "tools",
            shape: Shape::Special(schemas::tools),
            required: false,
            doc: "Tools that the model may want to have called, as a list of `{name, description, parameters}`. The node does not call them.",
        },
        Parameter {
            name: "max_tokens",
            shape: Shape::Special(schemas::max_tokens),
            required: false,
            doc: "Tokens of the answer at most, 4096 unless given.",
        },
        Parameter {
            name: "temperature",
            shape: Shape::Special(schemas::temperature),
            required: false,
            doc: "How much chance there is, from 0 to 2.",
        },
        Parameter {
            name: "top_p",
            shape: Shape::Special(schemas::top_p),
            required: false,
            doc: "From how much of the probability tokens are chosen, from 0 to 1.",
        },
        Parameter {
            name: "seed",
            shape: Shape::Special(schemas::seed),
            required: false,
            doc: "A whole number that makes a model choose the same again, where its provider knows such a thing.",
        },
        Parameter {
            name: "stop",
            shape: Shape::Special(schemas::stop),
            required: false,
            doc: "A text that ends the answer, or a list of up to four.",
        },
        Parameter {
            name: "stream",
            shape: Shape::Boolean,
            required: false,
            doc: "Whether whoever watches the run sees the answer as it comes. False unless given.",
        },
        Parameter {
            name: "fallback",
            shape: Shape::Special(schemas::fallback),
            required: false,
            doc: "Models to be asked in place of one that does not answer, as a list of `{provider?, model}`.",
        },
    ],
    chooses_branch: false,
    always_fails: false,
    // Its steps are recorded.
    effect: |_| Effect::Keyed,
    timeout: MODEL_TIMEOUT_DEFAULT,
    output: Output::Members(&[
        "text",
        "json",
        "tool_calls",
        "usage",
        "cost_usd",
        "finish_reason",
        "model",
        "provider",
    ]),
    compile: checks::compile,
};

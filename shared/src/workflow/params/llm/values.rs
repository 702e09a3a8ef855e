//! The parts of the rendered parameters, and their limits: an expression can yield anything.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::values::{Texts, mistyped, unfit};
use super::{FALLBACKS_MAX, MAX_TOKENS_MAX, MESSAGES_MAX, STOPS_MAX, TOOLS_MAX};
use crate::domain::words::words;

words!(
    /// Who says something.
    "role" ChatRole {
        /// Whoever asks.
        User = "user",
        /// The model.
        Assistant = "assistant",
        /// Whoever says what the model is to be.
        System = "system",
    }
);

/// A part of a conversation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who says it.
    pub role: ChatRole,
    /// What.
    pub content: Content,
}

/// What is said: text as it is, anything else as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content(pub String);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Null => Err(mistyped(&Value::Null, "text or other JSON")),
            value => Ok(Self(value.to_string())),
        }
    }
}

/// A tool that the model is told of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    #[serde(deserialize_with = "tool_name")]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// A JSON Schema of its arguments.
    #[serde(default = "no_arguments")]
    pub parameters: Value,
}

/// A model that is asked in place of another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Who is asked; absent for the one before.
    pub provider: Option<String>,
    /// The model.
    #[serde(deserialize_with = "name")]
    pub model: String,
}

fn no_arguments() -> Value {
    serde_json::json!({ "type": "object", "properties": {} })
}

/// Whether providers take it as the name of a tool.
pub(super) fn is_tool_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (1..=TOOL_NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_part)
}

/// Characters of a tool's name: what all providers take.
pub(super) const TOOL_NAME_CHARS_MAX: usize = 64;

pub(super) const TOOL_NAME: &str = "letters, digits, `_` and `-`, up to 64";

fn tool_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_tool_name(&name) { Ok(name) } else { Err(unfit(TOOL_NAME)) }
}

pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_name(&name) { Ok(name) } else { Err(unfit(NAME)) }
}

/// Whether it can be the name of a model: they stand on rows and spans.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

/// Bytes of a model's name.
pub(super) const NAME_BYTES_MAX: usize = 128;

pub(super) const NAME: &str = "the name of a model, of up to 128 bytes";

/// A list of so many at most; null is an empty one.
fn list<'de, D, T>(deserializer: D, max: usize, expected: &str) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) if items.len() <= max => items,
        Value::Array(_) => return Err(unfit(expected)),
        other => return Err(mistyped(&other, expected)),
    };
    // Serde's own words quote values.
    let read = |item| T::deserialize::<Value>(item).map_err(|_| unfit(expected));
    items.into_iter().map(read).collect()
}

pub(super) const MESSAGES: &str = "a list of up to 200 messages like `{role: user, content: text}`";

pub(super) fn messages<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ChatMessage>, D::Error> {
    list(deserializer, MESSAGES_MAX, MESSAGES)
}

pub(super) const TOOLS: &str =
    "a list of up to 128 tools like `{name: search, description: text, parameters: schema}`";

pub(super) fn tools<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Tool>, D::Error> {
    let tools: Vec<Tool> = list(deserializer, TOOLS_MAX, TOOLS)?;
    let is_doubled = |at: usize| tools[..at].iter().any(|tool| tool.name == tools[at].name);
    if (0..tools.len()).any(is_doubled) {
        return Err(unfit("a list of tools with a name of its own each"));
    }
    Ok(tools)
}

pub(super) const FALLBACK: &str = "a list of up to 8 models like `{provider: openai, model: name}`";

pub(super) fn fallback<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Fallback>, D::Error> {
    list(deserializer, FALLBACKS_MAX, FALLBACK)
}

pub(super) const STOP: &str = "a text, or a list of up to 4";

pub(super) fn stop<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
    let texts = Texts::deserialize(deserializer)?;
    let is_usable = texts.0.len() <= STOPS_MAX && texts.0.iter().all(|text| !text.is_empty());
    if is_usable { Ok(texts) } else { Err(unfit(STOP)) }
}

pub(in crate::workflow::params) const MAX_TOKENS: &str = "a whole number from 1 to 131072";

pub(in crate::workflow::params) fn is_max_tokens(value: &Value) -> bool {
    value.as_u64().is_some_and(|tokens| (1..=u64::from(MAX_TOKENS_MAX)).contains(&tokens))
}

pub(in crate::workflow::params) fn max_tokens<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u32, D::Error> {
    let value = checked(deserializer, is_max_tokens, MAX_TOKENS)?;
    value.as_u64().and_then(|tokens| tokens.try_into().ok()).ok_or_else(|| unfit(MAX_TOKENS))
}

pub(super) const TEMPERATURE: &str = "a number from 0 to 2";

pub(super) fn is_temperature(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| (0.0..=2.0).contains(&number))
}

pub(super) fn temperature<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    Ok(optional(deserializer, is_temperature, TEMPERATURE)?.and_then(|value| value.as_f64()))
}

pub(super) const TOP_P: &str = "a number from 0 to 1";

pub(super) fn is_top_p(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number))
}

pub(super) fn top_p<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(optional(deserializer, is_top_p, TOP_P)?.and_then(|value| value.as_f64()))
}

fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
    is_right: fn(&Value) -> bool,
    expected: &str,
) -> Result<Option<Value>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => check(value, is_right, expected).map(Some),
    }
}

fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    is_right: fn(&Value) -> bool,
    expected: &str,
) -> Result<Value, D::Error> {
    check(Value::deserialize(deserializer)?, is_right, expected)
}

fn check<E: Error>(value: Value, is_right: fn(&Value) -> bool, expected: &str) -> Result<Value, E> {
    match value {
        value if is_right(&value) => Ok(value),
        Value::Number(_) => Err(unfit(expected)),
        other => Err(mistyped(&other, expected)),
    }
}

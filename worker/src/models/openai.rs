//! Chat Completions, as OpenAI invented it and many others speak it: Ollama, vLLM, llama.cpp, gateways.
//!
//! Servers differ in what they leave out and in what they add. What is relied on: pieces of text in
//! `choices[0].delta.content`, tool calls in `delta.tool_calls`, a `finish_reason`. Usage is asked for by
//! `stream_options.include_usage` and may be missing.
//!
//! The limit of tokens has two names. OpenAI's models from `o1` and `gpt-5` on refuse `max_tokens`; many servers know only
//! that and would silently write without a limit. So `max_completion_tokens` is sent to OpenAI itself and to Azure, and
//! elsewhere for models whose names say that they are OpenAI's newer ones, which only a gateway can have; `max_tokens` in
//! all other cases.

use reqwest::Url;
use reqwest::header::{self, HeaderName};
use serde_json::{Map, Value, json};
use skein_shared::domain::usage::Usage;

use super::answer::{Answer, count};
use super::error::CallError;
use super::refusal::Refuser;
use super::request::{ChatRequest, Message, ToolCall};
use super::schema::is_strict;
use super::wire::{Decoder, Dialect, arguments_of};

/// The name of a schema, for which the format has a place.
const SCHEMA_NAME: &str = "answer";

/// Chat Completions.
pub(super) struct OpenAi {
    /// Whether OpenAI itself is spoken to, or Azure.
    pub(super) is_official: bool,
}

impl Dialect for OpenAi {
    type Decoder = Chunks;

    fn url(&self, base: &Url, _: &ChatRequest) -> Result<Url, CallError> {
        base.join("chat/completions").map_err(|_| CallError::malformed("the base URL has no place"))
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (header::AUTHORIZATION, "Bearer ")
    }

    fn body(&self, request: &ChatRequest) -> Value {
        let system = request.system.iter().map(|text| json!({"role": "system", "content": text}));
        let messages: Vec<_> = system.chain(request.messages.iter().map(message)).collect();
        let limit = match self.is_official || is_newer_model(&request.model) {
            true => "max_completion_tokens",
            false => "max_tokens",
        };
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| {
            if !value.is_null() {
                body.insert(name.to_owned(), value);
            }
        };
        set("model", json!(request.model));
        set("messages", json!(messages));
        if !request.tools.is_empty() {
            let tools = request.tools.iter().map(|tool| {
                json!({"type": "function", "function": {
                    "name": tool.name, "description": tool.description, "parameters": tool.parameters,
                }})
            });
            set("tools", tools.collect());
        }
        if let Some(schema) = &request.schema {
            set(
                "response_format",
                json!({"type": "json_schema", "json_schema": {
                    "name": SCHEMA_NAME, "schema": schema, "strict": is_strict(schema),
                }}),
            );
        }
        set(limit, json!(request.max_tokens));
        set("temperature", json!(request.temperature));
        set("top_p", json!(request.top_p));
        set("seed", json!(request.seed));
        if !request.stop.is_empty() {
            set("stop", json!(request.stop));
        }
        set("stream", json!(true));
        set("stream_options", json!({"include_usage": true}));
        Value::Object(body)
    }

    fn decoder(&self, _: &ChatRequest) -> Chunks {
        Chunks::default()
    }
}

fn message(message: &Message) -> Value {
    match message {
        Message::User(text) => json!({"role": "user", "content": text}),
        Message::Assistant { text, tool_calls } if tool_calls.is_empty() => {
            json!({"role": "assistant", "content": text})
        }
        Message::Assistant { text, tool_calls } => {
            let content = Some(text).filter(|text| !text.is_empty());
            let calls: Vec<_> = tool_calls.iter().map(call).collect();
            json!({"role": "assistant", "content": content, "tool_calls": calls})
        }
        // The format has no place for whether it failed: the content says so.
        Message::ToolResult { call_id, content, .. } => {
            json!({"role": "tool", "tool_call_id": call_id, "content": content})
        }
    }
}

fn call(call: &ToolCall) -> Value {
    let arguments = arguments_of(call).to_string();
    let mut value = json!({"id": call.id, "type": "function",
        "function": {"name": call.name, "arguments": arguments}});
    if let Some(signature) = &call.signature {
        value["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    value
}

/// Whether a model's name is one of OpenAI's reasoning models: `o1`, `o4-mini`, `gpt-5.2`, with a gateway's prefix or not.
fn is_newer_model(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let number = |rest: &str| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse::<u32>().ok()
    };
    let is_series = name.strip_prefix('o').is_some_and(|rest| {
        number(rest).is_some_and(|number| {
            let rest = rest.trim_start_matches(|char: char| char.is_ascii_digit());
            number > 0 && (rest.is_empty() || rest.starts_with('-'))
        })
    });
    let version = name.strip_prefix("gpt-").and_then(number);
    is_series || version.is_some_and(|version| version >= 5) || name.starts_with("codex-")
}

/// What OpenAI and its kin stream.
#[derive(Default)]
pub(super) struct Chunks {
    /// The place of the call of each index that the server counts by.
    places: Vec<(u64, usize)>,
    has_refused: bool,
}

impl Decoder for Chunks {
    fn event(
        &mut self,
        event: &Value,
        answer: &mut Answer<'_>,
        refuser: &Refuser<'_>,
    ) -> Result<bool, CallError> {
        if event["error"].is_object() || event["error"].is_string() {
            return Err(refuser.in_stream(event));
        }
        answer.names(event.get("model"), event.get("id"));
        let choices = event["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
        // One answer was asked for; the first is it.
        if let Some(choice) =
            choices.iter().find(|choice| choice["index"].as_u64().unwrap_or(0) == 0)
        {
            // A server that does not stream has a message in place of its pieces.
            let delta =
                if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
            self.delta(delta, answer)?;
            if let Some(reason) = choice["finish_reason"].as_str() {
                answer.finish(if self.has_refused {
                    "content_filter"
                } else {
                    finish_reason(reason)
                });
            }
        }
        let places = [
            &event["usage"],
            &choices.first().unwrap_or(&Value::Null)["usage"],
            &event["x_groq"]["usage"],
        ];
        if let Some(usage) = places.into_iter().find_map(usage) {
            answer.usage(usage);
        }
        Ok(false)
    }
}

impl Chunks {
    fn delta(&mut self, delta: &Value, answer: &mut Answer<'_>) -> Result<(), CallError> {
        for hidden in ["reasoning_content", "reasoning"] {
            if delta[hidden].as_str().is_some_and(|text| !text.is_empty()) {
                answer.hidden();
            }
        }
        match &delta["content"] {
            Value::String(text) => answer.text(text)?,
            // Mistral's reasoning models send parts.
            Value::Array(parts) => {
                for part in parts {
                    answer.text(part["text"].as_str().unwrap_or_default())?;
                }
            }
            _ => {}
        }
        if let Some(words) = delta["refusal"].as_str().filter(|words| !words.is_empty()) {
            self.has_refused = true;
            answer.text(words)?;
        }
        for (at, call) in delta["tool_calls"].as_array().into_iter().flatten().enumerate() {
            self.call(call, at, answer)?;
        }
        Ok(())
    }

    /// A piece of a call. Most servers number them; some give every call the number 0 and an id of its own, some send
    /// whole calls without a number.
    fn call(&mut self, call: &Value, at: usize, answer: &mut Answer<'_>) -> Result<(), CallError> {
        let id = call["id"].as_str().filter(|id| !id.is_empty());
        let function = &call["function"];
        let name = function["name"].as_str().unwrap_or_default();
        let index = call["index"].as_u64().unwrap_or(at as u64);
        let known = self.places.iter().rev().find(|(of, _)| *of == index).map(|(_, place)| *place);
        let known = known.filter(|place| id.is_none_or(|id| answer.is_call(*place, id)));
        let place = match known {
            Some(place) => {
                // Repeated by some servers with each piece.
                if id.is_none() {
                    answer.call_name(place, name);
                }
                place
            }
            None => {
                let place = answer.begin_call(id, name)?;
                self.places.push((index, place));
                place
            }
        };
        match &function["arguments"] {
            Value::String(piece) => answer.arguments(place, piece)?,
            Value::Null => {}
            whole => answer.arguments(place, &whole.to_string())?,
        }
        if let Some(signature) = call["extra_content"]["google"]["thought_signature"].as_str() {
            answer.signature(place, signature)?;
        }
        Ok(())
    }
}

/// The neutral word for a reason.
fn finish_reason(reason: &str) -> &str {
    match reason {
        "" | "eos" | "stop_sequence" | "end_turn" => "stop",
        "max_tokens" | "model_length" => "length",
        "function_call" | "tool_use" => "tool_calls",
        reason => reason,
    }
}

/// What was counted. Of an output that is smaller than what is left of the total, the total is right: some servers leave
/// reasoning out of it.
fn usage(value: &Value) -> Option<Usage> {
    let input_tokens = count(&value["prompt_tokens"])?;
    let output_tokens = count(&value["completion_tokens"])?;
    let total = count(&value["total_tokens"]).unwrap_or_default();
    let details = &value["prompt_tokens_details"];
    let cached =
        count(&details["cached_tokens"]).or_else(|| count(&value["prompt_cache_hit_tokens"]));
    let cached_tokens = cached.unwrap_or_default();
    let cache_write_tokens = count(&details["cache_write_tokens"]).unwrap_or_default();
    Some(Usage {
        input_tokens: input_tokens.max(cached_tokens + cache_write_tokens),
        cached_tokens,
        cache_write_tokens,
        output_tokens: output_tokens.max(total.saturating_sub(input_tokens)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_tokens_has_the_name_that_the_model_takes() {
        for model in [
            "o1",
            "o3-mini",
            "o4-mini-2025-04-16",
            "gpt-5",
            "gpt-5.2-pro",
            "gpt-12",
            "openai/gpt-5-mini",
        ] {
            assert!(is_newer_model(model), "{model}");
        }
        for model in [
            "gpt-4o",
            "gpt-4.1",
            "gpt-oss:20b",
            "gpt-3.5-turbo",
            "llama3.1",
            "olmo2",
            "o",
            "o1x",
            "qwen3",
            "",
        ] {
            assert!(!is_newer_model(model), "{model}");
        }
    }

    #[test]
    fn counts_that_cannot_be_right_are_missing() {
        let read =
            |value: Value| usage(&value).map(|usage| (usage.input_tokens, usage.output_tokens));
        assert_eq!(read(json!({"prompt_tokens": 3, "completion_tokens": 4})), Some((3, 4)));
        assert_eq!(
            read(json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 10})),
            Some((3, 7))
        );
        for value in [
            json!(null),
            json!({}),
            json!({"prompt_tokens": 3}),
            json!({"prompt_tokens": -3, "completion_tokens": 4}),
            json!({"prompt_tokens": 1.5, "completion_tokens": 4}),
            json!({"prompt_tokens": 18_446_744_073_709_551_615_u64, "completion_tokens": 4}),
        ] {
            assert_eq!(read(value), None);
        }
    }
}

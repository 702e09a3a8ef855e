//! Messages, as Anthropic speaks it.
//!
//! A schema has two ways. `output_config.format` has the model write by it, and takes a subset of JSON Schema
//! ([`is_strict`]) and models from Claude 4.1 on. For all else, the model is made to call a tool whose parameters are the
//! schema, and the arguments of that call are the text of the answer; only if no other tools are offered, since then it
//! must be free to call those.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use skein_shared::domain::usage::Usage;

use super::TOOL_CALLS_MAX;
use super::answer::{Answer, count};
use super::error::CallError;
use super::refusal::Refuser;
use super::request::{ChatRequest, Message};
use super::schema::is_strict;
use super::wire::{Decoder, Dialect, arguments_of};

/// The version of the API, which is a header; there has been no other since.
const VERSION: &str = "2023-06-01";
/// The tool that stands for the answer to a schema.
const ANSWER_TOOL: &str = "answer";
/// What the names of models begin with that know no `output_config.format`.
const WITHOUT_FORMAT: &[&str] = &[
    "claude-2",
    "claude-3",
    "claude-instant",
    "claude-opus-4-0",
    "claude-opus-4-2025",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2025",
];

/// Messages.
pub(super) struct Anthropic;

/// How the model is held to a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Schema<'a> {
    None,
    Format(&'a Value),
    Tool(&'a Value),
}

fn schema(request: &ChatRequest) -> Schema<'_> {
    let Some(schema) = &request.schema else { return Schema::None };
    let knows_format = !WITHOUT_FORMAT.iter().any(|start| request.model.starts_with(start));
    match knows_format && is_strict(schema) || !request.tools.is_empty() {
        true => Schema::Format(schema),
        false => Schema::Tool(schema),
    }
}

impl Dialect for Anthropic {
    type Decoder = Blocks;

    fn url(&self, base: &Url, _: &ChatRequest) -> Result<Url, CallError> {
        base.join("messages").map_err(|_| CallError::malformed("the base URL has no place"))
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (HeaderName::from_static("x-api-key"), "")
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
    }

    fn body(&self, request: &ChatRequest) -> Value {
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| {
            if !value.is_null() {
                body.insert(name.to_owned(), value);
            }
        };
        set("model", json!(request.model));
        set("max_tokens", json!(request.max_tokens));
        set("system", json!(request.system.as_ref().filter(|text| !text.is_empty())));
        set("messages", json!(messages(&request.messages)));
        let mut tools: Vec<_> = request.tools.iter().map(|tool| {
            json!({"name": tool.name, "description": tool.description, "input_schema": tool.parameters})
        }).collect();
        match schema(request) {
            Schema::None => {}
            Schema::Format(schema) => {
                set("output_config", json!({"format": {"type": "json_schema", "schema": schema}}));
            }
            Schema::Tool(schema) => {
                tools.push(json!({"name": ANSWER_TOOL, "description": "Takes the answer.", "input_schema": schema}));
                set("tool_choice", json!({"type": "tool", "name": ANSWER_TOOL}));
            }
        }
        if !tools.is_empty() {
            set("tools", json!(tools));
        }
        set("temperature", json!(request.temperature));
        set("top_p", json!(request.top_p));
        if !request.stop.is_empty() {
            set("stop_sequences", json!(request.stop));
        }
        set("stream", json!(true));
        Value::Object(body)
    }

    fn decoder(&self, request: &ChatRequest) -> Blocks {
        Blocks { answers_by_tool: matches!(schema(request), Schema::Tool(_)), ..Blocks::default() }
    }
}

/// The conversation, what belongs to the same side in one message: all results of tools have to follow their calls at
/// once. Empty texts are refused, so they are left out.
fn messages(messages: &[Message]) -> Vec<Value> {
    let mut all: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = match message {
            Message::User(text) => ("user", text_block(text).into_iter().collect()),
            Message::Assistant { text, tool_calls } => {
                let calls = tool_calls.iter().map(|call| {
                    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_of(call)})
                });
                ("assistant", text_block(text).into_iter().chain(calls).collect())
            }
            Message::ToolResult { call_id, content, is_error, .. } => (
                "user",
                vec![json!({
                    "type": "tool_result", "tool_use_id": call_id, "content": content, "is_error": is_error,
                })],
            ),
        };
        let mut blocks: Vec<_> = blocks;
        match all.last_mut() {
            Some((of, last)) if *of == role => last.append(&mut blocks),
            _ if blocks.is_empty() => {}
            _ => all.push((role, blocks)),
        }
    }
    all.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

/// What Anthropic streams: blocks of content, one after the other.
#[derive(Default)]
pub(super) struct Blocks {
    answers_by_tool: bool,
    /// Text beside the tool that takes the answer; it is the answer if that tool is not called.
    beside: String,
    has_answered: bool,
    /// Blocks that are open, by their index: what comes of them.
    open: Vec<(u64, Block)>,
    usage: Counted,
}

/// What is done with the pieces of a block.
#[derive(Clone, Copy)]
enum Block {
    Text,
    /// The tool that takes the answer.
    Answer,
    /// A call, at its place in the answer.
    Call(usize),
    Hidden,
}

/// What was counted; each event that counts has some of it.
#[derive(Default)]
struct Counted {
    input: Option<u64>,
    cache_read: u64,
    cache_write: u64,
    output: Option<u64>,
}

impl Decoder for Blocks {
    fn event(
        &mut self,
        event: &Value,
        answer: &mut Answer<'_>,
        refuser: &Refuser<'_>,
    ) -> Result<bool, CallError> {
        match event["type"].as_str().unwrap_or_default() {
            "error" => return Err(refuser.in_stream(event)),
            "message_start" => {
                let message = &event["message"];
                answer.names(message.get("model"), message.get("id"));
                self.count(&message["usage"], answer);
            }
            "content_block_start" => {
                self.begin(&event["index"], &event["content_block"], answer)?;
            }
            "content_block_delta" => self.delta(&event["index"], &event["delta"], answer)?,
            "content_block_stop" => self.open.retain(|(index, _)| event["index"] != *index),
            "message_delta" => {
                self.finish(&event["delta"]["stop_reason"], answer);
                self.count(&event["usage"], answer);
            }
            "message_stop" => return Ok(true),
            // A server that does not stream.
            "message" => {
                answer.names(event.get("model"), event.get("id"));
                for (index, block) in event["content"].as_array().into_iter().flatten().enumerate()
                {
                    self.begin(&json!(index), block, answer)?;
                }
                self.finish(&event["stop_reason"], answer);
                self.count(&event["usage"], answer);
            }
            // `ping`, and what may come to be: the API asks for it to be skipped.
            _ => {}
        }
        Ok(false)
    }

    fn end(&mut self, answer: &mut Answer<'_>) -> Result<(), CallError> {
        let beside = std::mem::take(&mut self.beside);
        if self.has_answered { Ok(()) } else { answer.text(&beside) }
    }
}

impl Blocks {
    fn begin(
        &mut self,
        index: &Value,
        block: &Value,
        answer: &mut Answer<'_>,
    ) -> Result<(), CallError> {
        let kind = match block["type"].as_str().unwrap_or_default() {
            "text" => Block::Text,
            "tool_use" if self.answers_by_tool && block["name"] == ANSWER_TOOL => Block::Answer,
            "tool_use" => {
                let name = block["name"].as_str().unwrap_or_default();
                Block::Call(answer.begin_call(block["id"].as_str(), name)?)
            }
            _ => Block::Hidden,
        };
        // More than these are no calls: what they would hold is hidden.
        if self.open.len() <= TOOL_CALLS_MAX {
            self.open.push((index.as_u64().unwrap_or_default(), kind));
        }
        self.piece(kind, block["text"].as_str().unwrap_or_default(), answer)?;
        match &block["input"] {
            Value::Object(input) if !input.is_empty() => {
                self.piece(kind, &block["input"].to_string(), answer)
            }
            Value::String(input) => self.piece(kind, input, answer),
            _ => Ok(()),
        }
    }

    fn delta(
        &mut self,
        index: &Value,
        delta: &Value,
        answer: &mut Answer<'_>,
    ) -> Result<(), CallError> {
        let index = index.as_u64().unwrap_or_default();
        let kind = self.open.iter().rev().find(|(of, _)| *of == index).map(|(_, kind)| *kind);
        let piece = [&delta["text"], &delta["partial_json"]].into_iter().find_map(Value::as_str);
        self.piece(kind.unwrap_or(Block::Hidden), piece.unwrap_or_default(), answer)
    }

    fn piece(
        &mut self,
        kind: Block,
        piece: &str,
        answer: &mut Answer<'_>,
    ) -> Result<(), CallError> {
        match kind {
            Block::Text if self.answers_by_tool => {
                answer.hidden();
                if self.beside.len() + piece.len() > super::TEXT_BYTES_MAX {
                    return Err(CallError::too_large("text", super::TEXT_BYTES_MAX));
                }
                self.beside.push_str(piece);
                Ok(())
            }
            Block::Text => answer.text(piece),
            Block::Answer => {
                self.has_answered = true;
                answer.text(piece)
            }
            Block::Call(place) => answer.arguments(place, piece),
            Block::Hidden => {
                answer.hidden();
                Ok(())
            }
        }
    }

    fn finish(&self, reason: &Value, answer: &mut Answer<'_>) {
        let Some(reason) = reason.as_str() else { return };
        answer.finish(match reason {
            "end_turn" | "stop_sequence" => "stop",
            "max_tokens" | "model_context_window_exceeded" => "length",
            "tool_use" if self.has_answered => "stop",
            "tool_use" => "tool_calls",
            "refusal" => "content_filter",
            reason => reason,
        });
    }

    /// Counts come in the first event and again in the last, where some servers have them for the first time.
    fn count(&mut self, usage: &Value, answer: &mut Answer<'_>) {
        let all = &mut self.usage;
        all.input = count(&usage["input_tokens"]).max(all.input);
        all.output = count(&usage["output_tokens"]).max(all.output);
        let most = |value: &Value, sofar: u64| count(value).unwrap_or_default().max(sofar);
        all.cache_read = most(&usage["cache_read_input_tokens"], all.cache_read);
        all.cache_write = most(&usage["cache_creation_input_tokens"], all.cache_write);
        let is_counted = count(&usage["output_tokens"]).is_some();
        if let (true, Some(input), Some(output)) = (is_counted, all.input, all.output) {
            answer.usage(Usage {
                input_tokens: input + all.cache_read + all.cache_write,
                cached_tokens: all.cache_read,
                cache_write_tokens: all.cache_write,
                output_tokens: output,
            });
        }
    }
}

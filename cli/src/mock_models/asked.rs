//! What a request says, whatever its wire format.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

/// A wire format of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// Chat Completions.
    OpenAi,
    /// Messages.
    Anthropic,
    /// `generateContent`.
    Google,
}

/// What a request says.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) wire: Wire,
    pub(super) model: String,
    pub(super) system: String,
    /// All text of the last message, results of tools included.
    pub(super) last: String,
    /// The tools whose results the last message is.
    pub(super) tool_results: Vec<String>,
    /// How many answers of the model are in the conversation.
    pub(super) turn: usize,
    /// How the answer is wanted.
    pub(super) form: Form,
    /// Whether a stream is to end in what was counted.
    pub(super) counts: bool,
    /// The tool that the model must call, whose arguments are the answer.
    pub(super) forced_tool: Option<String>,
    pub(super) bytes: usize,
}

/// How an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Events,
    Whole,
    /// A JSON list of what would be events: Google's streams without `alt=sse`.
    List,
}

impl Asked {
    /// Reads a request; `None` when nothing is served at that path.
    pub(super) fn read(path: &str, query: &str, body: &Value, bytes: usize) -> Option<Self> {
        let streams = body["stream"] == true;
        let form = if streams { Form::Events } else { Form::Whole };
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        let empty = |wire| Self {
            wire,
            model,
            system: String::new(),
            last: String::new(),
            tool_results: Vec::new(),
            turn: 0,
            form,
            counts: true,
            forced_tool: None,
            bytes,
        };
        if path.ends_with("/chat/completions") {
            return Some(openai(body, empty(Wire::OpenAi)));
        }
        if path.ends_with("/messages") {
            return Some(anthropic(body, empty(Wire::Anthropic)));
        }
        let (_, rest) = path.split_once("/models/")?;
        let (model, method) = rest.split_once(':')?;
        let form = match (method, query.contains("alt=sse")) {
            ("generateContent", _) => Form::Whole,
            ("streamGenerateContent", true) => Form::Events,
            ("streamGenerateContent", false) => Form::List,
            _ => return None,
        };
        Some(google(body, Self { model: model.to_owned(), form, ..empty(Wire::Google) }))
    }
}

fn openai(body: &Value, mut asked: Asked) -> Asked {
    asked.counts = body["stream_options"]["include_usage"] == true;
    let mut names = HashMap::new();
    let list = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for message in list {
        match message["role"].as_str() {
            Some("assistant") => {
                asked.turn += 1;
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    names.insert(call["id"].as_str(), text_of(&call["function"]["name"]));
                }
            }
            Some("system" | "developer") => asked.system.push_str(&text_of(&message["content"])),
            _ => {}
        }
    }
    // Results of parallel calls are messages of their own.
    for message in list.iter().rev().take_while(|message| message["role"] == "tool") {
        let name = names.get(&message["tool_call_id"].as_str()).cloned().unwrap_or_default();
        asked.tool_results.push(name);
        asked.last.push_str(&text_of(&message["content"]));
    }
    if asked.tool_results.is_empty() {
        asked.last = list.last().map(|message| text_of(&message["content"])).unwrap_or_default();
    }
    asked
}

fn anthropic(body: &Value, mut asked: Asked) -> Asked {
    asked.system = text_of(&body["system"]);
    if body["tool_choice"]["type"] == "tool" {
        asked.forced_tool = body["tool_choice"]["name"].as_str().map(str::to_owned);
    }
    let mut names = HashMap::new();
    let list = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for message in list.iter().filter(|message| message["role"] == "assistant") {
        asked.turn += 1;
        for block in message["content"].as_array().into_iter().flatten() {
            names.insert(block["id"].as_str(), text_of(&block["name"]));
        }
    }
    let content = list.last().map_or(&Value::Null, |message| &message["content"]);
    asked.last = text_of(content);
    for block in content.as_array().into_iter().flatten().filter(|it| it["type"] == "tool_result") {
        let name = names.get(&block["tool_use_id"].as_str()).cloned().unwrap_or_default();
        asked.tool_results.push(name);
    }
    asked
}

fn google(body: &Value, mut asked: Asked) -> Asked {
    asked.system = text_of(&body["systemInstruction"]["parts"]);
    let list = body["contents"].as_array().map(Vec::as_slice).unwrap_or_default();
    asked.turn = list.iter().filter(|content| content["role"] == "model").count();
    let parts = list.last().map_or(&Value::Null, |content| &content["parts"]);
    asked.last = text_of(parts);
    for part in parts.as_array().into_iter().flatten() {
        if let Some(name) = part["functionResponse"]["name"].as_str() {
            asked.tool_results.push(name.to_owned());
            asked.last.push_str(&part["functionResponse"]["response"].to_string());
        }
    }
    asked
}

/// The text of a content: a text, or a list of parts with texts or contents.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| match &part["text"] {
                Value::String(text) => text.clone(),
                // Results of tools nest one level.
                _ => match &part["content"] {
                    Value::String(text) => text.clone(),
                    Value::Array(inner) => {
                        inner.iter().filter_map(|part| part["text"].as_str()).collect()
                    }
                    _ => String::new(),
                },
            };
            parts.iter().map(text).collect()
        }
        _ => String::new(),
    }
}

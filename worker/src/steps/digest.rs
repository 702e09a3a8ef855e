//! What is asked of a model, as JSON: what its digest is made of, and what spans show where somebody has asked for it.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::models::{ChatRequest, Message, Provider, ToolCall};

/// The messages of a request, as the OpenTelemetry conventions write them (`gen_ai.input.messages`).
pub(crate) fn request_json(request: &ChatRequest) -> Value {
    let system = request.system.iter().map(|text| message("system", &[text_part(text)]));
    let messages = request.messages.iter().map(|said| match said {
        Message::User(text) => message("user", &[text_part(text)]),
        Message::Assistant { text, tool_calls } => answer_json(text, tool_calls),
        Message::ToolResult { call_id, content, .. } => message(
            "tool",
            &[json!({ "type": "tool_call_response", "id": call_id, "result": content })],
        ),
    });
    system.chain(messages).collect()
}

/// What a model answered, written likewise (one of `gen_ai.output.messages`).
pub(super) fn answer_json(text: &str, tool_calls: &[ToolCall]) -> Value {
    let text = Some(text).filter(|text| !text.is_empty()).map(text_part);
    let calls = tool_calls.iter().map(|call| {
        json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments })
    });
    message("assistant", &text.into_iter().chain(calls).collect::<Vec<_>>())
}

fn text_part(text: impl AsRef<str>) -> Value {
    json!({ "type": "text", "content": text.as_ref() })
}

fn message(role: &str, parts: &[Value]) -> Value {
    json!({ "role": role, "parts": parts })
}

/// The digest of a request to a provider: the same for what is the same to it.
pub(super) fn digest(provider: &Provider, request: &ChatRequest) -> [u8; 32] {
    let tools = request.tools.iter().map(|tool| {
        json!({ "name": tool.name, "description": tool.description, "parameters": tool.parameters })
    });
    let all = json!({
        "provider": &*provider.name,
        "model": request.model,
        "messages": request_json(request),
        "tools": tools.collect::<Vec<_>>(),
        "schema": request.schema,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": request.stop,
    });
    Sha256::digest(all.to_string()).into()
}

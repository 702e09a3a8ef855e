//! Answers in the three wire formats, streamed and whole.

use serde_json::{Map, Value, json};

use super::asked::{Asked, Wire};
use super::frame::{Answer, Frame};
use super::script::FixedUsage;

/// The answer as a stream.
pub(super) fn frames(asked: &Asked, answer: &Answer) -> Vec<Frame> {
    match asked.wire {
        Wire::OpenAi => openai_frames(asked, answer),
        Wire::Anthropic => anthropic_frames(asked, answer),
        Wire::Google => google_frames(answer),
    }
}

/// The answer as one value.
pub(super) fn whole(asked: &Asked, answer: &Answer) -> Value {
    match asked.wire {
        Wire::OpenAi => openai_whole(answer),
        Wire::Anthropic => anthropic_whole(asked, answer),
        Wire::Google => google_whole(answer),
    }
}

/// What stands behind a stream's last event.
pub(super) fn trailer(wire: Wire) -> &'static str {
    if wire == Wire::OpenAi { "data: [DONE]\n\n" } else { "" }
}

/// An error.
pub(super) fn error(wire: Wire, status: u16, message: &str) -> Value {
    let word = match status {
        400 => "invalid_request_error",
        401 | 403 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    match wire {
        Wire::OpenAi => {
            json!({"error": {"message": message, "type": word, "param": null, "code": null}})
        }
        Wire::Anthropic => json!({"type": "error", "error": {"type": word, "message": message}}),
        Wire::Google => {
            json!({"error": {"code": status, "message": message, "status": word.to_ascii_uppercase()}})
        }
    }
}

/// The moment that answers bear: always the same, so that the same request gets the same bytes.
const CREATED: u64 = 1_767_225_600;

fn openai_usage(usage: FixedUsage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn openai_reason(answer: &Answer) -> String {
    let usual = if answer.calls.is_empty() { "stop" } else { "tool_calls" };
    answer.finish_reason.clone().unwrap_or_else(|| usual.to_owned())
}

fn openai_frames(asked: &Asked, answer: &Answer) -> Vec<Frame> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({"id": answer.id, "object": "chat.completion.chunk", "created": CREATED,
            "model": answer.model, "choices": choices});
        if !usage.is_null() {
            chunk["usage"] = usage;
        }
        chunk
    };
    let delta = |delta: Value, reason: Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": reason}]), Value::Null)
    };
    let mut frames =
        vec![Frame::other(None, delta(json!({"role": "assistant", "content": ""}), Value::Null))];
    for piece in &answer.pieces {
        frames.push(Frame::content(None, delta(json!({"content": piece}), Value::Null)));
    }
    for (index, call) in answer.calls.iter().enumerate() {
        let [one, other] = call.halves();
        let mut first = json!({"index": index, "type": "function", "function": {"name": call.name, "arguments": one}});
        if let Some(id) = &call.id {
            first["id"] = json!(id);
        }
        frames.push(Frame::content(None, delta(json!({"tool_calls": [first]}), Value::Null)));
        let rest = json!({"index": index, "function": {"arguments": other}});
        frames.push(Frame::content(None, delta(json!({"tool_calls": [rest]}), Value::Null)));
    }
    frames.push(Frame::other(None, delta(json!({}), json!(openai_reason(answer)))));
    if let Some(usage) = answer.usage.filter(|_| asked.counts) {
        frames.push(Frame::other(None, chunk(json!([]), openai_usage(usage))));
    }
    frames
}

fn openai_whole(answer: &Answer) -> Value {
    let mut message = json!({"role": "assistant", "content": answer.text(), "refusal": null});
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().map(|call| {
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        });
        message["tool_calls"] = calls.collect();
    }
    let mut whole = json!({"id": answer.id, "object": "chat.completion", "created": CREATED, "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": openai_reason(answer), "logprobs": null}]});
    if let Some(usage) = answer.usage {
        whole["usage"] = openai_usage(usage);
    }
    whole
}

fn anthropic_reason(asked: &Asked, answer: &Answer) -> String {
    let calls = !answer.calls.is_empty() || asked.forced_tool.is_some();
    let usual = if calls { "tool_use" } else { "end_turn" };
    answer.finish_reason.clone().unwrap_or_else(|| usual.to_owned())
}

/// The numbers of the input; those of the cache are apart.
fn anthropic_usage(usage: FixedUsage) -> Value {
    json!({"input_tokens": usage.input_tokens.saturating_sub(usage.cached_tokens),
        "cache_read_input_tokens": usage.cached_tokens, "cache_creation_input_tokens": 0,
        "output_tokens": usage.output_tokens})
}

fn anthropic_frames(asked: &Asked, answer: &Answer) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut push = |is_content: bool, data: Value| {
        let event = match data["type"].as_str() {
            Some("message_start") => "message_start",
            Some("content_block_start") => "content_block_start",
            Some("content_block_delta") => "content_block_delta",
            Some("content_block_stop") => "content_block_stop",
            Some("message_delta") => "message_delta",
            _ => "message_stop",
        };
        frames.push(match is_content {
            true => Frame::content(Some(event), data),
            false => Frame::other(Some(event), data),
        });
    };
    let mut message = json!({"id": answer.id, "type": "message", "role": "assistant", "model": answer.model,
        "content": [], "stop_reason": null, "stop_sequence": null});
    if let Some(usage) = answer.usage {
        message["usage"] = anthropic_usage(FixedUsage { output_tokens: 1, ..usage });
    }
    push(false, json!({"type": "message_start", "message": message}));
    let mut index = 0;
    if !answer.pieces.is_empty() {
        // The tool that the model must call takes the text as its arguments.
        let (block, kind, field) = match &asked.forced_tool {
            Some(tool) => (
                json!({"type": "tool_use", "id": "toolu_mock", "name": tool, "input": {}}),
                "input_json_delta",
                "partial_json",
            ),
            None => (json!({"type": "text", "text": ""}), "text_delta", "text"),
        };
        push(false, json!({"type": "content_block_start", "index": index, "content_block": block}));
        for piece in &answer.pieces {
            push(
                true,
                json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, field: piece}}),
            );
        }
        push(false, json!({"type": "content_block_stop", "index": index}));
        index += 1;
    }
    for call in &answer.calls {
        let mut block = json!({"type": "tool_use", "name": call.name, "input": {}});
        if let Some(id) = &call.id {
            block["id"] = json!(id);
        }
        push(false, json!({"type": "content_block_start", "index": index, "content_block": block}));
        for half in call.halves() {
            let delta = json!({"type": "input_json_delta", "partial_json": half});
            push(true, json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        push(false, json!({"type": "content_block_stop", "index": index}));
        index += 1;
    }
    let reason = anthropic_reason(asked, answer);
    let mut last =
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}});
    if let Some(usage) = answer.usage {
        last["usage"] = json!({"output_tokens": usage.output_tokens});
    }
    push(false, last);
    push(false, json!({"type": "message_stop"}));
    frames
}

fn anthropic_whole(asked: &Asked, answer: &Answer) -> Value {
    let text = answer.text();
    let parsed = || serde_json::from_str(&text).unwrap_or_else(|_| json!({"text": text}));
    let first = match &asked.forced_tool {
        Some(tool) => {
            json!({"type": "tool_use", "id": "toolu_mock", "name": tool, "input": parsed()})
        }
        None => json!({"type": "text", "text": text}),
    };
    let first = Some(first).filter(|_| !text.is_empty());
    let calls = answer.calls.iter().map(|call| {
        json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed()})
    });
    let content: Vec<_> = first.into_iter().chain(calls).collect();
    let mut whole = json!({"id": answer.id, "type": "message", "role": "assistant", "model": answer.model,
        "content": content, "stop_reason": anthropic_reason(asked, answer), "stop_sequence": null});
    if let Some(usage) = answer.usage {
        whole["usage"] = anthropic_usage(usage);
    }
    whole
}

fn google_part(answer: &Answer, parts: &Value, is_last: bool) -> Value {
    let mut candidate = Map::new();
    candidate.insert("content".to_owned(), json!({"role": "model", "parts": parts}));
    candidate.insert("index".to_owned(), json!(0));
    let mut event = json!({"modelVersion": answer.model, "responseId": answer.id});
    if is_last {
        let reason = answer.finish_reason.clone().unwrap_or_else(|| "STOP".to_owned());
        candidate.insert("finishReason".to_owned(), json!(reason));
        if let Some(usage) = answer.usage {
            event["usageMetadata"] = json!({
                "promptTokenCount": usage.input_tokens,
                "candidatesTokenCount": usage.output_tokens,
                "cachedContentTokenCount": usage.cached_tokens,
                "totalTokenCount": usage.input_tokens + usage.output_tokens,
            });
        }
    }
    event["candidates"] = json!([candidate]);
    event
}

fn google_call_parts(answer: &Answer) -> impl Iterator<Item = Value> {
    answer.calls.iter().map(|call| {
        let mut function = json!({"name": call.name, "args": call.parsed()});
        if let Some(id) = &call.id {
            function["id"] = json!(id);
        }
        json!({"functionCall": function})
    })
}

fn google_frames(answer: &Answer) -> Vec<Frame> {
    let texts = answer.pieces.iter().map(|piece| json!({"text": piece}));
    let parts = texts.chain(google_call_parts(answer));
    let mut frames: Vec<_> = parts
        .map(|part| Frame::content(None, google_part(answer, &json!([part]), false)))
        .collect();
    frames.push(Frame::other(None, google_part(answer, &json!([]), true)));
    frames
}

fn google_whole(answer: &Answer) -> Value {
    let text = answer.text();
    let text = (!text.is_empty()).then(|| json!({"text": text}));
    let parts: Vec<_> = text.into_iter().chain(google_call_parts(answer)).collect();
    google_part(answer, &json!(parts), true)
}

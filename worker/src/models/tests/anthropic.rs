//! Messages, as Anthropic speaks it.

use super::*;

const WIRE: WireFormat = WireFormat::Anthropic;

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "usage": {
        "input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "output_tokens": 1}}})
}

fn block(index: u32, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u32, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn text(index: u32, text: &str) -> Value {
    delta(index, json!({"type": "text_delta", "text": text}))
}

fn partial(index: u32, json: &str) -> Value {
    delta(index, json!({"type": "input_json_delta", "partial_json": json}))
}

fn stop(reason: &str) -> [Value; 2] {
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    [
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ]
}

fn stream(parts: &[Value], reason: &str) -> String {
    let all: Vec<_> =
        [start()].into_iter().chain(parts.iter().cloned()).chain(stop(reason)).collect();
    named(&all)
}

#[tokio::test]
async fn text_comes_in_pieces_and_with_what_it_took() {
    let stream = stream(
        &[
            block(0, json!({"type": "thinking", "thinking": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "ping"}),
            block(1, json!({"type": "text", "text": ""})),
            text(1, "he"),
            text(1, "llo"),
            json!({"type": "content_block_stop", "index": 1}),
        ],
        "end_turn",
    );
    let (reply, deltas, seen) = ask(WIRE, &request(), move |_| streamed(stream.clone())).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), deltas), ("hello", vec!["he".to_owned(), "llo".to_owned()]));
    let counted =
        Usage { input_tokens: 16, cached_tokens: 4, cache_write_tokens: 2, output_tokens: 9 };
    assert_eq!(reply.usage, Some(counted));
    assert_eq!(reply.finish_reason, "stop");
    assert_eq!(
        (reply.model.as_deref(), reply.response_id.as_deref()),
        (Some("claude-x"), Some("msg_1"))
    );
    assert_eq!((seen.method.as_str(), seen.uri.as_str()), ("POST", "/v1/messages"));
    assert_eq!(seen.header("x-api-key"), Some(KEY));
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(seen.header("authorization"), None);
}

#[tokio::test]
async fn a_request_says_all_that_was_asked_for() {
    let result = |id: &str, is_error| Message::ToolResult {
        call_id: id.to_owned(),
        name: "find".to_owned(),
        content: "none".to_owned(),
        is_error,
    };
    let full = ChatRequest {
        system: Some("be brief".to_owned()),
        messages: vec![
            Message::User("hi".to_owned()),
            Message::Assistant {
                text: " ".to_owned(),
                tool_calls: vec![call_of("c1", "find", "{\"q\":1}"), call_of("c2", "find", "[")],
            },
            result("c1", false),
            result("c2", true),
            Message::User("go on".to_owned()),
        ],
        tools: vec![tool("find")],
        schema: Some(json!({"type": "object"})),
        temperature: Some(0.5),
        top_p: Some(0.9),
        seed: Some(7),
        stop: vec!["END".to_owned()],
        ..request()
    };
    let (_, _, seen) = ask(WIRE, &full, |_| streamed(stream(&[], "end_turn"))).await;
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "m-1", "max_tokens": 100, "system": "be brief",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "c1", "name": "find", "input": {"q": 1}},
                    {"type": "tool_use", "id": "c2", "name": "find", "input": {"malformed_arguments": "["}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "none", "is_error": false},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "none", "is_error": true},
                    {"type": "text", "text": "go on"},
                ]},
            ],
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            "tools": [{"name": "find", "description": "Looks it up.",
                "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}}}],
            "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"], "stream": true,
        })
    );
}

#[tokio::test]
async fn parallel_calls_keep_their_arguments_apart() {
    let stream = stream(
        &[
            block(0, json!({"type": "text", "text": "let me see"})),
            block(1, json!({"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}})),
            partial(1, "{\"q\":"),
            block(
                2,
                json!({"type": "tool_use", "id": "toolu_1", "name": "open", "input": {"x": 2}}),
            ),
            partial(1, "1"),
            block(3, json!({"type": "tool_use", "name": "list", "input": {}})),
        ],
        "tool_use",
    );
    let reply = ask(WIRE, &request(), move |_| streamed(stream.clone())).await.0.unwrap();
    assert_eq!(reply.text, "let me see");
    let expected = [
        call_of("toolu_1", "find", "{\"q\":1"),
        call_of("call_2", "open", "{\"x\":2}"),
        call_of("call_3", "list", "{}"),
    ];
    assert_eq!(reply.tool_calls, expected);
    assert_eq!(reply.finish_reason, "tool_calls");
}

#[tokio::test]
async fn an_answer_to_a_schema_is_the_text_in_either_way() {
    let strict = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false});
    for (model, schema, by_tool) in [
        ("claude-sonnet-4-5", strict.clone(), false),
        ("claude-3-5-haiku", strict, true),
        ("claude-sonnet-4-5", json!({"type": "object", "properties": {"n": {"minimum": 1}}}), true),
    ] {
        let request = ChatRequest { model: model.to_owned(), schema: Some(schema), ..request() };
        let parts = match by_tool {
            true => vec![
                block(0, json!({"type": "text", "text": "Here: "})),
                block(1, json!({"type": "tool_use", "id": "t", "name": "answer", "input": {}})),
                partial(1, "{\"n\""),
                partial(1, ":1}"),
            ],
            false => vec![block(0, json!({"type": "text", "text": ""})), text(0, "{\"n\":1}")],
        };
        let stream = stream(&parts, if by_tool { "tool_use" } else { "end_turn" });
        let (reply, deltas, seen) = ask(WIRE, &request, move |_| streamed(stream.clone())).await;
        let reply = reply.unwrap();
        assert_eq!((reply.text.as_str(), deltas.concat().as_str()), ("{\"n\":1}", "{\"n\":1}"));
        assert_eq!((reply.finish_reason.as_str(), reply.tool_calls.len()), ("stop", 0));
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        assert_eq!(body["tool_choice"]["name"] == "answer", by_tool);
        assert_eq!(body["output_config"].is_object(), !by_tool);
    }
}

#[tokio::test]
async fn text_is_the_answer_to_a_schema_when_the_tool_for_it_is_not_called() {
    let request = ChatRequest { schema: Some(json!({"type": "object"})), ..request() };
    let parts = [block(0, json!({"type": "text", "text": "{\"n\""})), text(0, ":1}")];
    let reply = ask(WIRE, &request, move |_| streamed(stream(&parts, "end_turn"))).await.0.unwrap();
    assert_eq!(reply.text, "{\"n\":1}");
}

#[tokio::test]
async fn usage_without_the_last_count_is_none_and_a_server_that_does_not_stream_is_understood() {
    let stream = named(&[
        start(),
        json!({"type": "message_delta", "delta": {"stop_reason": "refusal"}}),
        json!({"type": "message_stop"}),
    ]);
    let reply = ask(WIRE, &request(), move |_| streamed(stream.clone())).await.0.unwrap();
    assert_eq!((reply.usage, reply.finish_reason.as_str()), (None, "content_filter"));
    let whole = json!({"type": "message", "id": "msg", "model": "c", "stop_reason": "max_tokens",
        "content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "a", "name": "find", "input": {"q": 1}}],
        "usage": {"input_tokens": 3, "output_tokens": 4}});
    let reply = ask(WIRE, &request(), move |_| axum::Json(whole.clone())).await.0.unwrap();
    assert_eq!((reply.text.as_str(), reply.finish_reason.as_str()), ("hi", "length"));
    assert_eq!(reply.tool_calls, [call_of("a", "find", "{\"q\":1}")]);
    assert_eq!(reply.usage.unwrap().total(), 7);
}

#[tokio::test]
async fn an_error_within_a_stream_says_what_it_means_and_what_was_counted() {
    for (error, class, code) in [
        (
            json!({"type": "overloaded_error", "message": "Overloaded"}),
            ErrorClass::RateLimited,
            "overloaded",
        ),
        (json!({"type": "api_error", "message": "Internal"}), ErrorClass::Cut, "provider_error"),
        (
            json!({"type": "invalid_request_error", "message": "Bad"}),
            ErrorClass::Refused,
            "provider_refused",
        ),
    ] {
        let words = error["message"].as_str().unwrap().to_owned();
        let stream = named(&[start(), json!({"type": "error", "error": error})]);
        let error = ask(WIRE, &request(), move |_| streamed(stream.clone())).await.0.unwrap_err();
        assert_eq!((error.class, error.code, error.billing), (class, code, Billing::Unknown));
        assert_eq!(error.details.as_deref(), Some(&*words), "{error}");
        assert_eq!(error.usage.unwrap().input_tokens, 16);
    }
}

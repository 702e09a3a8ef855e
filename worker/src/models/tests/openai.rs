//! Chat Completions, as many servers speak it.

use super::*;

const WIRE: WireFormat = WireFormat::OpenAi;

fn delta(delta: Value) -> Value {
    json!({"id": "chatcmpl-1", "model": "m-1-2026", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}})
}

async fn reply_to(request: &ChatRequest, stream: String) -> ChatReply {
    ask(WIRE, request, move |_| streamed(stream.clone())).await.0.unwrap()
}

#[tokio::test]
async fn text_comes_in_pieces_and_with_what_it_took() {
    let stream = done(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "he"})),
        delta(json!({"content": "llo"})),
        finish("stop"),
        usage(),
    ]);
    let (reply, deltas, seen) = ask(WIRE, &request(), move |_| streamed(stream.clone())).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), deltas), ("hello", vec!["he".to_owned(), "llo".to_owned()]));
    let counted =
        Usage { input_tokens: 10, cached_tokens: 4, cache_write_tokens: 0, output_tokens: 5 };
    assert_eq!(reply.usage, Some(counted));
    assert_eq!(reply.finish_reason, "stop");
    assert_eq!(reply.model.as_deref(), Some("m-1-2026"));
    assert_eq!(reply.response_id.as_deref(), Some("chatcmpl-1"));
    assert!(reply.time_to_first_token.is_some());
    assert_eq!((seen.method.as_str(), seen.uri.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(seen.header("authorization"), Some("Bearer sk-s3cret/0123456789"));
}

#[tokio::test]
async fn a_request_says_all_that_was_asked_for() {
    let full = ChatRequest {
        system: Some("be brief".to_owned()),
        messages: vec![
            Message::User("hi".to_owned()),
            Message::Assistant {
                text: String::new(),
                tool_calls: vec![call_of("c1", "find", "{\"q\":1}"), call_of("c2", "find", "{q")],
            },
            Message::ToolResult {
                call_id: "c1".to_owned(),
                name: "find".to_owned(),
                content: "no".to_owned(),
                is_error: true,
            },
        ],
        tools: vec![tool("find")],
        schema: Some(json!({"type": "object"})),
        temperature: Some(0.5),
        top_p: Some(0.9),
        seed: Some(7),
        stop: vec!["END".to_owned()],
        ..request()
    };
    let (_, _, seen) = ask(WIRE, &full, |_| streamed(done(&[finish("stop")]))).await;
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let function = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "find", "arguments": arguments}});
    assert_eq!(
        body,
        json!({
            "model": "m-1",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": null, "tool_calls": [
                    function("c1", "{\"q\":1}"), function("c2", "{\"malformed_arguments\":\"{q\"}"),
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "no"},
            ],
            "tools": [{"type": "function", "function": {"name": "find", "description": "Looks it up.",
                "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}}],
            "response_format": {"type": "json_schema", "json_schema":
                {"name": "answer", "schema": {"type": "object"}, "strict": false}},
            "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"],
            "stream": true, "stream_options": {"include_usage": true},
        })
    );
}

#[tokio::test]
async fn newer_models_are_sent_the_limit_by_its_newer_name() {
    let newer = ChatRequest { model: "openai/gpt-5.2".to_owned(), ..request() };
    let (_, _, seen) = ask(WIRE, &newer, |_| streamed(done(&[finish("stop")]))).await;
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(100), &Value::Null));
}

#[tokio::test]
async fn parallel_calls_are_kept_apart_however_they_are_numbered() {
    let piece = |index: Value, id: Value, name: Value, arguments: Value| {
        delta(
            json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}),
        )
    };
    let by_index = [
        piece(json!(0), json!("a"), json!("find"), json!("")),
        piece(json!(1), json!("b"), json!("open"), json!("{\"x\"")),
        piece(json!(0), Value::Null, Value::Null, json!("{\"q\":")),
        piece(json!(1), Value::Null, Value::Null, json!(":2}")),
        piece(json!(0), Value::Null, Value::Null, json!("1}")),
    ];
    // Google's compatible server numbers every call 0; the id is repeated by others with each piece.
    let by_id = [
        piece(json!(0), json!("a"), json!("find"), json!("{\"q\":")),
        piece(json!(0), json!("a"), json!("find"), json!("1}")),
        piece(json!(0), json!("b"), json!("open"), json!("{\"x\":2}")),
    ];
    // Ollama sends whole calls in one piece, others objects in place of text.
    let whole = [delta(json!({"tool_calls": [
        {"id": "a", "function": {"name": "find", "arguments": "{\"q\":1}"}},
        {"id": "b", "function": {"name": "open", "arguments": {"x": 2}}},
    ]}))];
    for pieces in [&by_index[..], &by_id[..], &whole[..]] {
        let all: Vec<_> = pieces.iter().cloned().chain([finish("stop")]).collect();
        let reply = reply_to(&request(), done(&all)).await;
        let expected = [call_of("a", "find", "{\"q\":1}"), call_of("b", "open", "{\"x\":2}")];
        assert_eq!(reply.tool_calls, expected, "{pieces:?}");
        assert_eq!(reply.finish_reason, "tool_calls");
    }
}

#[tokio::test]
async fn ids_that_are_missing_doubled_or_odd_are_replaced() {
    let calls: Vec<_> = ["call_2", "", "dup", "dup", "old", "with space", &"x".repeat(41)]
        .iter()
        .enumerate()
        .map(|(index, id)| json!({"index": index, "id": id, "function": {"name": "find", "arguments": "{}"}}))
        .collect();
    let before =
        Message::Assistant { text: String::new(), tool_calls: vec![call_of("old", "find", "{}")] };
    let request = ChatRequest { messages: vec![before], ..request() };
    let stream = done(&[delta(json!({"tool_calls": calls})), finish("tool_calls")]);
    let reply = reply_to(&request, stream).await;
    let ids: Vec<_> = reply.tool_calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["call_2", "call_3", "dup", "call_5", "call_6", "call_7", "call_8"]);
}

#[tokio::test]
async fn usage_counts_only_once_the_answer_is_complete() {
    let partial = json!({"choices": [{"index": 0, "delta": {"content": "a"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1}});
    let reply = reply_to(&request(), done(&[partial.clone(), finish("stop")])).await;
    assert_eq!((reply.usage, reply.text.as_str()), (None, "a"));
    let reply = reply_to(&request(), done(&[partial, finish("stop"), usage()])).await;
    assert_eq!(reply.usage.unwrap().output_tokens, 5);
    let none =
        reply_to(&request(), done(&[delta(json!({"content": "a"})), finish("length")])).await;
    assert_eq!((none.usage, none.finish_reason.as_str()), (None, "length"));
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = json!({"id": "x", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "content": "hm", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "find", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    let (reply, deltas, _) = ask(WIRE, &request(), move |_| axum::Json(body.clone())).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), deltas.len()), ("hm", 1));
    assert_eq!(reply.tool_calls, [call_of("a", "find", "{}")]);
    assert_eq!(reply.usage.unwrap().total(), 7);
}

#[tokio::test]
async fn a_refusal_and_a_signature_are_kept() {
    let stream = done(&[delta(json!({"refusal": "I will not."})), finish("stop")]);
    let reply = reply_to(&request(), stream).await;
    assert_eq!(
        (reply.text.as_str(), reply.finish_reason.as_str()),
        ("I will not.", "content_filter")
    );

    let call = json!({"index": 0, "id": "a", "function": {"name": "find", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "c2ln"}}});
    let reply =
        reply_to(&request(), done(&[delta(json!({"tool_calls": [call]})), finish("stop")])).await;
    assert_eq!(reply.tool_calls[0].signature.as_deref(), Some("c2ln"));
    let again = Message::Assistant { text: String::new(), tool_calls: reply.tool_calls };
    let again = ChatRequest { messages: vec![again], ..request() };
    let (_, _, seen) = ask(WIRE, &again, |_| streamed(done(&[finish("stop")]))).await;
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let sent =
        &body["messages"][0]["tool_calls"][0]["extra_content"]["google"]["thought_signature"];
    assert_eq!(sent, "c2ln");
}

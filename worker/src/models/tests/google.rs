//! `streamGenerateContent`, as Google speaks it.

use super::*;

const WIRE: WireFormat = WireFormat::Google;

fn parts(parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}}], "modelVersion": "gemini-x", "responseId": "r1",
        "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}})
}

fn last(parts: Value, reason: &str) -> Value {
    json!({"candidates": [{"content": {"parts": parts}, "finishReason": reason}],
        "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3, "totalTokenCount": 18}})
}

async fn reply_to(request: &ChatRequest, all: Vec<Value>) -> ChatReply {
    ask(WIRE, request, move |_| streamed(events(&all))).await.0.unwrap()
}

#[tokio::test]
async fn text_comes_in_pieces_and_with_what_it_took() {
    let all = vec![
        parts(json!([{"text": "hm", "thought": true}])),
        parts(json!([{"text": "he"}])),
        last(json!([{"text": "llo"}]), "STOP"),
    ];
    let (reply, deltas, seen) = ask(WIRE, &request(), move |_| streamed(events(&all))).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), deltas), ("hello", vec!["he".to_owned(), "llo".to_owned()]));
    let counted =
        Usage { input_tokens: 10, cached_tokens: 4, cache_write_tokens: 0, output_tokens: 8 };
    assert_eq!(reply.usage, Some(counted));
    assert_eq!(reply.finish_reason, "stop");
    assert_eq!(
        (reply.model.as_deref(), reply.response_id.as_deref()),
        (Some("gemini-x"), Some("r1"))
    );
    assert_eq!(seen.uri, "/v1beta/models/m-1:streamGenerateContent?alt=sse");
    assert_eq!(seen.header("x-goog-api-key"), Some(KEY));
}

#[tokio::test]
async fn a_request_says_all_that_was_asked_for() {
    let result = |id: &str, is_error| Message::ToolResult {
        call_id: id.to_owned(),
        name: "find".to_owned(),
        content: "none".to_owned(),
        is_error,
    };
    let signed =
        ToolCall { signature: Some("c2ln".to_owned()), ..call_of("c1", "find", "{\"q\":1}") };
    let full = ChatRequest {
        model: "models/gemini-3-pro".to_owned(),
        system: Some("be brief".to_owned()),
        messages: vec![
            Message::User("hi".to_owned()),
            Message::Assistant {
                text: "so".to_owned(),
                tool_calls: vec![signed, call_of("c2", "find", "[")],
            },
            result("c1", false),
            result("c2", true),
            Message::Assistant {
                text: String::new(),
                tool_calls: vec![call_of("c3", "find", "{}")],
            },
            result("c3", false),
        ],
        tools: vec![tool("find")],
        schema: Some(json!({"type": "object"})),
        temperature: Some(0.5),
        top_p: Some(0.9),
        seed: Some(7),
        stop: vec!["END".to_owned()],
        ..request()
    };
    let (_, _, seen) = ask(WIRE, &full, |_| streamed(events(&[last(json!([]), "STOP")]))).await;
    assert_eq!(seen.uri, "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse");
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    let response = |id: &str, response: Value| json!({"functionResponse": {"id": id, "name": "find", "response": response}});
    assert_eq!(
        body,
        json!({
            "contents": [
                {"role": "user", "parts": [{"text": "hi"}]},
                {"role": "model", "parts": [
                    {"text": "so"},
                    {"functionCall": {"id": "c1", "name": "find", "args": {"q": 1}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "c2", "name": "find", "args": {"malformed_arguments": "["}}},
                ]},
                {"role": "user", "parts": [response("c1", json!({"output": "none"})), response("c2", json!({"error": "none"}))]},
                {"role": "model", "parts": [{"functionCall": {"id": "c3", "name": "find", "args": {}},
                    "thoughtSignature": "skip_thought_signature_validator"}]},
                {"role": "user", "parts": [response("c3", json!({"output": "none"}))]},
            ],
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "tools": [{"functionDeclarations": [{"name": "find", "description": "Looks it up.",
                "parametersJsonSchema": {"type": "object", "properties": {"q": {"type": "string"}}}}]}],
            "generationConfig": {"maxOutputTokens": 100, "temperature": 0.5, "topP": 0.9, "seed": 7, "stopSequences": ["END"],
                "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        })
    );
}

#[tokio::test]
async fn an_older_model_gets_the_schema_in_words_beside_tools() {
    let request = ChatRequest {
        model: "gemini-2.5-pro".to_owned(),
        tools: vec![tool("find")],
        schema: Some(json!({"type": "object"})),
        ..request()
    };
    let (_, _, seen) = ask(WIRE, &request, |_| streamed(events(&[last(json!([]), "STOP")]))).await;
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body["generationConfig"], json!({"maxOutputTokens": 100}));
    let system = body["systemInstruction"]["parts"][0]["text"].as_str().unwrap();
    assert!(
        system.starts_with("Answer with nothing but JSON")
            && system.ends_with("{\"type\":\"object\"}"),
        "{system}"
    );
}

#[tokio::test]
async fn calls_keep_their_signatures_and_get_ids() {
    let all = vec![last(
        json!([
            {"functionCall": {"name": "find", "args": {"q": 1}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "fc-2", "name": "open"}},
        ]),
        "STOP",
    )];
    let reply = reply_to(&request(), all).await;
    let signed =
        ToolCall { signature: Some("c2ln".to_owned()), ..call_of("call_1", "find", "{\"q\":1}") };
    assert_eq!(reply.tool_calls, [signed, call_of("fc-2", "open", "{}")]);
    assert_eq!(reply.finish_reason, "tool_calls");
}

#[tokio::test]
async fn reasons_have_the_same_words_as_elsewhere() {
    for (reason, expected) in [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "malformed_function_call"),
    ] {
        assert_eq!(
            reply_to(&request(), vec![last(json!([]), reason)]).await.finish_reason,
            expected
        );
    }
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 10}});
    let reply = reply_to(&request(), vec![blocked]).await;
    assert_eq!(
        (reply.finish_reason.as_str(), reply.usage.unwrap().output_tokens),
        ("content_filter", 0)
    );
}

#[tokio::test]
async fn a_name_that_is_no_model_is_refused_before_anything_is_sent() {
    for model in ["", "../files", "a/b", "x?key=1", "m:generate content"] {
        let request = ChatRequest { model: model.to_owned(), ..request() };
        let provider = provider(WIRE, "http://127.0.0.1:9", Arc::new(Unobserved));
        let error = chat(&provider, &request).await.0.unwrap_err();
        assert_eq!((error.code, error.billing), ("invalid_request", Billing::Nothing), "{model}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_and_the_delay_that_it_asks_for_are_read() {
    let error = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Slow down",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37.5s"}]}});
    let body = error.clone();
    let within = ask(WIRE, &request(), move |_| streamed(events(std::slice::from_ref(&body))))
        .await
        .0
        .unwrap_err();
    let outright = ask(WIRE, &request(), move |_| {
        (axum::http::StatusCode::TOO_MANY_REQUESTS, axum::Json(error.clone()))
    })
    .await
    .0
    .unwrap_err();
    for (error, billing) in [(within, Billing::Unknown), (outright, Billing::Nothing)] {
        assert_eq!(
            (error.code, error.class, error.billing),
            ("rate_limited", ErrorClass::RateLimited, billing)
        );
        assert_eq!(error.retry_after, Some(Duration::from_millis(37_500)));
        assert_eq!(error.details.as_deref(), Some("Slow down"), "{error}");
    }
}

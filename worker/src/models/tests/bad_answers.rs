//! What providers should not answer, over all wire formats.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;

use super::*;

/// An answer of each wire format in two pieces: text that is counted but not ended, and the end.
fn halves(wire: WireFormat, text: &str) -> (String, String) {
    match wire {
        WireFormat::OpenAi => (
            events(&[
                json!({"choices": [{"delta": {"content": text}}], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}),
            ]),
            done(&[json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})]),
        ),
        WireFormat::Anthropic => (
            named(&[
                json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}}),
            ]),
            named(&[
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
                json!({"type": "message_stop"}),
            ]),
        ),
        WireFormat::Google => (
            events(&[json!({"candidates": [{"content": {"parts": [{"text": text}]}}],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1}})]),
            events(&[json!({"candidates": [{"finishReason": "STOP"}]})]),
        ),
    }
}

async fn failure<A: axum::response::IntoResponse>(
    wire: WireFormat,
    answer: impl Fn(&Seen) -> A + Clone + Send + Sync + 'static,
) -> CallError {
    let error = ask(wire, &request(), answer).await.0.unwrap_err();
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    error
}

#[tokio::test]
async fn a_status_says_what_it_means_for_the_caller_and_for_the_bill() {
    use Billing::{Nothing, Unknown};
    use ErrorClass::{RateLimited, Refused, Unavailable};
    for wire in WireFormat::ALL {
        for (status, code, class, billing) in [
            (302, "redirected", Refused, Nothing),
            (400, "provider_refused", Refused, Nothing),
            (401, "provider_auth", Refused, Nothing),
            (403, "provider_auth", Refused, Nothing),
            (404, "provider_refused", Refused, Nothing),
            (408, "provider_unavailable", Unavailable, Unknown),
            (429, "rate_limited", RateLimited, Nothing),
            (500, "provider_unavailable", Unavailable, Unknown),
            (503, "provider_unavailable", Unavailable, Unknown),
            (529, "overloaded", RateLimited, Nothing),
        ] {
            let error = failure(wire, move |_| {
                let body = json!({"error": {"message": "it   says\n\u{1b}so", "type": "x"}});
                (
                    StatusCode::from_u16(status).unwrap(),
                    [("location", "/elsewhere")],
                    axum::Json(body),
                )
            })
            .await;
            let found = (error.status, error.code, error.class, error.billing);
            assert_eq!(found, (Some(status), code, class, billing));
            assert_eq!(error.details.as_deref() == Some("it says so"), status != 401, "{error:?}");
            assert!(!error.message.contains("says so"), "{error}");
            assert!(error.message.starts_with("127.0.0.1:"), "{error}");
            assert_eq!((error.retry_after, error.usage), (None, None));
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(|_| "secret").await;
    let end = other.url("/");
    for wire in WireFormat::ALL {
        for status in [301, 302, 307, 308] {
            let location = end.clone();
            let error = failure(wire, move |_| {
                (StatusCode::from_u16(status).unwrap(), [("location", location.clone())])
            });
            assert_eq!(error.await.class, ErrorClass::Refused);
        }
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn retry_after_is_read_in_all_its_forms() {
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (headers, expected) in [
        (&[("retry-after", "7")][..], Some(7_000)),
        (&[("retry-after", "1.5")], Some(1_500)),
        (&[("retry-after", "9"), ("retry-after-ms", "250")], Some(250)),
        (&[DATE, ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some(10_000)),
        (&[DATE, ("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")], Some(0)),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "-5")], None),
        (&[("retry-after", "NaN")], None),
        (&[("retry-after-ms", "inf")], None),
        (&[("retry-after", "")], None),
        (&[], None),
    ] {
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::from_u16(529).unwrap()] {
            let all: Vec<_> = headers.to_vec();
            let error = failure(WireFormat::OpenAi, move |_| {
                let mut map = HeaderMap::new();
                for (name, value) in &all {
                    map.insert(*name, value.parse().unwrap());
                }
                (status, map)
            })
            .await;
            assert_eq!(error.retry_after, expected.map(Duration::from_millis), "{headers:?}");
        }
    }
}

#[tokio::test]
async fn a_spent_quota_is_no_matter_of_waiting() {
    let error = failure(WireFormat::OpenAi, |_| {
        let body = json!({"error": {"code": "insufficient_quota", "message": "pay"}});
        (StatusCode::TOO_MANY_REQUESTS, axum::Json(body))
    })
    .await;
    assert_eq!((error.code, error.class), ("provider_quota", ErrorClass::Refused));
}

#[tokio::test]
async fn an_error_repeats_no_key_and_little_of_what_it_is_given() {
    for wire in WireFormat::ALL {
        let error = failure(wire, |seen| {
            let key = ["authorization", "x-api-key", "x-goog-api-key"]
                .into_iter()
                .find_map(|name| seen.header(name));
            let key = key.unwrap();
            let encoded = base64::engine::general_purpose::STANDARD.encode(key);
            let (begin, end) = (&KEY[..12], &KEY[KEY.len() - 9..]);
            let message = format!("no {key} {KEY} {encoded} {begin}… …{end}{}", "é".repeat(10_000));
            (StatusCode::BAD_REQUEST, axum::Json(json!({"error": {"message": message}})))
        })
        .await;
        let details = error.details.as_deref().unwrap();
        assert!(details.contains("REDACTED") && details.ends_with('…'), "{details}");
        assert!(!details.contains("sk-s") && !details.contains("3456789"), "{details}");
        for at in 0..3 {
            let inside = base64::engine::general_purpose::STANDARD.encode(&KEY[at..]);
            assert!(!details.contains(&inside[..8]), "{details}");
        }
        assert!(details.len() < ERROR_TEXT_BYTES_MAX + 100);
    }
    let html =
        failure(WireFormat::OpenAi, |_| (StatusCode::BAD_GATEWAY, "<html>s3cret</html>")).await;
    assert!(html.message.ends_with("fails (status 502)"), "{html}");
}

#[tokio::test]
async fn a_stream_that_is_cut_says_so_with_what_was_counted() {
    for wire in WireFormat::ALL {
        let (begun, _) = halves(wire, "hello");
        let (ended, cutting) = (begun.clone(), begun);
        let clean_end = failure(wire, move |_| streamed(ended.clone())).await;
        let broken = failure(wire, move |_| cut(cutting.clone())).await;
        assert_eq!((clean_end.code, broken.code), ("malformed_answer", "interrupted"), "{wire}");
        for error in [clean_end, broken] {
            assert_eq!((error.class, error.billing), (ErrorClass::Cut, Billing::Unknown));
            assert_eq!((error.usage.unwrap().input_tokens, error.status), (10, Some(200)));
        }
    }
}

#[tokio::test]
async fn malformed_pieces_end_the_answer() {
    for wire in WireFormat::ALL {
        for broken in ["data: {\"choices\": [\n\n", "data: nothing\n\n", "data: \u{1}\n\n"] {
            let (begun, _) = halves(wire, "hello");
            let stream = format!("{begun}{broken}");
            let error = failure(wire, move |_| streamed(stream.clone())).await;
            assert_eq!((error.code, error.class), ("malformed_answer", ErrorClass::Cut), "{wire}");
            assert!(error.usage.is_some());
        }
        for (media, body) in [
            ("text/html", "<html>"),
            ("application/json", "{"),
            ("application/json", "[]"),
            ("text/event-stream", ""),
        ] {
            let error = failure(wire, move |_| ([("content-type", media)], body)).await;
            assert_eq!(
                (error.code, error.billing),
                ("malformed_answer", Billing::Unknown),
                "{media}"
            );
        }
    }
}

#[tokio::test]
async fn values_of_other_types_than_expected_make_nobody_panic() {
    let odd = [
        json!(null),
        json!(7),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!(true),
        json!([{"x": 1}]),
    ];
    let names = [
        "choices",
        "type",
        "message",
        "delta",
        "candidates",
        "usage",
        "usageMetadata",
        "content_block",
        "index",
        "promptFeedback",
    ];
    let mut all = Vec::new();
    for value in &odd {
        all.push(value.clone());
        for name in names {
            all.push(json!({ name: value }));
            all.push(json!({"type": "content_block_start", name: value}));
            all.push(json!({"type": "content_block_delta", name: value}));
            all.push(json!({"choices": [{ name: value, "delta": {"tool_calls": value, "content": value}}]}));
            all.push(json!({"candidates": [{"content": {"parts": [{"functionCall": value, "text": value}]}}], name: value}));
        }
    }
    for wire in WireFormat::ALL {
        let (_, end) = halves(wire, "");
        let stream = format!("{}{end}", events(&all));
        let reply = ask(wire, &request(), move |_| streamed(stream.clone())).await.0;
        assert!(reply.is_ok(), "{wire}: {reply:?}");
    }
}

#[tokio::test]
async fn nul_and_lone_surrogates_become_replacement_characters() {
    for wire in WireFormat::ALL {
        let (begun, end) = halves(wire, "a-MARK-b");
        let stream = format!("{}{end}", begun.replace("-MARK-", r"\u0000\ud83d-\ud83d\ude00"));
        let (reply, deltas, _) = ask(wire, &request(), move |_| streamed(stream.clone())).await;
        assert_eq!(reply.unwrap().text, "a\u{fffd}\u{fffd}-😀b", "{wire}");
        assert_eq!(deltas.concat(), "a\u{fffd}\u{fffd}-😀b");
    }
    // Within arguments they are escaped twice, and stay as the model sent them.
    let arguments = r#"{"q":"\u0000\ud800"}"#;
    let call = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function":
        {"name": "f", "arguments": arguments}}]}, "finish_reason": "stop"}]});
    let reply =
        ask(WireFormat::OpenAi, &request(), move |_| streamed(done(std::slice::from_ref(&call))))
            .await
            .0
            .unwrap();
    assert_eq!(reply.tool_calls[0].arguments, arguments);
    assert_eq!(parse_json(arguments).unwrap(), json!({"q": "\u{fffd}\u{fffd}"}));
}

#[tokio::test]
async fn arguments_that_are_no_json_stay_text() {
    let call = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "function":
        {"name": "f", "arguments": "q = 'x"}}]}, "finish_reason": "tool_calls"}]});
    let reply =
        ask(WireFormat::OpenAi, &request(), move |_| streamed(done(std::slice::from_ref(&call))))
            .await
            .0
            .unwrap();
    assert_eq!(reply.tool_calls, [call_of("call_1", "f", "q = 'x")]);
}

/// They would be paid, fill budgets, and be told apart in rows and spans.
#[tokio::test]
async fn counts_far_beyond_what_was_asked_for_are_missing() {
    let counted = |wire, input: u64, output: u64| match wire {
        WireFormat::OpenAi => {
            done(&[json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": input, "completion_tokens": output}})])
        }
        WireFormat::Anthropic => named(&[
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "x"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                "usage": {"input_tokens": input, "output_tokens": output}}),
            json!({"type": "message_stop"}),
        ]),
        WireFormat::Google => events(&[
            json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": input, "candidatesTokenCount": output}}),
        ]),
    };
    let spare = 32 * 1024;
    let output_max = 8 * u64::from(request().max_tokens) + spare;
    for wire in WireFormat::ALL {
        for (input, output, is_believed) in [
            (9, output_max, true),
            (9, output_max + 1, false),
            (spare, 9, true),
            (8 * 100_000, 9, false),
            (9, 1 << 50, false),
            (1 << 50, 9, false),
        ] {
            let stream = counted(wire, input, output);
            let reply = ask(wire, &request(), move |_| streamed(stream.clone())).await.0.unwrap();
            let usage = reply.usage.map(|usage| (usage.input_tokens, usage.output_tokens));
            assert_eq!(usage, is_believed.then_some((input, output)), "{wire}");
            assert_eq!(reply.text, "x");
        }
        let (begun, _) = halves(wire, "hello");
        let begun = begun.replace(":10", ":900000000");
        let error = failure(wire, move |_| streamed(begun.clone())).await;
        assert_eq!(error.usage, None, "{wire}");
    }
}

/// An integer that a float cannot hold, a name twice: who reads them finds out, not who carries them.
#[tokio::test]
async fn whole_arguments_on_the_wire_stay_as_the_model_wrote_them() {
    const ARGUMENTS: &str = r#"{"q":12345678901234567890123,"a":1,"a":2}"#;
    for (wire, event) in [
        (
            WireFormat::OpenAi,
            r#"{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":ARGS}}]},"finish_reason":"stop"}]}"#,
        ),
        (
            WireFormat::Anthropic,
            r#"{"type":"message","content":[{"type":"tool_use","id":"a","name":"f","input":ARGS}],"stop_reason":"tool_use"}"#,
        ),
        (
            WireFormat::Google,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"id":"a","name":"f","args":ARGS}}]},"finishReason":"STOP"}]}"#,
        ),
    ] {
        let event = event.replace("ARGS", ARGUMENTS);
        for media in ["text/event-stream", "application/json"] {
            let body = if media == "application/json" {
                event.clone()
            } else {
                format!("data: {event}\n\n")
            };
            let reply =
                ask(wire, &request(), move |_| ([("content-type", media)], body.clone())).await;
            assert_eq!(
                reply.0.unwrap().tool_calls,
                [call_of("a", "f", ARGUMENTS)],
                "{wire} {media}"
            );
        }
    }
    assert!(parse_json(ARGUMENTS).is_err());
}

/// An endless stream of one piece.
fn endless(piece: String, sent: Arc<AtomicUsize>) -> Response {
    let pieces = stream::repeat_with(move || {
        sent.fetch_add(piece.len(), Ordering::Relaxed);
        Ok::<_, Infallible>(piece.clone())
    });
    streamed(Body::from_stream(pieces))
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_given_up_early() {
    let padding = "x".repeat(60_000);
    for wire in WireFormat::ALL {
        let (text, _) = halves(wire, &padding);
        let (hidden, event) = (format!(": {padding}\n\n"), padding.clone());
        for (piece, part, limit) in [
            (text, "text", TEXT_BYTES_MAX),
            (hidden, "stream", ANSWER_BYTES_MAX),
            (event, "event", EVENT_BYTES_MAX),
        ] {
            let sent = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&sent);
            let error = failure(wire, move |_| endless(piece.clone(), Arc::clone(&counter))).await;
            assert_eq!(
                (error.code, error.class, error.billing),
                ("answer_too_large", ErrorClass::Cut, Billing::Unknown)
            );
            let expected = format!("the {part} of the model's answer is larger than {limit} bytes");
            assert_eq!(error.message, expected);
            // What was on its way when the connection was closed.
            assert!(sent.load(Ordering::Relaxed) < limit * 2 + 16 * 1024 * 1024);
        }
        let whole = vec![b' '; 50_000_000];
        let error =
            failure(wire, move |_| ([("content-type", "application/json")], whole.clone())).await;
        assert_eq!(error.code, "answer_too_large");
    }
}

#[tokio::test]
async fn calls_and_arguments_are_bounded() {
    let many: Vec<_> = (0..=TOOL_CALLS_MAX)
        .map(|index| json!({"index": index, "function": {"name": "f"}}))
        .collect();
    let large = vec![
        json!({"index": 0, "function": {"name": "f", "arguments": "x".repeat(ARGUMENTS_BYTES_MAX + 1)}}),
    ];
    for calls in [many, large] {
        let event = json!({"choices": [{"delta": {"tool_calls": calls}}]});
        let error =
            failure(WireFormat::OpenAi, move |_| streamed(done(std::slice::from_ref(&event))))
                .await;
        assert_eq!((error.code, error.class), ("answer_too_large", ErrorClass::Cut));
    }
    let event = json!({"id": "i".repeat(9_000), "model": "é".repeat(9_000), "choices": [{"finish_reason": "r".repeat(9_000),
        "delta": {"tool_calls": [{"function": {"name": "n".repeat(9_000)}}]}}]});
    let reply =
        ask(WireFormat::OpenAi, &request(), move |_| streamed(done(std::slice::from_ref(&event))))
            .await
            .0
            .unwrap();
    let names = [
        reply.model.unwrap(),
        reply.response_id.unwrap(),
        reply.finish_reason,
        reply.tool_calls[0].name.clone(),
    ];
    assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX), "{names:?}");
}

//! Waits: for a connection, the first token, the end, and for nobody any more.

use futures_util::future::join_all;
use tokio::net::TcpListener;

use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

/// Something of each wire format that is a token, and nothing else.
fn token(wire: WireFormat) -> String {
    match wire {
        WireFormat::OpenAi => {
            events(&[json!({"choices": [{"delta": {"reasoning_content": "hm"}}]})])
        }
        WireFormat::Anthropic => named(&[
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        ]),
        WireFormat::Google => events(&[
            json!({"candidates": [{"content": {"parts": [{"text": "hm", "thought": true}]}}]}),
        ]),
    }
}

#[tokio::test]
async fn the_first_token_and_the_end_have_times_of_their_own() {
    for wire in WireFormat::ALL {
        let silent = Server::start(|_| hanging(": still here\n\n".to_owned())).await;
        let at = provider(wire, &silent.url(""), Arc::new(Unobserved));
        let error = chat_within(&at, &request(), SHORT, LONG).await.0.unwrap_err();
        assert_eq!((error.code, error.class), ("first_token_timeout", ErrorClass::Timeout));
        assert_eq!(error.billing, Billing::Unknown);
        assert!(error.message.ends_with("within 100ms"), "{error}");

        let server = Server::start(move |_| hanging(token(wire))).await;
        let at = provider(wire, &server.url(""), Arc::new(Unobserved));
        // Long enough for the token, which has to come before the first of the two times is over.
        let two = Duration::from_secs(2);
        let error = chat_within(&at, &request(), two - SHORT, two).await.0.unwrap_err();
        assert_eq!((error.code, error.class), ("timeout", ErrorClass::Timeout), "{wire}");
    }
}

#[tokio::test]
async fn a_socket_that_hangs_and_one_that_closes_are_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let at = provider(WireFormat::OpenAi, &format!("http://{address}"), Arc::new(Unobserved));
    let error = chat_within(&at, &request(), LONG, SHORT).await.0.unwrap_err();
    assert_eq!((error.code, error.billing), ("timeout", Billing::Unknown));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
        }
    });
    let error = chat(&at, &request()).await.0.unwrap_err();
    assert_eq!((error.code, error.class), ("interrupted", ErrorClass::Cut));
    assert_eq!(error.billing, Billing::Unknown);
}

#[tokio::test]
async fn without_a_connection_nothing_is_billed() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for wire in WireFormat::ALL {
        let at = provider(wire, &format!("http://127.0.0.1:{port}"), Arc::new(Unobserved));
        let error = chat(&at, &request()).await.0.unwrap_err();
        assert_eq!((error.code, error.class), ("connect", ErrorClass::Unavailable));
        assert_eq!(error.billing, Billing::Nothing);
        assert_eq!(error.message, format!("no connection to 127.0.0.1:{port}: connection refused"));
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_ends_at_once() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&arrived);
    let server = Server::start(move |_| {
        notify.notify_one();
        hanging(String::new())
    })
    .await;
    let at = provider(WireFormat::OpenAi, &server.url(""), Arc::new(Unobserved));
    let (origin, cancelled, request) = (origin(), CancellationToken::new(), request());
    let call = Call {
        origin: &origin,
        idempotency_key: "k",
        first_token_timeout: LONG,
        timeout: LONG,
        deltas: None,
        cancelled: &cancelled,
    };
    let cancelling = async {
        arrived.notified().await;
        cancelled.cancel();
    };
    let (result, ()) = tokio::join!(at.model.chat(&request, &call), cancelling);
    let error = result.unwrap_err();
    assert_eq!(
        (error.code, error.class, error.billing),
        ("cancelled", ErrorClass::Cancelled, Billing::Unknown)
    );
    let again = at.model.chat(&request, &call).await.unwrap_err();
    assert_eq!(
        (again.code, again.billing, server.seen().len()),
        ("cancelled", Billing::Nothing, 1)
    );
}

/// A complete answer of each wire format, which is counted in its end or, if that is there, behind it; without the word
/// that ends the stream.
fn complete(wire: WireFormat, is_counted: bool) -> String {
    let mut all = match wire {
        WireFormat::OpenAi => vec![
            json!({"choices": [{"delta": {"content": "whole"}, "finish_reason": "stop"}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 1}}),
        ],
        WireFormat::Anthropic => vec![
            json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 0}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "whole"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
        ],
        WireFormat::Google => vec![
            json!({"candidates": [{"content": {"parts": [{"text": "whole"}]}, "finishReason": "STOP"}]}),
            json!({"usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1}}),
        ],
    };
    match (is_counted, wire) {
        (true, _) => {}
        (false, WireFormat::Anthropic) => all[2]["usage"] = Value::Null,
        (false, _) => all.truncate(1),
    }
    events(&all)
}

/// Some servers leave the connection open when they have said all, send what keeps it open, or break it.
#[tokio::test]
async fn a_complete_answer_is_one_however_its_stream_goes_on() {
    let all = WireFormat::ALL.into_iter().flat_map(|wire| [(wire, true), (wire, false)]);
    let asked = all.map(|(wire, is_counted)| async move {
        let body = complete(wire, is_counted);
        let kept_open = |body: String| {
            let first = stream::iter([Ok::<_, Infallible>(body)]);
            let comments = stream::unfold((), |()| async {
                tokio::time::sleep(SHORT).await;
                Some((Ok(": still here\n\n".to_owned()), ()))
            });
            streamed(Body::from_stream(first.chain(comments)))
        };
        for how in ["hangs", "is kept open", "is cut", "hangs within an event"] {
            let body = body.clone();
            let server = Server::start(move |_| match how {
                "hangs" => hanging(body.clone()),
                "is kept open" => kept_open(body.clone()),
                "is cut" => cut(body.clone()),
                _ => hanging(format!("{body}data: {{\"cho")),
            })
            .await;
            let at = provider(wire, &server.url(""), Arc::new(Unobserved));
            let reply = chat_within(&at, &request(), LONG, LONG).await.0;
            let reply = reply.unwrap_or_else(|error| panic!("{wire} {how}: {error}"));
            assert_eq!((&*reply.text, &*reply.finish_reason), ("whole", "stop"), "{wire} {how}");
            let counted = reply.usage.map(|usage| (usage.input_tokens, usage.output_tokens));
            assert_eq!(counted, is_counted.then_some((10, 1)), "{wire} {how}");
        }
    });
    join_all(asked).await;
}

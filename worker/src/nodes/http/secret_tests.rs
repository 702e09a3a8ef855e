//! What was sent in confidence does not come out again, whatever the server makes of it.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response as Answer};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::tests::{call, execute};
use super::*;
use crate::egress::test_server::{Seen, Server};
use crate::nodes::tests::context;

/// Says everything that it was asked.
fn everything(seen: &Seen) -> String {
    let mut text = format!("{} {}\n", seen.method, seen.uri);
    for (name, value) in &seen.headers {
        // Behind what the excerpt has no room for.
        if !["host", "accept", "user-agent", "traceparent", "content-type", "content-length"]
            .contains(&name.as_str())
        {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
    }
    text + &seen.body
}

fn assert_without(text: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "`{secret}` is in: {text}");
    }
    assert!(text.contains("REDACTED"), "{text}");
}

/// The message of the failure when a server refuses with what it was sent.
async fn refusal(params: Value) -> String {
    let server = Server::start(|seen| (StatusCode::UNAUTHORIZED, everything(seen))).await;
    let mut params = params;
    let url = params["url"].as_str().unwrap_or("http://HOST/").replace("HOST", &server.rule());
    params["url"] = url.into();
    let error = execute(&server.rule(), &context(), params).await.unwrap_err();
    assert_eq!(&*error.failure.code, "http_status");
    error.failure.message
}

#[tokio::test]
async fn a_refusal_does_not_repeat_what_it_was_sent_in_confidence() {
    let post = |field: &str, value: Value| json!({ "method": "POST", field: value });
    for params in [
        post("form", json!({ "client_secret": "HUSH-hush&1" })),
        post("form", json!({ "password": ["other-one", "HUSH-hush&1"] })),
        post("body", json!({ "password": "HUSH-hush&1" })),
        post("body", json!({ "deep": [{ "api_key": { "value": ["HUSH-hush&1"] } }] })),
        post("body", json!(r#"{"login": {"password": "HUSH-hush&1"}}"#)),
        json!({
            "method": "POST", "body": "user=me&password=HUSH-hush%261",
            "headers": { "content-type": "application/x-www-form-urlencoded" },
        }),
        json!({ "query": { "access_token": "HUSH-hush&1" } }),
        // Space around a header's value does not reach the server.
        json!({ "headers": { "authorization": "Bearer  HUSH-hush&1 " } }),
        json!({ "headers": { "x-api-key": " HUSH-hush&1\t" } }),
        json!({ "url": "http://HOST/?key=HUSH-hush%261" }),
        json!({ "headers": { "Cookie": "theme=dark; session=HUSH-hush&1" } }),
        json!({ "headers": { "X-Api-Key": "HUSH-hush&1" } }),
        json!({ "headers": { "Authorization": "Token token=\"HUSH-hush&1\", app=me" } }),
    ] {
        let message = refusal(params.clone()).await;
        assert_without(&message, &["HUSH-hush&1", "HUSH-hush%261", "hush"]);
    }
    // User and password of a URL are sent as `Authorization`, in base64.
    let message = refusal(json!({ "url": "http://clerk-17:HUSH-hush%261@HOST/" })).await;
    let sent = STANDARD.encode("clerk-17:HUSH-hush&1");
    assert_without(&message, &[&sent, sent.trim_end_matches('=')]);
}

#[tokio::test]
async fn a_secret_is_known_in_every_usual_form() {
    const SECRET: &str = "a+b/c\"d ü\\e'<1>";
    let percent = |upper: bool, all: bool| -> String {
        let byte = |byte: &u8| match byte {
            b'a'..=b'z' | b'0'..=b'9' if !all => char::from(*byte).to_string(),
            byte if upper => format!("%{byte:02X}"),
            byte => format!("%{byte:02x}"),
        };
        SECRET.as_bytes().iter().map(byte).collect()
    };
    let form: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let quoted = Value::from(SECRET).to_string();
    let quoted = quoted.trim_matches('"').to_owned();
    let pair = format!("clerk-17:{SECRET}");
    let hex = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let twice = Value::from(quoted.as_str()).to_string();
    for form in [
        SECRET.to_owned(),
        percent(true, false),
        percent(false, false),
        percent(true, true),
        percent(true, false).replace('%', "%25"),
        form,
        quoted.replace('/', "\\/"),
        quoted.replace('ü', "\\u00fc"),
        quoted.replace('ü', "\\u00FC").replace('<', "\\u003c"),
        twice.trim_matches('"').to_owned(),
        quoted,
        "a+b/c&quot;d ü\\e&#39;&lt;1&gt;".to_owned(),
        "a&#43;b&#x2F;c&#34;d &#xfc;\\e&apos;&lt;1&gt;".to_owned(),
        STANDARD.encode(SECRET),
        STANDARD_NO_PAD.encode(SECRET),
        URL_SAFE.encode(SECRET),
        URL_SAFE_NO_PAD.encode(SECRET),
        STANDARD.encode(&pair),
        URL_SAFE_NO_PAD.encode(&pair),
        url::form_urlencoded::byte_serialize(STANDARD.encode(&pair).as_bytes()).collect(),
        hex.to_uppercase(),
        hex,
    ] {
        let repeated = form.clone();
        let server = Server::start(move |_| (StatusCode::FORBIDDEN, format!("<{repeated}>"))).await;
        let user = url::Url::parse(&server.url("/")).map(|mut url| {
            url.set_username("clerk-17").unwrap();
            url.set_password(Some(SECRET)).unwrap();
            url
        });
        let params = json!({ "url": user.unwrap().as_str() });
        let error = execute(&server.rule(), &context(), params).await.unwrap_err();
        let message = error.failure.message;
        assert!(message.ends_with(": <REDACTED>"), "{form} became {message}");
    }
}

#[tokio::test]
async fn short_values_and_what_is_no_secret_tear_no_holes() {
    let params = json!({
        "method": "POST", "form": { "password": "a", "pin_code": "12345", "city": "Oslo-East" },
    });
    let message = refusal(params).await;
    assert!(message.contains("password=a&pin_code=12345&city=Oslo-East"), "{message}");
}

#[tokio::test]
async fn an_error_of_the_answer_does_not_quote_a_secret_either() {
    let server = Server::start(|_| {
        ([("content-type", "application/json")], r#"{"HUSH-hush": 1, "HUSH-hush": 2}"#)
    })
    .await;
    let params = json!({ "headers": { "x-api-key": "HUSH-hush" } });
    let error = call(&server, "/", params).await.unwrap_err();
    assert_eq!(&*error.failure.code, "invalid_response");
    assert!(!error.failure.message.contains("HUSH"), "{}", error.failure.message);
}

/// Answers with what it was sent, in its head and its body.
fn mirror(seen: &Seen) -> Answer {
    let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
    let key = seen.header("x-api-key").unwrap_or_default();
    let headers = [("x-seen", key), ("content-type", "application/json")];
    let answer = json!({
        "seen": body, "uri": seen.uri, "head": [key], "token": "what the server gives", key: 1,
    });
    (headers, answer.to_string()).into_response()
}

#[tokio::test]
async fn the_output_of_a_success_holds_no_credential_that_was_sent() {
    let server = Server::start(mirror).await;
    let params = json!({
        "method": "POST",
        "headers": { "X-Api-Key": "HUSH-hush" },
        "query": { "api_key": "QUIET-quiet", "issueKey": "PROJ-12345", "state": "in-progress" },
        "body": { "password": 71_234_567, "user": "clerk-17" },
    });
    let output = call(&server, "/", params).await.unwrap();
    let text = output.to_string();
    assert_without(&text, &["HUSH", "hush", "QUIET", "71234567"]);
    // What identifies the thing that is asked for is what the workflow is about.
    assert!(text.contains("issueKey=PROJ-12345&state=in-progress"), "{text}");
    assert_eq!(output["body"]["seen"], json!({ "password": "REDACTED", "user": "clerk-17" }));
    // What a login has answered is for the nodes that follow.
    assert_eq!(output["body"]["token"], "what the server gives");
    assert_eq!(output["headers"]["x-seen"], "REDACTED");
}

#[tokio::test]
async fn the_answers_own_credentials_are_not_kept() {
    let masked = [
        "authorization",
        "x-auth-token",
        "x-subject-token",
        "proxy-authorization",
        "x-amz-security-token",
        "x-csrf-token",
        "x-session-id",
        "x-api-key",
    ];
    let kept = [
        "www-authenticate",
        "x-next-page-token",
        "x-ratelimit-remaining-tokens",
        "x-ms-continuationtoken",
        "etag",
        "location",
        "content-encoding-was",
    ];
    let server = Server::start(move |_| {
        let names = masked.iter().chain(&kept).chain(&["set-cookie", "set-cookie2"]);
        let headers = names.map(|name| (name.parse().unwrap(), "TOPSECRET-1".parse().unwrap()));
        (HeaderMap::from_iter(headers), "TOPSECRET-1")
    })
    .await;
    let output = call(&server, "/", json!({})).await.unwrap();
    let headers = output["headers"].as_object().unwrap();
    for name in masked {
        assert_eq!(headers[name], "REDACTED", "{name}");
    }
    for name in kept {
        assert_eq!(headers[name], "TOPSECRET-1", "{name}");
    }
    assert!(!headers.contains_key("set-cookie") && !headers.contains_key("set-cookie2"));
    assert_eq!(output["body"], "TOPSECRET-1", "what a login answers is passed on by its body");
}

#[tokio::test]
async fn the_record_of_a_request_shows_no_secret_wherever_it_stands() {
    let server = Server::start(|_| "ok").await;
    let _ = server;
    let node =
        Http::new(crate::egress::Egress::new(&crate::egress::EgressConfig::default()).unwrap());
    for (params, shown) in [
        (
            json!({ "url": "https://h/x", "headers": { "X-Api-Key": "HUSH-hush" }, "query": { "q": "is HUSH-hush in use" } }),
            json!({ "url": "https://h/x", "headers": { "X-Api-Key": "REDACTED" }, "query": { "q": "is REDACTED in use" } }),
        ),
        (
            json!({ "url": "https://h/x", "body": r#"{"user":"me","password":"HUSH-hush"}"# }),
            json!({ "url": "https://h/x", "body": r#"{"user":"me","password":"REDACTED"}"# }),
        ),
        (
            json!({
                "url": "https://h/x", "body": "user=me&password=ab",
                "headers": { "Content-Type": "application/x-www-form-urlencoded; charset=utf-8" },
            }),
            json!({
                "url": "https://h/x", "body": "user=me&password=REDACTED",
                "headers": { "Content-Type": "application/x-www-form-urlencoded; charset=utf-8" },
            }),
        ),
        (
            json!({ "url": "https://h/x", "body": { "password": { "old": "ab", "new": ["cd"] } } }),
            json!({ "url": "https://h/x", "body": { "password": "REDACTED" } }),
        ),
        (json!({ "url": "https://me:HUSH@h h/" }), json!({ "url": "REDACTED" })),
    ] {
        assert_eq!(node.shown(&params), Some(shown), "{params}");
    }
}

//! How answers are read: as strictly as inputs are, in whatever characters they are written.

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::tests::{call, typed};
use crate::egress::test_server::Server;

#[tokio::test]
async fn a_number_of_an_answer_is_exact_or_the_answer_is_refused() {
    for (text, exact) in [
        ("9007199254740993", json!(9_007_199_254_740_993_u64)),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1e30", json!(1e30)),
        ("0.1", json!(0.1)),
    ] {
        let body = format!(r#"{{"id": {text}, "digits": "123456789012345678901234567890"}}"#);
        let body = typed("application/json", String::leak(body).as_bytes()).await.unwrap();
        assert_eq!(body["id"], exact, "{text}");
    }
    for text in [
        r#"{"id": 123456789012345678901234567890}"#,
        r#"[[{"id": -9223372036854775809}]]"#,
        r#"{"id": 18446744073709551616}"#,
        r#"{"id": 1e999}"#,
        r#"{"id": 1, "id": 2}"#,
    ] {
        let error = typed("application/json", text.as_bytes()).await.unwrap_err();
        assert_eq!((&*error.failure.code, error.retryable), ("invalid_response", false), "{text}");
    }
    let error = typed("application/json", br#"{"a": [{"id": 123456789012345678901}]}"#).await;
    let message = error.unwrap_err().failure.message;
    assert!(message.contains("64 bits") && message.contains("/a/0/id"), "{message}");
}

#[tokio::test]
async fn a_json_body_of_nothing_but_blanks_is_null() {
    for body in [&b""[..], b" ", b"\r\n", b"\n\t \r", b"\xef\xbb\xbf\n"] {
        assert_eq!(typed("application/json", body).await.unwrap(), Value::Null, "{body:?}");
    }
    assert_eq!(typed("text/plain", b" \n").await.unwrap(), " \n");
}

#[tokio::test]
async fn text_is_read_in_the_characters_that_its_sender_names() {
    const JAPANESE: &[u8] = b"\x1b$B$3$s\x1b(B";
    for (content_type, body, text) in [
        ("text/plain; charset=ISO-8859-1", &b"\x4d\xfc"[..], "Mü"),
        ("text/plain; charset=iso-8859-15", b"\xa4", "€"),
        ("text/plain;x=\"a;charset=utf-8\"; Charset=\"ISO-8859-1\"", b"\x4d\xfc", "Mü"),
        ("text/plain; charset='latin1'", b"\x4d\xfc", "Mü"),
        ("text/csv; charset=windows-1252", b"\x80", "€"),
        ("text/plain; charset=ISO-2022-JP", JAPANESE, "こん"),
        ("text/plain; charset=Shift_JIS", b"\x82\xb1\x82\xf1", "こん"),
        ("text/plain; charset=utf-16", b"\xfe\xff\0M\0\xfc", "Mü"),
        ("text/plain; charset=utf-16le", b"M\0\xfc\0", "Mü"),
        ("text/plain; charset=utf-8", "Mü".as_bytes(), "Mü"),
        // What nobody knows says nothing.
        ("text/plain; charset=klingon", "Mü".as_bytes(), "Mü"),
        ("application/xml; charset=ISO-8859-1", b"<a>M\xfc</a>", "<a>Mü</a>"),
        (
            "image/svg+xml",
            b"<?xml version='1.0' encoding='ISO-8859-1'?><a>M\xfc</a>",
            "<?xml version='1.0' encoding='ISO-8859-1'?><a>Mü</a>",
        ),
        // The header knows better than the document: a proxy may have written it anew.
        (
            "text/xml; charset=utf-8",
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>ü</a>".as_bytes(),
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>ü</a>",
        ),
    ] {
        assert_eq!(typed(content_type, body).await.unwrap(), text, "{content_type}");
    }
    let latin = typed("application/json; charset=ISO-8859-1", b"{\"a\": \"M\xfc\"}").await;
    assert_eq!(latin.unwrap(), json!({ "a": "Mü" }));
    let japanese = [b"[\"".as_slice(), JAPANESE, b"\"]"].concat().leak();
    let japanese = typed("application/json; charset=iso-2022-jp", japanese).await;
    assert_eq!(japanese.unwrap(), json!(["こん"]));
}

#[tokio::test]
async fn bytes_that_are_no_text_of_their_charset_are_kept_as_bytes_or_refused_as_json() {
    for (content_type, body) in [
        ("text/plain; charset=utf-8", &b"\x4d\xfc"[..]),
        ("text/plain; charset=Shift_JIS", b"\x4d\xfc"),
        ("text/plain", b"\x4d\xfc"),
        ("image/png; charset=ISO-8859-1", b"\x4d\xfc"),
        ("application/octet-stream; charset=ISO-8859-1", b"\x4d\xfc"),
    ] {
        assert_eq!(typed(content_type, body).await.unwrap(), json!({ "base64": "Tfw=" }));
    }
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        let error = typed(content_type, b"[\"M\xfc\"]").await.unwrap_err();
        assert_eq!(&*error.failure.code, "invalid_response");
    }
}

#[tokio::test]
async fn a_refusal_is_quoted_in_its_own_characters() {
    let server = Server::start(|_| {
        let headers = [("content-type", "text/plain; charset=ISO-8859-1")];
        (StatusCode::BAD_REQUEST, headers, &b"M\xfcll"[..])
    })
    .await;
    let error = call(&server, "/", json!({})).await.unwrap_err();
    assert!(error.failure.message.ends_with(": Müll"), "{}", error.failure.message);
}

#[tokio::test]
async fn a_header_that_is_not_ascii_loses_nothing() {
    let server = Server::start(|_| {
        let mut headers = HeaderMap::new();
        headers.append("x-old", HeaderValue::from_bytes(b"M\xfcll").unwrap());
        headers.append("x-new", HeaderValue::from_bytes("Müll".as_bytes()).unwrap());
        headers
    })
    .await;
    let output = call(&server, "/", json!({})).await.unwrap();
    assert_eq!(output["headers"]["x-old"], "Müll");
    assert_eq!(output["headers"]["x-new"], "Müll");
}

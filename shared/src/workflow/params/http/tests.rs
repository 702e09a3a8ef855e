use super::*;
use crate::domain::diagnostic::Diagnostic;
use crate::workflow::compile::compile;

#[test]
fn the_effect_follows_method_and_key() {
    for (params, expected) in [
        (json!({}), Effect::Idempotent),
        (json!({"method": "DELETE"}), Effect::Idempotent),
        (json!({"method": "PUT", "idempotency_key": false}), Effect::Idempotent),
        (json!({"method": "POST"}), Effect::Keyed),
        (json!({"method": "PATCH", "idempotency_key": true}), Effect::Keyed),
        (json!({"method": "POST", "idempotency_key": false}), Effect::Unsafe),
    ] {
        assert_eq!(effect(&params), expected, "{params}");
    }
}

#[test]
fn statuses_from_400_on_are_failures_unless_accepted() {
    let accepting = |entries: Value| {
        HttpParams::read(json!({"url": "https://h/", "accept_status": entries})).unwrap()
    };
    let params = accepting(json!([404, "5xx"]));
    for (status, expected) in [(200, true), (399, true), (404, true), (403, false), (503, true)] {
        assert_eq!(params.accept_status.accepts(status), expected, "{status}");
    }
    assert!(!accepting(json!([])).accept_status.accepts(500));
    for entry in [json!(99), json!(600), json!(404.5), json!("6xx"), json!("+4xx"), json!("404")] {
        assert_eq!(accept::Accepted::of(&entry), None, "{entry}");
    }
}

#[test]
fn written_and_rendered_parameters_have_the_same_effect() {
    for method in Method::WORDS {
        for key in [None, Some(true), Some(false)] {
            let mut params = json!({"url": "https://h/", "method": method});
            params["idempotency_key"] = key.into();
            assert_eq!(HttpParams::read(params.clone()).unwrap().effect(), effect(&params));
        }
    }
}

fn diagnostics_of(params: &Value) -> Vec<Diagnostic> {
    let node = json!({"id": "call", "type": "http", "params": params});
    compile(&json!({"name": "a", "nodes": [node]})).err().unwrap_or_default()
}

#[test]
fn what_is_wrong_with_a_literal_address_or_header_is_reported_when_it_is_saved() {
    for (params, pointer, says) in [
        (json!({"url": "http://127.0.0.1:99999/"}), "url", "port"),
        (json!({"url": "http://[fe80::1%25eth0]/"}), "url", "IPv6"),
        (json!({"url": "http://h/a\r\nb"}), "url", "line break"),
        (json!({"url": "http://h/", "headers": {"x": "a\nb"}}), "headers/x", "line break"),
        (json!({"url": "http://h/", "headers": {"x": "a\u{0}"}}), "headers/x", "control character"),
        (json!({"url": "http://h/", "headers": {"x\r\n": "a"}}), "headers/x\r\n", "no name"),
        (
            json!({"url": "http://h/", "headers": {"Expect": "a"}}),
            "headers/Expect",
            "by the client",
        ),
    ] {
        let diagnostics = diagnostics_of(&params);
        assert_eq!(diagnostics.len(), 1, "{params}: {diagnostics:?}");
        let diagnostic = &diagnostics[0];
        assert_eq!(diagnostic.pointer, format!("/nodes/0/params/{pointer}"), "{diagnostic:?}");
        assert!(diagnostic.message.contains(says) && !diagnostic.hint.is_empty(), "{diagnostic:?}");
    }
}

#[test]
fn what_expressions_will_yield_is_left_to_the_worker() {
    for params in [
        json!({"url": "http://h:{{ run.id }}/"}),
        json!({"url": "https://h/", "headers": {"x": "{{ run.id }}\n"}}),
        json!({"url": "https://h/\n", "headers": {"x": "a\tb ä"}}),
    ] {
        assert_eq!(diagnostics_of(&params), [], "{params}");
    }
}

#[test]
fn an_idempotency_key_of_the_authors_own_is_refused_only_where_there_would_be_two() {
    let params = |method: &str, key: Option<bool>| {
        let headers = json!({"Idempotency-Key": "order-{{ input.id }}"});
        let mut params = json!({"url": "https://h/", "method": method, "headers": headers});
        if let Some(key) = key {
            params["idempotency_key"] = key.into();
        }
        params
    };
    for (method, key) in [("POST", None), ("PATCH", None), ("POST", Some(true))] {
        let diagnostics = diagnostics_of(&params(method, key));
        assert_eq!(diagnostics.len(), 1, "{method} {key:?}: {diagnostics:?}");
        assert_eq!(diagnostics[0].pointer, "/nodes/0/params/headers/Idempotency-Key");
        assert!(diagnostics[0].hint.contains("`idempotency_key: false`"), "{:?}", diagnostics[0]);
    }
    for (method, key) in [
        ("POST", Some(false)),
        ("PATCH", Some(false)),
        ("GET", None),
        ("PUT", None),
        ("DELETE", Some(true)),
    ] {
        assert_eq!(diagnostics_of(&params(method, key)), [], "{method} {key:?}");
    }
    // The key is the author's, and so is the promise that it makes.
    assert_eq!(effect(&params("POST", Some(false))), Effect::Unsafe);
}

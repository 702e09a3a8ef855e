//! Each diagnostic of a text says where it is, in words of our own, and what would be right.

use serde_json::json;

use super::*;

fn diagnostic(text: &str, format: Format) -> Diagnostic {
    let diagnostic = parse(text, Some(format)).expect_err(text);
    assert!(!diagnostic.hint.is_empty(), "{text:?}: {diagnostic:?}");
    diagnostic
}

#[track_caller]
fn is(text: &str, format: Format, pointer: &str, says: &str) {
    let diagnostic = diagnostic(text, format);
    assert_eq!(diagnostic.pointer, pointer, "{text:?}: {diagnostic:?}");
    assert!(diagnostic.placed_message().contains(says), "{text:?}: {diagnostic:?}");
    assert!(!diagnostic.message.contains("malformed"), "{text:?}: {diagnostic:?}");
}

#[test]
fn diagnostics_of_json_point_to_their_value() {
    for (text, pointer, says) in [
        ("{\"a\": {\"b/c\": 1, \"b/c\": 2}}", "/a/b~1c", "`b/c` is there twice at line 1"),
        ("[1, {\"n\": [0, 18446744073709551616]}]", "/1/n/1", "more than 64 bits"),
        ("{\"a\": 1, \"b\": [1e400]}", "/b/0", "too large at line 1"),
    ] {
        is(text, Format::Json, pointer, says);
    }
}

#[test]
fn diagnostics_of_yaml_point_to_their_value() {
    for (text, pointer, says) in [
        ("a:\n  b/c: 1\n  b/c: 2\n", "/a/b~1c", "`b/c` is there twice at line 3"),
        ("a: 1\nb: [0, 18446744073709551616]\n", "/b/1", "more than 64 bits"),
        ("a: 1\nb: &x\n  c: [*x]\n", "/b/c/0", "an alias within its own anchor at line 3"),
        ("a: 1\nb:\n  ~: 1\n", "/b", "a key that is null at line 3"),
        ("a: 1\nb: { [x]: 1 }\n", "/b", "a key that is no text at line 2"),
        ("a: 1\nb: [.inf]\n", "/b/0", "`.inf` is no finite number at line 2"),
        ("a: 1\nb: !secret x\n", "/b", "`!secret` is not known at line 2"),
        ("a: 1\nb: !!int x\n", "/b", "a value that its tag does not fit at line 2"),
        ("a: 1\nb: { <<: 1 }\n", "/b", "nothing to merge at line 2"),
    ] {
        is(text, Format::Yaml, pointer, says);
    }
}

#[test]
fn nesting_too_deeply_points_to_where_it_does() {
    let deep = |n: usize| format!("{{\"a\": {}1{}}}", "[".repeat(n), "]".repeat(n));
    let pointer = format!("/a{}", "/0".repeat(JSON_DEPTH_MAX - 1));
    for format in [Format::Json, Format::Yaml] {
        is(&deep(JSON_DEPTH_MAX), format, &pointer, "nested too deeply at line 1");
        let much = deep(10 * JSON_DEPTH_MAX);
        assert!(diagnostic(&much, format).message.contains("nested too deeply"), "{format:?}");
        assert!(parse(&deep(JSON_DEPTH_MAX - 1), Some(format)).is_ok());
    }
}

#[test]
fn diagnostics_of_the_whole_text_speak_of_yaml_and_json_and_not_of_a_parser() {
    for (text, format, says) in [
        ("a: 1\n---\nb: 2\n", Format::Yaml, "more than one document"),
        ("a: *b\n", Format::Yaml, "an alias without an anchor"),
        ("a: [1\nb: 2\n", Format::Yaml, "line 2"),
        ("{\"a\": 1,}", Format::Json, "trailing comma"),
        ("{\"a\": 1", Format::Json, "line 1"),
    ] {
        let diagnostic = diagnostic(text, format);
        assert_eq!(diagnostic.pointer, "", "{text:?}: {diagnostic:?}");
        assert!(diagnostic.placed_message().contains(says), "{text:?}: {diagnostic:?}");
        for word in ["budget", "Option", "policy", "weak"] {
            assert!(!diagnostic.message.contains(word), "{text:?}: {diagnostic:?}");
        }
    }
}

#[test]
fn numbers_with_a_leading_zero_are_refused_and_the_same_in_quotes_is_text() {
    for (text, pointer, says) in [
        ("value: [7, 007]\n", "/value/1", "`007`"),
        ("a: \"007\"\nb: { c: -01234 }\n", "/b/c", "`-01234`"),
        ("a: 017\n", "/a", "`017`"),
    ] {
        is(text, Format::Yaml, pointer, says);
    }
    let text = "a: ['007', \"01234\"]\nb: 0.5\nc: 0\nd: 12:05\ne: 2026-01-02\n007: 7.0\n# 08\n";
    let expected = json!({
        "a": ["007", "01234"], "b": 0.5, "c": 0, "d": "12:05", "e": "2026-01-02", "007": 7.0
    });
    assert_eq!(parse(text, Some(Format::Yaml)), Ok(expected));
}

#[test]
fn digits_with_underscores_are_text_as_yaml_1_2_has_it() {
    assert_eq!(parse("[1_000, 1_0.5]", Some(Format::Yaml)), Ok(json!(["1_000", "1_0.5"])));
}

#[test]
fn binary_values_are_refused() {
    for value in ["aGk=", "\"aGk=\"", "no base64", "/w=="] {
        is(&format!("a: 1\nb: !!binary {value}\n"), Format::Yaml, "/b", "`!!binary`");
    }
}

use serde_json::json;

use super::*;

fn message(text: &str, format: Format) -> String {
    parse(text, Some(format)).unwrap_err().placed_message().into_owned()
}

#[test]
fn json_and_yaml_read_the_same() {
    let expected = json!({"name": "a", "on": "error", "n": [1, -2, 2.5, true, null, "no", "12"]});
    let yaml = "name: a\non: error\nn: [1, -2, 2.5, true, null, no, '12']\n";
    assert_eq!(parse(yaml, None), Ok(expected.clone()));
    assert_eq!(parse(&expected.to_string(), None), Ok(expected.clone()));
    assert_eq!(parse(&format!("\u{feff}{expected}"), None), Ok(expected));
}

#[test]
fn flow_yaml_is_not_taken_for_json() {
    assert_eq!(parse("{a: 1, b: [x]}", None), Ok(json!({"a": 1, "b": ["x"]})));
    assert!(parse("{\"a\": 1,}", None).unwrap_err().message.contains("malformed JSON"));
}

#[test]
fn malformed_text_is_reported_with_line_and_column() {
    for (text, format, part) in [
        ("{\"a\": }", Format::Json, "line 1 column 7"),
        ("{\"a\": 1} x", Format::Json, "line 1 column 10"),
        ("", Format::Json, "line 1 column 1"),
        ("a: [1\nb: 2\n", Format::Yaml, "line 2"),
        ("a: 1\n  b: 2\n", Format::Yaml, "line 2"),
        ("a: .nan\n", Format::Yaml, "line 1"),
        ("a: !secret x\n", Format::Yaml, "line 1"),
        ("a: 1\n---\nb: 2\n", Format::Yaml, "malformed YAML"),
    ] {
        let message = message(text, format);
        assert!(message.contains(part), "{text:?}: {message}");
    }
}

#[test]
fn a_key_twice_is_refused() {
    let text = message("{\"a\": 1,\n \"a\": 2}", Format::Json);
    assert!(text.contains("`a` is there twice") && text.contains("line 2"), "{text}");
    let text = message("b:\n  a: 1\n  a: 2\n", Format::Yaml);
    assert!(text.contains("`a` is there twice") && text.contains("line 3"), "{text}");
}

#[test]
fn integers_that_would_be_rounded_are_refused_with_their_location() {
    for (text, column) in [
        ("[18446744073709551616]", "column 2"),
        ("[1, -9223372036854775809]", "column 5"),
        ("[\"\\\"\", 100000000000000000000000]", "column 8"),
    ] {
        for format in [Format::Json, Format::Yaml] {
            let message = message(text, format);
            assert!(message.contains("would be rounded"), "{format:?} {text}: {message}");
            assert!(message.ends_with(&format!("line 1 {column}")), "{format:?} {text}: {message}");
        }
    }
    for text in ["[18446744073709551615]", "[-9223372036854775808]", "[1e20, 1.5E+300]"] {
        for format in [Format::Json, Format::Yaml] {
            assert!(parse(text, Some(format)).is_ok(), "{format:?} {text}");
        }
    }
    let text = "[1e20, \"\\\\\", \"18446744073709551616\"]";
    assert_eq!(parse(text, Some(Format::Json)), Ok(json!([1e20, "\\", "18446744073709551616"])));
}

#[test]
fn only_the_value_that_is_read_is_judged_and_not_what_stands_beside_it() {
    for text in [
        "{n: 1e30, id: '123456789012345678901234'}",
        "n: 1e30 # not 123456789012345678901234\n",
        "n: 1.0e+30\ntext: |\n  123456789012345678901234\n  18446744073709551616\n",
        "123456789012345678901234: 1e30\n",
        "n: 1e30\ns: say 123456789012345678901234 and 007\n",
    ] {
        let read = parse(text, Some(Format::Yaml)).map_err(|diagnostic| diagnostic.message);
        assert!(read.is_ok(), "{text}: {read:?}");
    }
    let diagnostic = parse("[1e30, 123456789012345678901234]", Some(Format::Json)).unwrap_err();
    assert_eq!(diagnostic.pointer, "/1", "{diagnostic:?}");
    for text in [
        "a: 1e30\nn: 123456789012345678901234\n",
        "a: '1e30'\nn: +123456789012345678901234\n",
        "a: &x 123456789012345678901234\n",
    ] {
        assert!(message(text, Format::Yaml).contains("would be rounded"), "{text}");
    }
}

#[test]
fn a_location_is_reported_once() {
    for (text, format) in [
        ("{\"a\": }", Format::Json),
        ("a: [1\nb: 2\n", Format::Yaml),
        ("a: 1\n  b: 2\n", Format::Yaml),
        ("a: .nan\n", Format::Yaml),
        ("b:\n  a: 1\n  a: 2\n", Format::Yaml),
        ("a: !secret x\n", Format::Yaml),
        ("a: 18446744073709551616\n", Format::Yaml),
    ] {
        let message = message(text, format);
        assert_eq!(message.matches("line ").count(), 1, "{text:?}: {message}");
    }
}

#[test]
fn depth_and_size_are_limited() {
    let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(&deep(JSON_DEPTH_MAX), Some(Format::Json)).is_ok());
    for format in [Format::Json, Format::Yaml] {
        assert!(parse(&deep(JSON_DEPTH_MAX + 1), Some(format)).is_err());
        assert!(parse(&deep(100_000), Some(format)).is_err());
        assert!(parse(&" ".repeat(DOCUMENT_BYTES_MAX + 1), Some(format)).is_err());
    }
    let block: String = (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n % 200))).collect();
    assert!(parse(&block, Some(Format::Yaml)).is_err());
}

#[test]
fn aliases_work_and_alias_bombs_do_not() {
    let text = "a: &retry { max_attempts: 3 }\nb: *retry\nc:\n  <<: *retry\n  backoff: 1s\n";
    let expected = json!({
        "a": {"max_attempts": 3}, "b": {"max_attempts": 3}, "c": {"max_attempts": 3, "backoff": "1s"}
    });
    assert_eq!(parse(text, None), Ok(expected));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    let started = std::time::Instant::now();
    assert!(parse(&bomb, Some(Format::Yaml)).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(2));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[-a-c:{}\\[\\],&*!|>'\"#%@ \n0-9.~]{0,60}") {
        let _ = parse(&text, None);
    }
}

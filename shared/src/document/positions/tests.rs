//! What is found in a text is where people find it.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::document::parse;
use crate::domain::diagnostic::Position;

fn place(text: &str, format: Format, pointer: &str, part: Part) -> (usize, usize) {
    let mut diagnostic = Diagnostic::new(pointer, "", "").of(part);
    locate(text, format, std::slice::from_mut(&mut diagnostic));
    let Position { line, column } = diagnostic.position.unwrap_or_else(|| panic!("{text:?}"));
    (line, column)
}

/// Where a sign stands that is there once.
fn place_of_sign(text: &str) -> (usize, usize) {
    let at = text.find('§').unwrap();
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// Where the only sign of a document lies: in which value, and from which byte of it on.
fn find_sign(value: &Value, pointer: &str) -> Option<(String, usize)> {
    match value {
        Value::String(text) => text.find('§').map(|at| (pointer.to_owned(), at)),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| find_sign(item, &format!("{pointer}/{at}")))
        }
        Value::Object(fields) => {
            fields.iter().find_map(|(key, it)| find_sign(it, &format!("{pointer}/{key}")))
        }
        _ => None,
    }
}

#[test]
fn values_and_keys_are_found() {
    let yaml = "\
# a comment
name: x
nodes:
  - id: a
    params: { url: 'u', n: [1, 2] }
  - id: b
    params:
      \"ä/b~\": !!str 5
      empty:
      list:
        - - 7
  - &c
    id: c
\"ä\":   6
";
    for (pointer, part, expected) in [
        ("", Part::Value, (2, 1)),
        ("/name", Part::Value, (2, 7)),
        ("/name", Part::Key, (2, 1)),
        ("/nodes", Part::Value, (3, 1)),
        ("/nodes/0", Part::Value, (4, 5)),
        ("/nodes/0/params", Part::Value, (5, 13)),
        ("/nodes/0/params/url", Part::Value, (5, 20)),
        ("/nodes/0/params/n/1", Part::Value, (5, 32)),
        ("/nodes/0/params/n", Part::Key, (5, 25)),
        ("/nodes/1/params", Part::Value, (7, 5)),
        ("/nodes/1/params/ä~1b~0", Part::Value, (8, 21)),
        ("/nodes/1/params/ä~1b~0", Part::Key, (8, 7)),
        ("/nodes/1/params/empty", Part::Value, (9, 7)),
        ("/nodes/1/params/list/0/0", Part::Value, (11, 13)),
        // What is not there is looked for where it would have to be.
        ("/nodes/1/params/missing/x", Part::Value, (7, 5)),
        ("/nodes/1/params/missing", Part::Key, (7, 5)),
        ("/nodes/7", Part::Value, (3, 1)),
        ("/nodes/0/params/…", Part::Value, (5, 13)),
    ] {
        assert_eq!(place(yaml, Format::Yaml, pointer, part), expected, "{pointer} {part:?}");
    }
    let json = "{\n \"a\": [1, {\"b\\n/c\": true, \"d\": \"}\"}],\n \"e\":\n\"f\" }";
    for (pointer, part, expected) in [
        ("", Part::Value, (1, 1)),
        ("/a", Part::Value, (2, 7)),
        ("/a", Part::Key, (2, 2)),
        ("/a/0", Part::Value, (2, 8)),
        ("/a/1", Part::Value, (2, 11)),
        ("/a/1/b\n~1c", Part::Value, (2, 21)),
        ("/a/1/b\n~1c", Part::Key, (2, 12)),
        ("/a/1/d", Part::Value, (2, 32)),
        ("/e", Part::Value, (4, 1)),
        ("/a/1/x", Part::Key, (2, 11)),
    ] {
        assert_eq!(place(json, Format::Json, pointer, part), expected, "{pointer} {part:?}");
    }
}

#[test]
fn what_an_alias_stands_for_is_found_where_it_is_written() {
    let text = "a: &x\n  b: 'it''s §'\nc: *x\nd:\n  <<: *x\n  e: 1\n";
    let value = parse(text, Some(Format::Yaml)).unwrap();
    let at = value["a"]["b"].as_str().unwrap().find('§').unwrap();
    for pointer in ["/a/b", "/c/b", "/d/b"] {
        assert_eq!(place(text, Format::Yaml, pointer, Part::Text(at)), place_of_sign(text));
    }
    assert_eq!(place(text, Format::Yaml, "/c", Part::Value), (3, 4));
}

#[test]
fn a_part_of_a_text_is_found_however_the_text_is_written() {
    for text in [
        "a: plain § text",
        "a: plain\n  over  lines\n\n  and § on",
        "a: §",
        "a: 'it''s ''§'''",
        "a: 'over\n\n\n   lines §'",
        "a: \"\\t\\x41\\u00e4\\U0001F600\\\"ä§\"",
        "a: \"over   \n  lines \\\n     and\\\n §\"",
        "a: |\n  one\n    two §\n  three\n",
        "a: |2\n    one\n   two §\n",
        "a: |+\n\n\n  one\n\n  two §\n\n",
        "a: >\n  one\n  two\n\n  three\n    more §\n  four\n",
        "a: >-\n  one\n\n\n    more\n\n  two §",
        "a: |\r\n  one\r\n  two §\r\n",
        "- - x\n  - >\n    {{ a\n    b §\n    }}\n",
        "a: [x, \"y\", 'z §']",
        "a: | # comment\n  one §\n",
        "? a\n: b §\n",
        "\u{feff}a: b §",
    ] {
        let value = parse(text, Some(Format::Yaml)).unwrap_or_else(|it| panic!("{text:?}: {it:?}"));
        let (pointer, at) = find_sign(&value, "").unwrap();
        let found = place(text, Format::Yaml, &pointer, Part::Text(at));
        assert_eq!(found, place_of_sign(text.trim_start_matches('\u{feff}')), "{text:?}");
    }
    for text in ["{\"a\": \"\\\\ \\\" \\ud83d\\ude00 \\u00e4 \\n §\"}", "[\"§\"]"] {
        let value = parse(text, Some(Format::Json)).unwrap();
        let (pointer, at) = find_sign(&value, "").unwrap();
        assert_eq!(place(text, Format::Json, &pointer, Part::Text(at)), place_of_sign(text));
    }
}

#[test]
fn what_cannot_be_parsed_has_the_places_before() {
    assert_eq!(place("a: 1\nb: [1, {\n", Format::Yaml, "/a", Part::Value), (1, 4));
    assert_eq!(place("{\"a\": 1, \"b\": [1, 2", Format::Json, "/a", Part::Key), (1, 2));
    for format in [Format::Json, Format::Yaml] {
        let mut diagnostic = Diagnostic::new("", "", "");
        locate("", format, std::slice::from_mut(&mut diagnostic));
        assert_eq!(diagnostic.position, None);
        let mut diagnostic = Diagnostic::new("/0/0", "", "");
        locate(&"[".repeat(500_000), format, std::slice::from_mut(&mut diagnostic));
    }
}

#[test]
fn many_faults_in_a_large_document_take_no_longer_than_it_is_large() {
    let text = format!("a:\n{}", "  - \"{{ x }}\"\n".repeat(30_000));
    let mut diagnostics: Vec<_> = (0..101)
        .map(|n| Diagnostic::new(format!("/a/{}", 29_000 + n), "", "").of(Part::Text(3)))
        .collect();
    let started = std::time::Instant::now();
    locate(&text, Format::Yaml, &mut diagnostics);
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    let last = Position { line: 29_102, column: 9 };
    assert_eq!(diagnostics[100].position, Some(last));
}

proptest! {
    /// Where the sign cannot be followed, its text's beginning is found, and never another place.
    #[test]
    fn a_part_of_a_text_is_never_found_elsewhere(
        lines in prop::collection::vec("[ ab'\\\\:\"#>]{0,6}", 1..6),
        at in any::<prop::sample::Index>(),
        style in 0..6,
        indent in 1..4_usize,
    ) {
        let mut lines = lines;
        let marked = at.index(lines.len());
        lines[marked].push_str("§ c");
        let indented = lines.iter().map(|line| format!("{}{line}\n", " ".repeat(indent)));
        let text: String = indented.collect();
        let text = match style {
            0 => format!("k: |\n{text}"),
            1 => format!("k: >\n{text}"),
            2 => format!("k: >+\n{text}"),
            3 => format!("k: \"{}\"", text.trim().replace('"', "\\\"")),
            4 => format!("k: '{}'", text.trim().replace('\'', "''")),
            _ => format!("k: {}", text.trim()),
        };
        let Ok(value) = parse(&text, Some(Format::Yaml)) else { return Ok(()) };
        let Some((pointer, at)) = find_sign(&value, "") else { return Ok(()) };
        let found = place(&text, Format::Yaml, &pointer, Part::Text(at));
        let start = place(&text, Format::Yaml, &pointer, Part::Value);
        prop_assert!(found == place_of_sign(&text) || found == start, "{:?}: {:?}", text, found);
    }
}

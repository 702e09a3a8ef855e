//! What makes the code easy to find one's way in.

use std::collections::BTreeSet;
use std::fs;

use skein_shared::domain::kind::NodeKind;

use crate::{Source, assert_none, mentions, root, sources};

/// Lines of a file at most; tests apart.
const LINES_MAX: usize = 500;

#[test]
fn files_are_small() {
    let sources = sources();
    let long = sources
        .iter()
        .filter(|source| !source.is_test() && source.text.lines().count() > LINES_MAX);
    let long: Vec<_> =
        long.map(|source| format!("{}: {}", source.path, source.text.lines().count())).collect();
    assert_none("more than one concept a file", &long);
}

#[test]
fn there_is_no_drawer() {
    let drawers = ["util", "utils", "common", "helper", "helpers", "misc"];
    let sources = sources();
    let found = sources.iter().filter(|source| {
        source.path.split('/').any(|part| drawers.contains(&part.trim_end_matches(".rs")))
    });
    let found: Vec<_> = found.map(|source| source.path.clone()).collect();
    assert_none("a drawer", &found);
}

#[test]
fn nothing_is_left_for_later() {
    let sources = sources();
    // Put together here, so that this file does not find itself.
    let words = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ignored = ["#[", "ignore"].concat();
    let allow = ["#[", "allow("].concat();
    let allow_all = ["#![", "allow("].concat();
    words.extend([ignored.as_str(), allow.as_str(), allow_all.as_str()]);
    assert_none("left for later", &mentions(sources.iter(), &words));
    let marks =
        ["FIX", "XX"].map(|start| format!("{start}{}", if start == "XX" { "X" } else { "ME" }));
    let found = sources
        .iter()
        .filter(|source| marks.iter().any(|mark| source.text.contains(mark.as_str())));
    let found: Vec<_> = found.map(|source| source.path.clone()).collect();
    assert_none("a mark", &found);
}

#[test]
fn tests_are_named_by_what_holds() {
    let sources = sources();
    let prefixed = ["fn ", "test_"].concat();
    let mut diagnostics = Vec::new();
    for source in &sources {
        let mut is_test = false;
        for (line, number) in source.text.lines().zip(1..) {
            let line = line.trim_start();
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if is_test && line.contains("fn ") {
                if line.contains(&prefixed) {
                    diagnostics.push(format!("{}:{number}", source.path));
                }
                is_test = false;
            }
        }
    }
    assert_none("a test that is named by being one", &diagnostics);
}

#[test]
fn readme_and_glossary_name_files_that_exist() {
    for (document, paths_min) in [("README.md", 15), ("CONTRIBUTING.md", 30)] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let paths: Vec<_> = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| {
                word.contains('/')
                    && !word.contains([' ', '<', '$', '{', '|'])
                    && (word.ends_with(".rs") || word.ends_with(".sql"))
            })
            .filter(|word| !word.starts_with("thing/"))
            .collect();
        assert!(paths.len() > paths_min, "only {} paths found in {document}", paths.len());
        let missing: Vec<_> = paths
            .iter()
            .filter(|path| !root().join(path).exists())
            .map(ToString::to_string)
            .collect();
        assert_none(&format!("{document} names files that do not exist"), &missing);
    }
}

/// The files that a kind of node has to be named in are those on the contributors' page: one that names every kind there
/// is, or that is a kind's own.
#[test]
fn the_page_lists_every_file_that_names_the_kinds() {
    let kinds: Vec<_> = NodeKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let names = |text: &str, kind: &str| {
        let mut words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        words.any(|word| word.eq_ignore_ascii_case(kind))
    };
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let readme = Source { path: "README.md".to_owned(), text: readme };
    let sources = sources();
    let programs = sources.iter().filter(|source| {
        let is_suite = source.path.starts_with("tests/") || source.path.contains("/tests/");
        !is_suite && !source.is_test()
    });
    let mut naming: BTreeSet<_> = programs
        .chain([&readme])
        .filter(|source| kinds.iter().all(|kind| names(&source.text, kind)))
        .map(|source| source.path.clone())
        .collect();
    for folder in ["shared/src/workflow/params", "worker/src/nodes"] {
        for kind in &kinds {
            assert!(root().join(format!("{folder}/{kind}.rs")).exists(), "{folder}: {kind}");
        }
        naming.insert(format!("{folder}/{{kind}}.rs"));
    }
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, section) = page.split_once("## Add a node kind").expect("the section is there");
    let steps = section.split("\n## ").next().unwrap_or_default().lines();
    let steps = steps.filter(|line| line.starts_with(|char: char| char.is_ascii_digit()));
    let listed: BTreeSet<_> =
        steps.filter_map(|step| step.split('`').nth(1)).map(str::to_owned).collect();
    assert_eq!(listed, naming);
}

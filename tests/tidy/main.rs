//! The architecture's invariants, read off the sources. What README promises about the shape of the
//! code is checked here, so that it stays true.

mod arrows;
mod circles;
mod deploy;
mod layers;
mod migrations;
mod sources;
mod style;
mod words;

use sources::{Source, root, sources};

/// Reports everything that is wrong at once.
fn assert_none(what: &str, diagnostics: &[String]) {
    assert!(diagnostics.is_empty(), "{what}:\n  {}\n", diagnostics.join("\n  "));
}

/// Lines in `sources` that hold one of `words` in a line of code.
fn mentions<'a>(sources: impl Iterator<Item = &'a Source>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.code() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    found
}

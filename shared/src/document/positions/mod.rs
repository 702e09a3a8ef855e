//! Where in a text the values of a document stand.
//!
//! The readers keep no places, because a document that is right needs none. For one that is not, its text is gone through
//! a second time, for places alone.

mod align;
mod json;
mod lines;
#[cfg(test)]
mod tests;
mod tree;
mod yaml;

use align::offset_within;
use lines::Lines;
use tree::{Found, Tree};

use super::Format;
use crate::domain::diagnostic::{Diagnostic, Part};

/// Sets the positions of diagnostics of a document, from the text that it was read from.
///
/// Where a pointer leads to nothing, because it is missing or its pointer was cut, the value that should have it counts;
/// a position that is known already is kept then. A part of a text is found in its own line and column unless the text
/// is written in a way that cannot be followed; then the text's beginning counts.
///
/// It takes time in proportion to the text for each of the diagnostics, of which there are few.
pub fn locate(text: &str, format: Format, diagnostics: &mut [Diagnostic]) {
    let text = text.trim_start_matches('\u{feff}');
    let tree = match format {
        Format::Json => json::tree(text),
        Format::Yaml => yaml::tree(text),
    };
    let lines = Lines::of(text);
    for diagnostic in diagnostics {
        let Some(found) = tree.find(&diagnostic.pointer) else { continue };
        if found.is_exact || diagnostic.position.is_none() {
            let offset = offset(text, &tree, &found, diagnostic.part);
            diagnostic.position = Some(lines.position(text, offset));
        }
    }
}

/// Where the part of a value begins, in bytes.
fn offset(text: &str, tree: &Tree<'_>, found: &Found, part: Part) -> usize {
    match (part, found.key) {
        (Part::Key, Some(key)) if found.is_exact => key,
        (Part::Text(at), _) if found.is_exact => {
            let within = tree.scalar(found.node).and_then(|(written, value, style)| {
                offset_within(text.get(written.clone())?, value, style, at)
                    .map(|offset| written.start + offset)
            });
            within.unwrap_or_else(|| tree.start(found))
        }
        _ => tree.start(found),
    }
}

//! A workflow as people write it, in JSON or YAML, read into JSON within limits.
//!
//! Both readers refuse what would be read differently by different people: a key twice, more than one
//! document, numbers that are not numbers or start with a zero, YAML 1.1's many words for true and false.

mod depth;
mod integers;
pub mod json;
mod positions;
mod strict;
mod trail;
mod yaml;

pub use depth::nests_within;
pub use positions::locate;

use serde_json::Value;

use crate::domain::diagnostic::Diagnostic;
use crate::domain::limits::{DOCUMENT_BYTES_MAX, JSON_DEPTH_MAX};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// The format that a text looks like. What starts like a JSON object or list is taken for JSON,
    /// because JSON's errors are the clearer ones.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let flow_yaml = || json::parse(text, JSON_DEPTH_MAX).is_err() && !text.contains('"');
        if text.starts_with(['{', '[']) && !flow_yaml() { Self::Json } else { Self::Yaml }
    }
}

/// Reads a document. Without a `format` it is detected from the text.
///
/// # Errors
/// One diagnostic with line and column when the text is larger than [`DOCUMENT_BYTES_MAX`], nests deeper than
/// [`JSON_DEPTH_MAX`] or is malformed.
pub fn parse(text: &str, format: Option<Format>) -> Result<Value, Diagnostic> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the document has {} bytes", text.len());
        return Err(Diagnostic::new("", message, format!("at most {DOCUMENT_BYTES_MAX} bytes")));
    }
    let text = text.trim_start_matches('\u{feff}');
    let format = format.unwrap_or_else(|| Format::of_text(text));
    let parsed = match format {
        Format::Json => json::parse(text, JSON_DEPTH_MAX),
        Format::Yaml => yaml::parse(text),
    };
    parsed.map_err(|mut diagnostic| {
        // A parser of JSON is behind the value when that is refused.
        let is_behind = format == Format::Json && !diagnostic.pointer.is_empty();
        if is_behind || diagnostic.position.is_none() {
            locate(text, format, std::slice::from_mut(&mut diagnostic));
        }
        diagnostic
    })
}

#[cfg(test)]
mod diagnostic_tests;
#[cfg(test)]
mod tests;

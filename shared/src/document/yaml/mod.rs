//! YAML text, strictly.

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_saphyr::Options;
use serde_saphyr::options::MergeKeyPolicy;

use super::integers::Integers;
use super::strict::{Pass, Strict, WordsOf};
use super::trail::Trail;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::limits::{DOCUMENT_BYTES_MAX, JSON_DEPTH_MAX};

mod ambiguous;
mod messages;

/// Anchors and aliases in a document. A handful of shared settings is common, hundreds are an attack.
const ALIASES_MAX: usize = 100;
/// What aliases may be replaced by, in parser events: some tens of thousands of values.
const ALIAS_EVENTS_MAX: usize = 50_000;
/// Values in a document, aliases counted once.
const VALUES_MAX: usize = 100_000;

/// How deep the parser goes: a little deeper than the reader, which knows where it is when it refuses to go on.
const PARSER_DEPTH_MAX: usize = JSON_DEPTH_MAX + 4;

/// How values are taken that people may mean otherwise.
#[derive(Clone, Copy)]
enum Reading {
    /// As YAML has them.
    Usual,
    /// Numbers with leading zeros and `!!binary` as the text that is written there.
    Literal,
}

fn options(reading: Reading) -> Options {
    let literal = matches!(reading, Reading::Literal);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: PARSER_DEPTH_MAX,
            flow_nesting_limit: PARSER_DEPTH_MAX,
            max_documents: 1,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_nodes: VALUES_MAX,
            max_total_scalar_bytes: DOCUMENT_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIAS_EVENTS_MAX,
        },
        merge_keys: MergeKeyPolicy::Merge,
        // Or else `no` and `on` would be truth values.
        strict_booleans: true,
        // As YAML 1.2 has it, where `1_000` is text.
        underscored_numbers_as_strings: true,
        leading_zero_numbers_as_strings: literal,
        ignore_binary_tag_for_string: literal,
        reject_unsupported_tags: true,
    }
}

/// Reads YAML; a key twice in one mapping is an error, and so is a number with a leading zero.
///
/// # Errors
/// One diagnostic when the text is malformed or breaks a limit. It points to the value as far as that is known, and has
/// line and column where the parser knows more of them than the pointer says.
pub(super) fn parse(text: &str) -> Result<Value, Diagnostic> {
    let integers = Integers::default();
    let value = read(text, Reading::Usual, Pass::Values, &integers)?;
    if !integers.is_empty() {
        read(text, Reading::Usual, Pass::Words(WordsOf::Yaml), &integers)?;
    }
    if ambiguous::may_be_in(text) {
        let literal = read(text, Reading::Literal, Pass::Values, &Integers::default())?;
        if let Some(diagnostic) = ambiguous::first(&value, &literal, "") {
            return Err(diagnostic);
        }
    }
    Ok(value)
}

fn read(
    text: &str,
    reading: Reading,
    turn: Pass,
    integers: &Integers,
) -> Result<Value, Diagnostic> {
    let trail = Trail::default();
    let options = options(reading);
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        let strict = Strict { depth: JSON_DEPTH_MAX, turn, integers, trail: &trail };
        strict.deserialize(deserializer)
    })
    .map_err(|error| messages::diagnostic(&error, &trail))
}

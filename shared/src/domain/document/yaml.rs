//! YAML text, strictly.

use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_saphyr::Options;
use serde_saphyr::options::MergeKeyPolicy;

use super::strict::{Integers, Strict};
use crate::domain::fault::Fault;
use crate::domain::limits::{DOCUMENT_BYTES_MAX, JSON_DEPTH_MAX};

/// Anchors and aliases in a document. A handful of shared settings is common, hundreds are an attack.
const ALIASES_MAX: usize = 100;
/// What aliases may be replaced by, in parser events: some tens of thousands of values.
const ALIAS_EVENTS_MAX: usize = 50_000;
/// Values in a document, aliases counted once.
const VALUES_MAX: usize = 100_000;

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: JSON_DEPTH_MAX,
            flow_nesting_limit: JSON_DEPTH_MAX,
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
        reject_unsupported_tags: true,
    }
}

/// Reads YAML; a key twice in one mapping is an error.
///
/// # Errors
/// One fault that names line and column when the text is malformed or breaks a limit.
pub(super) fn parse(text: &str) -> Result<Value, Fault> {
    let integers = Integers::of_yaml(text);
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        Strict { depth: JSON_DEPTH_MAX, integers: &integers }.deserialize(deserializer)
    })
    .map_err(|error| {
        let place = error
            .location()
            .filter(|place| place.line() > 0)
            .map(|place| format!(" at line {} column {}", place.line(), place.column()));
        let reason = error.without_snippet().to_string();
        let reason = reason.lines().next().unwrap_or_default();
        // Some reasons end in the place.
        let place = place.filter(|_| !reason.contains("line "));
        Fault::new("", format!("malformed YAML: {reason}{}", place.unwrap_or_default()), "")
    })
}

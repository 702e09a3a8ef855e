//! SQL of panels and rules, as far as names of attributes go: they are keys of maps, one map a type.

use super::types::{Place, Type};

/// The maps of SigNoz's table of spans.
const MAPS: [(&str, Place, Type); 4] = [
    ("attributes_string", Place::Attribute, Type::Text),
    ("attributes_number", Place::Attribute, Type::Number),
    ("attributes_bool", Place::Attribute, Type::Bool),
    ("resources_string", Place::Resource, Type::Text),
];

/// The keys that a query looks up, or asks for with `mapContains`.
///
/// # Panics
/// When a map is used in another way, because then nothing could be said about its keys.
pub(super) fn keys(query: &str) -> Vec<(String, Place, Type)> {
    let mut found = Vec::new();
    for (map, place, kind) in MAPS {
        for (at, _) in query.match_indices(map) {
            let rest = &query[at + map.len()..];
            let key = ["['", ", '"].into_iter().find_map(|opening| rest.strip_prefix(opening));
            let key = key.and_then(|rest| rest.split_once('\''));
            let Some((key, _)) = key else { panic!("{map} without a key in {query}") };
            found.push((key.to_owned(), place, kind));
        }
    }
    found
}

/// The names of spans that a query asks for: `name = '…'`.
pub(super) fn spans(query: &str) -> Vec<String> {
    let parts = query.split("name = '").skip(1);
    parts.filter_map(|rest| rest.split_once('\'')).map(|(name, _)| name.to_owned()).collect()
}

/// The words with a dollar: what SigNoz puts values in place of.
#[must_use]
pub(super) fn variables(query: &str) -> Vec<String> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = query.split('$').skip(1);
    words.map(|rest| rest.chars().take_while(|char| is_word(*char)).collect()).collect()
}

//! The problems that operations are answered with.
//!
//! A route names those of its own by their words, as the description of an answer with their status:
//! `(status = 409, description = "run-ended")`. What may become of any request, or of any that has a key, parameters or
//! a body, is added here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::problem::{PROBLEM_JSON, ProblemKind};

/// Of any request: what comes before its route is looked at, and what may go wrong in any.
const ANY: &[ProblemKind] = &[
    ProblemKind::InvalidHeader,
    ProblemKind::CrossSite,
    ProblemKind::WrongHost,
    ProblemKind::HeadersTooLarge,
    ProblemKind::Internal,
    ProblemKind::Overloaded,
    ProblemKind::Unavailable,
    ProblemKind::TimedOut,
    ProblemKind::ShuttingDown,
];
/// Of those that take a key, whose parameters are read strictly.
const KEYED: &[ProblemKind] = &[ProblemKind::InvalidParameter, ProblemKind::Unauthenticated];
/// Of those that need a scope.
const SCOPED: &[ProblemKind] = &[ProblemKind::Forbidden];
/// Of those with parameters beside the path: rules beyond the form of each.
const ASKED: &[ProblemKind] = &[ProblemKind::InvalidRequest];
/// Of those with a body.
const WITH_BODY: &[ProblemKind] = &[
    ProblemKind::MalformedBody,
    ProblemKind::SlowBody,
    ProblemKind::TooLarge,
    ProblemKind::UnsupportedMediaType,
    ProblemKind::InvalidRequest,
];

/// Adds an answer for each status that a problem of the operation has. They are shared, in `responses`.
pub(super) fn add(operation: &mut Value, responses: &mut Map<String, Value>) {
    let mut kinds = general(operation);
    kinds.extend(own(operation));
    let mut by_status = BTreeMap::<u16, Vec<ProblemKind>>::new();
    for kind in ProblemKind::ALL.iter().filter(|kind| kinds.contains(kind)) {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    for (status, kinds) in by_status {
        let name = kinds.iter().map(|kind| pascal_case(kind.slug())).collect::<Vec<_>>().join("Or");
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        responses.entry(name).or_insert_with(|| answer(&kinds));
        operation["responses"][status.to_string()] = reference;
    }
    if let Some(answers) = operation["responses"].as_object_mut() {
        answers.sort_keys();
    }
}

/// What any operation of its form may be answered with.
fn general(operation: &Value) -> Vec<ProblemKind> {
    let scopes = operation["security"][0].as_object().and_then(|it| it.values().next());
    let is_scoped = scopes.and_then(Value::as_array).is_some_and(|scopes| !scopes.is_empty());
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let is_asked = parameters.filter(|it| it["in"] != "path").count() > 0;
    let groups = [
        (true, ANY),
        (scopes.is_some(), KEYED),
        (is_scoped, SCOPED),
        (is_asked, ASKED),
        (operation.get("requestBody").is_some(), WITH_BODY),
    ];
    groups
        .into_iter()
        .filter(|(is_there, _)| *is_there)
        .flat_map(|(_, kinds)| kinds)
        .copied()
        .collect()
}

/// What the route names.
fn own(operation: &Value) -> Vec<ProblemKind> {
    let answers = operation["responses"].as_object().into_iter().flatten();
    let words = answers.filter(|(status, _)| status.starts_with(['4', '5']));
    let words = words.filter_map(|(_, answer)| answer["description"].as_str());
    let kind = |word: &str| ProblemKind::ALL.iter().copied().find(|kind| kind.slug() == word);
    words.flat_map(str::split_whitespace).filter_map(kind).collect()
}

fn answer(kinds: &[ProblemKind]) -> Value {
    let lines = kinds.iter().map(|kind| format!("`{}`: {}.", kind.slug(), kind.title()));
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut answer = json!({
        "description": lines.collect::<Vec<_>>().join(" "),
        "content": { PROBLEM_JSON: { "schema": schema } },
    });
    if kinds.iter().any(|kind| kind.is_passing()) {
        answer["headers"]["Retry-After"] = json!({
            "description": "Seconds after which to try again", "schema": { "type": "integer", "minimum": 0 },
        });
    }
    if kinds.contains(&ProblemKind::Unauthenticated) {
        answer["headers"]["WWW-Authenticate"] =
            json!({ "description": "How to send a key", "schema": { "type": "string" } });
    }
    answer
}

fn pascal_case(words: &str) -> String {
    words.split('-').fold(String::new(), |mut name, word| {
        let (first, rest) = word.split_at(1);
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word that is no kind's, or has another status, would be lost.
    #[test]
    fn what_routes_name_are_kinds_with_that_status() {
        let routes = crate::router::documented();
        let routes = serde_json::to_value(&routes).unwrap();
        let paths = routes["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        let mut named = 0;
        for operation in operations {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                if !status.starts_with(['4', '5']) {
                    continue;
                }
                for word in answer["description"].as_str().unwrap().split_whitespace() {
                    let kind = ProblemKind::ALL.iter().find(|kind| kind.slug() == word);
                    let expected = kind.map(|kind| kind.status().as_u16().to_string());
                    assert_eq!(
                        expected.as_ref(),
                        Some(status),
                        "{}: {word}",
                        operation["operationId"]
                    );
                    named += 1;
                }
            }
        }
        assert!(named > 20, "{named}");
    }
}

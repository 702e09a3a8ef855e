//! What routes ask of a key.

use std::collections::HashMap;

use axum::http::Method;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::SecurityRequirement;

use crate::openapi::KEY_SCHEME;

/// What a route asks of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// This scope.
    Scope(KeyScope),
    /// None: the answer is about the key alone.
    AnyKey,
}

impl Needs {
    /// The scope that a key with these scopes lacks.
    pub(crate) fn lacking(self, scopes: KeyScopes) -> Option<KeyScope> {
        match self {
            Self::Scope(scope) => (!scopes.allow(scope)).then_some(scope),
            Self::AnyKey => None,
        }
    }

    /// Says so in the operation's documentation.
    pub(crate) fn document(self, operation: &mut Operation) {
        let (scopes, sentence) = match self {
            Self::Scope(scope) => (vec![scope.as_str()], format!("Needs the scope `{scope}`.")),
            Self::AnyKey => (vec![], "Takes any key, whatever its scopes.".to_owned()),
        };
        operation.security = Some(vec![SecurityRequirement::new(KEY_SCHEME, scopes)]);
        let description = operation.description.get_or_insert_default();
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push_str(&sentence);
    }
}

/// What every operation needs, by the template of its path.
#[derive(Debug, Default)]
pub(crate) struct RouteNeeds(HashMap<String, Vec<(Method, Needs)>>);

impl RouteNeeds {
    /// What an operation needs; nothing where no route was declared.
    pub(crate) fn of(&self, method: &Method, template: &str) -> Option<Needs> {
        // Whoever answers GET answers HEAD.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let (_, needs) = self.0.get(template)?.iter().find(|(known, _)| known == method)?;
        Some(*needs)
    }

    /// Declares what an operation needs.
    pub(crate) fn declare(&mut self, method: Method, template: &str, needs: Needs) {
        self.0.entry(template.to_owned()).or_default().push((method, needs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lacks_what_it_is_not_allowed() {
        let reader = KeyScopes::NONE.with(KeyScope::Read);
        assert_eq!(Needs::Scope(KeyScope::Read).lacking(reader), None);
        assert_eq!(Needs::Scope(KeyScope::Write).lacking(reader), Some(KeyScope::Write));
        assert_eq!(Needs::AnyKey.lacking(KeyScopes::NONE), None);
        assert_eq!(Needs::Scope(KeyScope::Write).lacking(KeyScopes::all()), None);
    }

    #[test]
    fn what_was_not_declared_needs_nothing_that_anybody_has() {
        let declared = vec![(Method::GET, Needs::Scope(KeyScope::Read))];
        let needs = RouteNeeds(HashMap::from([("/v1/runs".to_owned(), declared)]));
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(needs.of(&method, "/v1/runs"), Some(Needs::Scope(KeyScope::Read)));
        }
        assert_eq!(needs.of(&Method::POST, "/v1/runs"), None);
        assert_eq!(needs.of(&Method::GET, "/v1/other"), None);
    }
}

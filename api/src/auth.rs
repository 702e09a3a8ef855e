//! Who is calling: an API key in `Authorization: Bearer`, and whether it may.
//!
//! Every route below `/v1` stands behind [`require_key`], and a handler gets the [`Caller`] only from there: a
//! route that was forgotten answers 401, and one that has not declared what it needs 500; neither does anything. Whether
//! the key may do it is decided before the handler is called, so a refusal says nothing about what there is.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use skein_shared::config::{KEY_CHARS_MAX, is_bearer_token};
use skein_shared::domain::key_scopes::KeyScope;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::StoreError;
use skein_shared::store::keys::{FoundKey, KeyDigest};
use skein_shared::telemetry::in_context;

use crate::known_keys::KnownKeys;
use crate::limits::KEY_RECHECK_PAUSE;
use crate::problem::{Problem, ProblemKind};
use crate::route_needs::{Needs, RouteNeeds};
use crate::server_span::Tracing;
use crate::shares::Shares;

/// What is stored of a key.
#[must_use]
pub fn digest(key: &str) -> KeyDigest {
    Sha256::digest(key.as_bytes()).into()
}

/// Who may come in.
pub(crate) struct Entrance {
    keys: KnownKeys,
    /// Requests with a key that are being served.
    requests: Arc<Shares<KeyDigest>>,
}

impl Entrance {
    /// Serves `requests_max` requests at a time.
    pub(crate) fn new(keys: KnownKeys, requests_max: usize) -> Self {
        Self { keys, requests: Shares::new(requests_max) }
    }

    /// Lets the key in no more: it was revoked here.
    pub(crate) fn forget(&self, digest: &KeyDigest) {
        self.keys.forget(digest);
    }

    /// Whether a key still stands for the tenant whose request it brought in, and may read: for answers that go on for
    /// long.
    ///
    /// # Errors
    /// When that cannot be found out, and has not been for long.
    pub(crate) async fn still_admits(
        &self,
        digest: &KeyDigest,
        tenant: &Identity,
    ) -> Result<bool, StoreError> {
        let found = self.keys.find(*digest).await?;
        Ok(found.is_some_and(|key| {
            let of = &key.identity;
            let is_same =
                of.organization == tenant.organization && of.workspace == tenant.workspace;
            is_same && key.scopes.allow(KeyScope::Read)
        }))
    }

    /// Returns when the key does not let its request in any more, with the answer to that. For answers that take
    /// long: they end no later after a revocation than a new request would be refused.
    pub(crate) async fn refusal(&self, digest: &KeyDigest) -> Problem {
        let mut pause = self.keys.trusted_for(digest);
        loop {
            tokio::time::sleep(pause).await;
            match self.keys.find(*digest).await {
                // It may be trusted only because the store cannot be asked; that is asked again soon.
                Ok(Some(_)) => pause = self.keys.trusted_for(digest).max(KEY_RECHECK_PAUSE),
                Ok(None) => return refused("the API key has been revoked, or has expired"),
                Err(error) => return error.into(),
            }
        }
    }
}

/// What [`require_key`] looks at.
pub(crate) struct Gate {
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) needs: RouteNeeds,
}

/// Lets only requests pass whose key is known and may do what they ask, as many of each as is fair, and begins their
/// server spans: the key says whose they are, and only then a caller's trace is continued.
pub(crate) async fn require_key(
    State(gate): State<Arc<Gate>>,
    mut request: Request,
    next: Next,
) -> Response {
    let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let needs = template.and_then(|template| gate.needs.of(request.method(), template));
    let (digest, key) = match identify(&gate.entrance.keys, request.headers(), needs).await {
        Ok(identified) => identified,
        Err(problem) => return problem.into_response(),
    };
    let Some(tracing) = request.extensions().get::<Tracing>().cloned() else {
        return Problem::internal("a route stands outside of the server span").into_response();
    };
    let identity = key.identity.clone();
    let trace = tracing.begin(&identity);
    if let Some(scope) = needs.and_then(|needs| needs.lacking(key.scopes)) {
        return lacks(scope).into_response();
    }
    let Some(_permit) = gate.entrance.requests.take(&digest, 1) else {
        let detail =
            "as many requests of this key are being served as may be; send fewer at a time";
        return Problem::new(ProblemKind::Overloaded, detail).into_response();
    };
    let context = trace.context;
    let extensions = request.extensions_mut();
    extensions.insert(trace);
    // Without a declaration there is no handler, but the one that answers that the path does not take the method.
    if needs.is_some() {
        extensions.insert(Caller(identity.clone()));
        extensions.insert(PresentedKey { digest, key });
    }
    extensions.insert(Holder(digest));
    in_context(context, identity, next.run(request)).await
}

async fn identify(
    keys: &KnownKeys,
    headers: &HeaderMap,
    needs: Option<Needs>,
) -> Result<(KeyDigest, Arc<FoundKey>), Problem> {
    let unknown = || refused("the API key is not known");
    let digest = digest(bearer_key(headers)?);
    let key = keys.find(digest).await?.ok_or_else(unknown)?;
    // Who lacks the scope needs no look-up, and who was revoked elsewhere has it no more.
    let is_admin =
        needs == Some(Needs::Scope(KeyScope::Admin)) && key.scopes.allow(KeyScope::Admin);
    let key = if is_admin { keys.confirm(digest).await?.ok_or_else(unknown)? } else { key };
    Ok((digest, key))
}

/// The refusal of a key that may not do what was asked (RFC 6750, section 3.1).
fn lacks(scope: KeyScope) -> Problem {
    let detail = format!("the API key lacks the scope `{scope}`: {}", scope.description());
    let challenge =
        format!("Bearer realm=\"skein\", error=\"insufficient_scope\", scope=\"{scope}\"");
    let problem = Problem::new(ProblemKind::Forbidden, detail);
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => problem.with_header(WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

fn bearer_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Problem::new(
            ProblemKind::Unauthenticated,
            "the header `Authorization: Bearer <API key>` is missing",
        ));
    };
    if values.next().is_some() {
        return Err(malformed("there is more than one Authorization header"));
    }
    let text = value.to_str().map_err(|_| malformed("the Authorization header is not ASCII"))?;
    let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed("the Authorization header must be `Bearer <API key>`"));
    }
    let key = key.trim_matches(' ');
    if key.len() > KEY_CHARS_MAX || !is_bearer_token(key) {
        return Err(malformed("what follows `Bearer` is no API key"));
    }
    Ok(key)
}

fn malformed(detail: &str) -> Problem {
    challenge(detail, "Bearer realm=\"skein\", error=\"invalid_request\"")
}

fn refused(detail: &str) -> Problem {
    challenge(detail, "Bearer realm=\"skein\", error=\"invalid_token\"")
}

/// The challenges of RFC 6750, section 3.1.
fn challenge(detail: &str, header: &'static str) -> Problem {
    Problem::new(ProblemKind::Unauthenticated, detail)
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(header))
}

/// Whoever sent the request. Only [`require_key`] puts one there.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Identity);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::internal("a route does not declare what it asks of a key"))
    }
}

/// The key that was sent, with what it may do. Only [`require_key`] puts one there.
#[derive(Clone)]
pub(crate) struct PresentedKey {
    pub(crate) digest: KeyDigest,
    pub(crate) key: Arc<FoundKey>,
}

impl<S: Sync> FromRequestParts<S> for PresentedKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let presented = parts.extensions.get::<Self>().cloned();
        presented.ok_or_else(|| Problem::internal("a route does not declare what it asks of a key"))
    }
}

/// The key that was sent, as whose each has a part of what all share. Only [`require_key`] puts one there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder(pub(crate) KeyDigest);

impl Holder {
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Problem> {
        let holder = extensions.get::<Self>().copied();
        holder.ok_or_else(|| Problem::new(ProblemKind::Unauthenticated, "the route takes no key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn key_of(values: &[&str]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        match bearer_key(&headers) {
            Ok(key) => Ok(key.to_owned()),
            Err(problem) => {
                assert_eq!(problem.kind(), ProblemKind::Unauthenticated);
                let response = problem.into_response();
                Err(response.headers()[WWW_AUTHENTICATE].to_str().unwrap().to_owned())
            }
        }
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for header in [
            "Bearer abc.DEF-1_2~3+4/5==",
            "bearer abc.DEF-1_2~3+4/5==",
            "BEARER  abc.DEF-1_2~3+4/5==",
        ] {
            assert_eq!(key_of(&[header]).as_deref(), Ok("abc.DEF-1_2~3+4/5=="));
        }
    }

    #[test]
    fn malformed_headers_are_challenged() {
        assert_eq!(key_of(&[]).unwrap_err(), "Bearer realm=\"skein\"");
        let long = format!("Bearer {}", "x".repeat(KEY_CHARS_MAX + 1));
        for values in [
            &["Basic YTpi"][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer ключ"],
            &["Bearer a,b"],
            &["Bearer ===="],
            &[long.as_str()],
            &["Bearer a", "Bearer b"],
        ] {
            let challenge = key_of(values).unwrap_err();
            assert!(challenge.contains("invalid_request"), "{values:?}: {challenge}");
        }
    }
}

//! Who is calling: an API key in `Authorization: Bearer`.
//!
//! Every route below `/v1` stands behind [`require_key`], and a handler gets the [`Caller`] only from there: a
//! route that was forgotten answers 401, it does not answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use skein_shared::config::{KEY_CHARS_MAX, is_bearer_token};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::keys::KeyDigest;
use skein_shared::store::{KeyStore, StoreError};
use skein_shared::telemetry::in_context;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::limits::{
    KEY_DISTRUST, KEY_KEPT, KEY_LOOKUPS_MAX, KEY_RENEWAL_MAX, KEY_TURN_MAX, KEYS_MAX,
};
use crate::problem::{Problem, ProblemKind};
use crate::server_span::Tracing;
use crate::shares::Shares;

/// What is stored of a key.
#[must_use]
pub fn digest(key: &str) -> KeyDigest {
    Sha256::digest(key.as_bytes()).into()
}

/// The keys that were good, or no good, a moment ago.
struct Keys {
    store: Arc<dyn KeyStore>,
    known: Cache<KeyDigest, Known>,
    /// A memory of its own, so that guesses push no good key out of theirs.
    refused: Cache<KeyDigest, ()>,
    /// Permits for asking about a key that was good; guesses wait elsewhere.
    renewals: Semaphore,
    /// Permits for asking about a key that nothing is known of.
    lookups: Semaphore,
    trust: Duration,
}

#[derive(Clone)]
struct Known {
    identity: Identity,
    checked: Instant,
}

impl Keys {
    fn new(store: Arc<dyn KeyStore>, trust: Duration) -> Self {
        Self {
            store,
            known: Cache::builder().max_capacity(KEYS_MAX).time_to_live(KEY_KEPT).build(),
            refused: Cache::builder().max_capacity(KEYS_MAX).time_to_live(KEY_DISTRUST).build(),
            renewals: Semaphore::new(KEY_LOOKUPS_MAX),
            lookups: Semaphore::new(KEY_LOOKUPS_MAX),
            trust,
        }
    }

    /// Whom the key stands for. Keys are compared by their digests only, so how long it takes reveals
    /// nothing about a key.
    ///
    /// # Errors
    /// When the store cannot be asked, or nobody comes to ask it in time, about a key that was not good a
    /// short while ago. One that was is trusted longer then: an outage refuses requests by itself, and says so.
    async fn find(&self, digest: KeyDigest) -> Result<Option<Identity>, StoreError> {
        if let Some(remembered) = self.remembered(&digest) {
            return Ok(remembered);
        }
        let stale = self.known.get(&digest);
        let permits = if stale.is_some() { &self.renewals } else { &self.lookups };
        let asked = match tokio::time::timeout(KEY_TURN_MAX, permits.acquire()).await {
            Ok(_permit) => match self.remembered(&digest) {
                // Somebody with the same key was before.
                Some(remembered) => return Ok(remembered),
                None if stale.is_some() => {
                    // The request will ask the store too, and waits long enough for that alone.
                    let late = |_| Err(StoreError::Unavailable("no answer about a key".into()));
                    let asked = tokio::time::timeout(KEY_RENEWAL_MAX, self.ask(digest));
                    asked.await.unwrap_or_else(late)
                }
                None => self.ask(digest).await,
            },
            Err(_) => Err(StoreError::Unavailable("too many keys are being looked up".into())),
        };
        match (asked, stale) {
            (Err(error), Some(stale)) if error.is_retryable() => Ok(Some(stale.identity)),
            (asked, _) => asked,
        }
    }

    async fn ask(&self, digest: KeyDigest) -> Result<Option<Identity>, StoreError> {
        let found = self.store.find_key(&digest).await?;
        match &found {
            Some(identity) => {
                let known = Known { identity: identity.clone(), checked: Instant::now() };
                self.known.insert(digest, known);
            }
            None => {
                self.known.invalidate(&digest);
                self.refused.insert(digest, ());
            }
        }
        Ok(found)
    }

    fn remembered(&self, digest: &KeyDigest) -> Option<Option<Identity>> {
        let known = self.known.get(digest).filter(|known| known.checked.elapsed() < self.trust);
        let known = known.map(|known| Some(known.identity));
        known.or_else(|| self.refused.contains_key(digest).then_some(None))
    }
}

/// What [`require_key`] looks at.
pub(crate) struct Entrance {
    keys: Keys,
    /// Requests with a key that are being served.
    requests: Arc<Shares<KeyDigest>>,
}

impl Entrance {
    /// Asks `store` for keys, trusts what it says for `trust`, and serves `requests_max` requests at a time.
    pub(crate) fn new(store: Arc<dyn KeyStore>, requests_max: usize, trust: Duration) -> Self {
        Self { keys: Keys::new(store, trust), requests: Shares::new(requests_max) }
    }

    /// Whether a key still stands for the tenant whose request it brought in: for answers that take their time.
    ///
    /// # Errors
    /// When that cannot be found out, and has not been for long.
    pub(crate) async fn still_admits(
        &self,
        holder: &KeyDigest,
        tenant: &Identity,
    ) -> Result<bool, StoreError> {
        let found = self.keys.find(*holder).await?;
        Ok(found.is_some_and(|found| {
            found.organization == tenant.organization && found.workspace == tenant.workspace
        }))
    }
}

/// Lets only requests with a known key pass, as many of each as is fair, and begins their server spans: it says whose
/// they are, and only then a caller's trace is continued.
pub(crate) async fn require_key(
    State(entrance): State<Arc<Entrance>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (digest, identity) = match identify(&entrance.keys, request.headers()).await {
        Ok(identified) => identified,
        Err(problem) => return problem.into_response(),
    };
    let Some(tracing) = request.extensions().get::<Tracing>().cloned() else {
        return Problem::internal("a route stands outside of the server span").into_response();
    };
    let trace = tracing.begin(&identity);
    let Some(_permit) = entrance.requests.take(&digest, 1) else {
        let detail =
            "as many requests of this key are being served as may be; send fewer at a time";
        return Problem::new(ProblemKind::Overloaded, detail).into_response();
    };
    let context = trace.context;
    let extensions = request.extensions_mut();
    extensions.insert(trace);
    extensions.insert(Caller(identity.clone()));
    extensions.insert(Holder(digest));
    in_context(context, identity, next.run(request)).await
}

async fn identify(keys: &Keys, headers: &HeaderMap) -> Result<(KeyDigest, Identity), Problem> {
    let digest = digest(bearer_key(headers)?);
    let identity = keys.find(digest).await?;
    Ok((digest, identity.ok_or_else(|| refused("the API key is not known"))?))
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
            .ok_or_else(|| Problem::new(ProblemKind::Unauthenticated, "the route takes no key"))
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
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures_util::future::join_all;

    use super::*;
    use crate::limits::KEY_TRUST;

    /// Knows one key and counts the questions, until it fails.
    #[derive(Default)]
    struct OneKey {
        asked: AtomicUsize,
        fails: OnceLock<fn() -> StoreError>,
        hangs: AtomicBool,
    }

    impl OneKey {
        fn asked(&self) -> usize {
            self.asked.swap(0, Ordering::Relaxed)
        }
    }

    #[async_trait]
    impl KeyStore for OneKey {
        async fn ensure_key(&self, _: &KeyDigest, _: &Identity) -> Result<(), StoreError> {
            unreachable!("nobody makes keys here")
        }

        async fn find_key(&self, asked: &KeyDigest) -> Result<Option<Identity>, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if let Some(error) = self.fails.get() {
                return Err(error());
            }
            Ok((*asked == digest("good")).then(|| Identity::new("o", "w", "u")))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_asked_once_for_a_key_however_many_bring_it() {
        let store = Arc::new(OneKey::default());
        let keys = Keys::new(Arc::clone(&store) as _, KEY_TRUST);
        for (key, is_known) in [("good", true), ("guess", false)] {
            for found in join_all((0..50).map(|_| keys.find(digest(key)))).await {
                assert_eq!(found.unwrap().is_some(), is_known, "{key}");
            }
            // All permits may have been taken before the first one had its answer.
            let asked = store.asked();
            assert!((1..=KEY_LOOKUPS_MAX).contains(&asked), "{key}: {asked}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_guesses_does_not_keep_a_good_key_waiting() {
        let store = Arc::new(OneKey::default());
        let keys = Keys::new(Arc::clone(&store) as _, KEY_TRUST);
        keys.find(digest("good")).await.unwrap();
        tokio::time::advance(KEY_TRUST).await;
        let guesses: Vec<_> = (0..1_000).map(|guess| format!("guess-{guess}")).collect();
        let flood = join_all(guesses.iter().map(|guess| keys.find(digest(guess))));
        let good = async {
            tokio::task::yield_now().await;
            let asked = Instant::now();
            assert!(keys.find(digest("good")).await.unwrap().is_some());
            asked.elapsed()
        };
        let (refused, waited) = tokio::join!(flood, good);
        assert!(waited < KEY_TURN_MAX / 2, "{waited:?}");
        let (unauthenticated, unavailable): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(Result::is_ok);
        assert!(
            !unauthenticated.is_empty() && !unavailable.is_empty(),
            "{} and {}",
            unauthenticated.len(),
            unavailable.len()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_good_outlives_an_outage_of_the_store_but_not_its_end() {
        let errors: [(fn() -> StoreError, bool); 4] = [
            (|| StoreError::Unavailable("gone".into()), true),
            (|| StoreError::TooSlow("too slow".into()), true),
            (|| StoreError::Locked("locked".into()), true),
            (|| StoreError::Corrupt("no such column".into()), false),
        ];
        for (error, passes) in errors {
            let store = Arc::new(OneKey::default());
            let keys = Keys::new(Arc::clone(&store) as _, KEY_TRUST);
            keys.find(digest("good")).await.unwrap();
            store.fails.set(error).unwrap();
            tokio::time::advance(KEY_TRUST).await;
            let found = keys.find(digest("good")).await;
            assert_eq!(found.is_ok_and(|found| found.is_some()), passes, "{}", error());
            assert!(keys.find(digest("guess")).await.is_err());
            assert_eq!(store.asked(), 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_holds_up_a_key_that_was_good_no_longer_than_a_second() {
        let store = Arc::new(OneKey::default());
        let keys = Keys::new(Arc::clone(&store) as _, KEY_TRUST);
        keys.find(digest("good")).await.unwrap();
        store.hangs.store(true, Ordering::Relaxed);
        tokio::time::advance(KEY_TRUST).await;
        let asked = Instant::now();
        assert!(keys.find(digest("good")).await.unwrap().is_some());
        assert_eq!(asked.elapsed().as_secs(), KEY_RENEWAL_MAX.as_secs());
    }

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

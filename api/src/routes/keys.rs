//! API keys: make, list, revoke.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use skein_shared::domain::limits::{IDENTITY_CHARS_MAX, KEYS_PER_ORGANIZATION_MAX};
use skein_shared::store::keys::{KeyCreation, KeyFilter, NewKey, Revocation};

use crate::answers::Answers;
use crate::app::App;
use crate::auth::{Caller, PresentedKey, digest};
use crate::body::Text;
use crate::cursor::Listing;
use crate::dto::key::{CallerKey, CreatedKey, KeyList};
use crate::key_request::{self, CreateKeyBody, is_name};
use crate::parameters::{CURSOR, LIMIT, Parameters, Query as _, Reading, query};
use crate::path_parameters::{KeyPath, no_key};
use crate::problem::{Problem, ProblemKind};
use crate::random_key::RandomKey;
use crate::server_span::RequestTrace;

/// What every key begins with, so that people and scanners for leaked ones recognise it.
const PREFIX: &str = "sk_";

const NAME: Reading<String> = Reading {
    hint: || format!("a name of at most {IDENTITY_CHARS_MAX} characters"),
    read: |name| is_name(name, IDENTITY_CHARS_MAX).then(|| name.to_owned()),
};

query! {
    /// Which keys are listed.
    pub(crate) struct KeysQuery {
        /// Keys of this workspace only.
        #[param(value_type = String, required = false, min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")]
        workspace: String = NAME,
        /// Keys of this user only.
        #[param(value_type = String, required = false, min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")]
        user: String = NAME,
        /// The `next_cursor` of the page before, which must have had the same filters.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
        cursor: String = CURSOR,
        /// Rows at most.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
        limit: u32 = LIMIT,
    }
}

/// The key that the request is sent with: whom it stands for and what it may do.
#[utoipa::path(
    get, path = "/key", operation_id = "getCallerKey", tag = "keys",
    responses((status = 200, body = CallerKey))
)]
pub(crate) async fn presented(
    answers: Answers,
    PresentedKey { digest, key }: PresentedKey,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    answers.json(StatusCode::OK, &CallerKey::new(&digest, &key))
}

/// Makes a key in the organization of the key that makes it. The answer holds the key, once: only its SHA-256 is stored.
/// It may do no more than its maker and ends no later; it stays good when its maker is revoked.
#[utoipa::path(
    post, path = "/keys", operation_id = "createKey", tag = "keys",
    request_body(content = CreateKeyBody, content_type = "application/json"),
    responses((status = 201, body = CreatedKey, description = "It is good at once"),
              (status = 409, description = "too-many-keys"))
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace, maker): (Caller, RequestTrace, PresentedKey),
    parameters: Parameters,
    body: Text,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let wanted = key_request::read(&body, &maker.key)?;
    // What cannot be answered is not begun.
    answers.check_room()?;
    let key = RandomKey::generate(PREFIX).map_err(Problem::internal)?;
    let new = NewKey {
        digest: digest(key.expose()),
        identity: wanted.identity,
        scopes: wanted.scopes,
        name: wanted.name,
        expiry: wanted.expiry,
        ends_with: maker.key.expires_at,
        created_by: caller.0.user.clone(),
    };
    let store = Arc::clone(&app.store);
    let write = async move { store.create_key(&new).await };
    match app.uncancelled(&trace, &caller, write).await?? {
        KeyCreation::Created(stored) => {
            let mut response = answers.json(StatusCode::CREATED, &CreatedKey::new(stored, &key))?;
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
        KeyCreation::PastExpiry => Err(key_request::past_expiry()),
        KeyCreation::TooMany => {
            let detail = format!(
                "an organization may have {KEYS_PER_ORGANIZATION_MAX} keys that are good; revoke some"
            );
            Err(Problem::new(ProblemKind::TooManyKeys, detail))
        }
    }
}

/// The keys of the organization, in all its workspaces, newest first. Those that are revoked or have expired are among
/// them, the last 1,000 at least.
#[utoipa::path(
    get, path = "/keys", operation_id = "listKeys", tag = "keys", params(KeysQuery),
    responses((status = 200, body = KeyList))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let KeysQuery { workspace, user, cursor, limit } = KeysQuery::take(&mut parameters);
    let filter = KeyFilter { workspace, user };
    let listing = Listing::Keys(&filter);
    let page = parameters.page(listing, limit, cursor.as_deref());
    parameters.finish()?;
    let found = app.store.list_keys(&tenant, &filter, &page).await?;
    let list = KeyList {
        items: found.items.into_iter().map(Into::into).collect(),
        next_cursor: found.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}

/// Revokes a key of the organization, for good; asking again changes nothing. This server refuses it from now on, the
/// others within 30 seconds, and one that cannot ask the store within 120; what needs the scope `admin` is refused
/// everywhere at once. A key may revoke itself. The last good key with the scope `admin` is not revoked (409): make
/// another one first.
#[utoipa::path(
    delete, path = "/keys/{id}", operation_id = "revokeKey", tag = "keys",
    params(KeyPath),
    responses((status = 204, description = "It is revoked, now or since before"),
              (status = 404, description = "key-not-found"),
              (status = 409, description = "last-admin-key"))
)]
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    (caller, trace): (Caller, RequestTrace),
    KeyPath(id): KeyPath,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let (store, entrance, tenant) =
        (Arc::clone(&app.store), Arc::clone(&app.entrance), caller.0.clone());
    let write = async move {
        let revocation = store.revoke_key(&tenant, id).await?;
        if let Some(Revocation::Revoked(digest)) = &revocation {
            entrance.forget(digest);
        }
        Ok::<_, Problem>(revocation)
    };
    match app.uncancelled(&trace, &caller, write).await?? {
        Some(Revocation::Revoked(_)) => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(Revocation::LastAdmin) => {
            let detail =
                "it is the organization's last key with the scope `admin`; make another one first";
            Err(Problem::new(ProblemKind::LastAdminKey, detail))
        }
        None => Err(no_key(&id.to_string())),
    }
}

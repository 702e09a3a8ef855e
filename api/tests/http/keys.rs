//! Making and listing keys.

use serde_json::{Value, json};
use skein_shared::domain::key_scopes::KeyScopes;
use skein_shared::domain::limits::KEYS_PER_ORGANIZATION_MAX;
use skein_shared::domain::tenant::Identity;
use sqlx::{Connection, PgConnection};

use crate::database;
use crate::harness::{Client, Server, until};

/// Makes a key and returns the answer.
pub(crate) async fn create(maker: &Client, body: &Value) -> Value {
    maker.post("/v1/keys", body).await.expect(201)
}

/// The holder of a key that was made.
pub(crate) fn holder(server: &Server, created: &Value) -> Client {
    let field = |name: &str| created[name].as_str().unwrap();
    let identity = Identity::new(field("organization"), field("workspace"), field("user"));
    server.holder(field("key"), &identity)
}

#[tokio::test]
async fn a_key_is_shown_once_and_stored_nowhere() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let answer = ada.post("/v1/keys", &json!({ "name": "ci", "scopes": ["run", "read"] })).await;
    let created = answer.expect(201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let key = created["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("sk_") && key.len() == 46, "{} characters", key.len());
    let mut described = created.clone();
    described.as_object_mut().unwrap().remove("key");
    let (organization, id) = (&*ada.identity.organization, created["id"].as_str().unwrap());
    assert_eq!(
        described,
        json!({
            "id": id, "name": "ci", "scopes": ["read", "run"], "organization": organization,
            "workspace": "main", "user": "ada", "created_by": "ada",
            "created_at": created["created_at"], "expires_at": null, "revoked_at": null,
            "last_used_at": null,
        })
    );

    let ci = holder(&server, &created);
    assert_eq!(
        ci.get("/v1/key").await.expect(200),
        json!({
            "id": id, "name": "ci", "scopes": ["read", "run"], "organization": organization,
            "workspace": "main", "user": "ada", "expires_at": null,
        })
    );
    ci.get("/v1/runs").await.expect(200);
    let listed = ada.get("/v1/keys").await;
    assert!(listed.text.contains(id) && !listed.text.contains(&key));
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT k::text FROM api_keys k WHERE organization_id = $1")
            .bind(organization)
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(rows.len(), 2);
    assert!(!rows.concat().contains(&key[3..]), "{rows:?}");
    // Nor is the digest, by which keys are found, shown to anybody.
    let digest: String = skein_api::digest(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(rows.concat().contains(&digest));
    assert!(!listed.text.contains(&digest[20..]) && !answer.text.contains(&digest[20..]));
}

#[tokio::test]
async fn what_is_wrong_with_a_wanted_key_is_said_all_at_once_and_where() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let long = "n".repeat(256);
    for (body, pointers) in [
        (json!({}), &["/name", "/scopes"][..]),
        (json!({ "name": "", "scopes": [] }), &["/name", "/scopes"]),
        (json!({ "name": "a\nb", "scopes": "read" }), &["/name", "/scopes"]),
        (
            json!({ "name": "n".repeat(65), "scopes": ["read", "reed", 1] }),
            &["/name", "/scopes/1", "/scopes/2"],
        ),
        (json!({ "name": 1, "scopes": ["read", "run", "read"] }), &["/name", "/scopes/2"]),
        (
            json!({ "name": "ci", "scopes": ["read"], "workspace": " ", "user": long }),
            &["/user", "/workspace"],
        ),
        (json!({ "name": "ci", "scopes": ["read"], "workspace": null }), &["/workspace"]),
        (json!({ "name": "ci", "scopes": ["read"], "expires_in": "soon" }), &["/expires_in"]),
        (json!({ "name": "ci", "scopes": ["read"], "expires_in": "0s" }), &["/expires_in"]),
        (json!({ "name": "ci", "scopes": ["read"], "expires_in": "3654d" }), &["/expires_in"]),
        (json!({ "name": "ci", "scopes": ["read"], "expires_in": 30 }), &["/expires_in"]),
        (json!({ "name": "ci", "scopes": ["read"], "expires_at": "tomorrow" }), &["/expires_at"]),
        (
            json!({ "name": "ci", "scopes": ["read"], "expires_at": "2020-01-31T12:00:00Z" }),
            &["/expires_at"],
        ),
        (
            json!({ "name": "ci", "scopes": ["read"], "expires_in": "1d", "expires_at": "2090-01-31T12:00:00Z" }),
            &["/expires_in"],
        ),
        (json!({ "name": "ci", "scopes": ["read"], "organization": "other" }), &["/organization"]),
    ] {
        let problem = ada.post("/v1/keys", &body).await.problem(422, "invalid-request");
        let errors = problem["errors"].as_array().unwrap();
        let mut found: Vec<_> = errors.iter().map(|it| it["pointer"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, pointers, "{body}");
        assert!(errors.iter().all(|it| it["hint"].is_string()), "{problem}");
    }
    ada.post("/v1/keys", &json!([])).await.problem(422, "invalid-request");
    let keys = ada.get("/v1/keys").await.expect(200);
    assert_eq!(keys["items"].as_array().unwrap().len(), 1, "none was made");
}

#[tokio::test]
async fn a_key_stands_for_others_of_the_organization_and_no_further() {
    let server = Server::start().await;
    let (ada, eve) = (server.tenant().await, server.tenant().await);
    let body =
        json!({ "name": "bob", "scopes": ["read", "write"], "workspace": "lab", "user": "bob" });
    let bob = create(&ada, &body).await;
    assert_eq!(bob["created_by"], "ada");
    let (bob_id, bob) = (bob["id"].as_str().unwrap().to_owned(), holder(&server, &bob));
    bob.publish("his-own").await;
    assert_eq!(ada.get("/v1/workflows").await.expect(200)["items"], json!([]));
    let read = |path: &'static str| {
        let ada = &ada;
        async move {
            let keys = ada.get(path).await.expect(200);
            let users = keys["items"].as_array().unwrap().iter();
            users.map(|key| key["user"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(read("/v1/keys").await, ["bob", "ada"]);
    assert_eq!(read("/v1/keys?workspace=lab").await, ["bob"]);
    assert_eq!(read("/v1/keys?user=ada").await, ["ada"]);
    assert!(read("/v1/keys?user=ada&workspace=lab").await.is_empty());

    // Another organization neither sees nor revokes it, nor learns that it exists.
    assert!(!eve.get("/v1/keys").await.text.contains(&bob_id));
    let theirs = eve.delete(&format!("/v1/keys/{bob_id}")).await.problem(404, "key-not-found");
    let nobodys = eve.delete("/v1/keys/key_0123456789abcdef").await.problem(404, "key-not-found");
    let detail = |problem: &Value, id: &str| problem["detail"].as_str().unwrap().replace(id, "");
    assert_eq!(detail(&theirs, &bob_id), detail(&nobodys, "key_0123456789abcdef"));
    eve.delete("/v1/keys/not-a-key").await.problem(404, "key-not-found");
    bob.get("/v1/key").await.expect(200);
}

#[tokio::test]
async fn keys_are_listed_in_pages_with_cursors_of_their_own() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    for number in 0..4 {
        create(&ada, &json!({ "name": format!("key {number}"), "scopes": ["read"] })).await;
    }
    let (mut names, mut path) = (Vec::new(), "/v1/keys?limit=2".to_owned());
    loop {
        let page = ada.get(&path).await.expect(200);
        names.extend(page["items"].as_array().unwrap().iter().map(|key| key["name"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        let filtered = format!("/v1/keys?user=ada&cursor={cursor}");
        ada.get(&filtered).await.problem(422, "invalid-request");
        path = format!("/v1/keys?limit=2&cursor={cursor}");
    }
    let expected: Vec<_> =
        (0..4).rev().map(|n| json!(format!("key {n}"))).chain([Value::Null]).collect();
    assert_eq!(names, expected);
    ada.get("/v1/keys?user=%00").await.problem(400, "invalid-parameter");
}

#[tokio::test]
async fn a_key_ends_with_its_makers_at_the_latest() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let ends = "2090-01-31T12:00:00Z";
    let guest = json!({ "name": "guest", "scopes": ["admin"], "expires_at": ends });
    let guest = holder(&server, &create(&ada, &guest).await);
    for (expiry, expected) in [
        (json!({}), ends),
        (json!({ "expires_at": "2091-01-31T12:00:00Z" }), ends),
        (json!({ "expires_at": "2089-01-31T12:00:00Z" }), "2089-01-31T12:00:00Z"),
    ] {
        let mut body = json!({ "name": "child", "scopes": ["read"] });
        body.as_object_mut().unwrap().extend(expiry.as_object().unwrap().clone());
        assert_eq!(create(&guest, &body).await["expires_at"], expected, "{body}");
    }
}

#[tokio::test]
async fn an_organization_may_have_so_many_keys() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    sqlx::query(
        "INSERT INTO api_keys (digest, organization_id, workspace_id, user_id)
         SELECT sha256(($1 || n)::bytea), $1, 'main', 'ada' FROM generate_series(3, $2) n",
    )
    .bind(&*ada.identity.organization)
    .bind(i64::from(KEYS_PER_ORGANIZATION_MAX))
    .execute(&mut connection)
    .await
    .unwrap();
    let body = json!({ "name": "one", "scopes": ["read"] });
    let last = create(&ada, &body).await;
    let problem = ada.post("/v1/keys", &body).await.problem(409, "too-many-keys");
    assert!(problem["detail"].as_str().unwrap().contains("1000"), "{problem}");
    ada.delete(&format!("/v1/keys/{}", last["id"].as_str().unwrap())).await.expect(204);
    create(&ada, &body).await;
    create(&server.tenant().await, &body).await;
}

#[tokio::test]
async fn the_use_of_a_key_is_noted_beside_the_requests() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let reader = server
        .scoped(&Identity::new(ada.identity.organization.clone(), "main", "bob"), KeyScopes::all())
        .await;
    reader.get("/v1/runs").await.expect(200);
    let noted = until(async || {
        let keys = ada.get("/v1/keys?user=bob").await.expect(200);
        keys["items"][0]["last_used_at"].as_str().map(str::to_owned)
    });
    let noted = noted.await;
    reader.get("/v1/runs").await.expect(200);
    let again = ada.get("/v1/keys?user=bob").await.expect(200);
    assert_eq!(again["items"][0]["last_used_at"], noted, "once a minute is enough");
}

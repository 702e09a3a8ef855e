//! Keys that are over: how soon, where, and what is in the way of that.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skein_api::Limits;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};

use crate::harness::{Parts, Server, until};
use crate::keys::{create, holder};

/// Another replica over the same store, which trusts a key for this long.
async fn replica(key_trust: Duration) -> Server {
    let limits = Limits { key_trust, ..Limits::default() };
    Server::with(Parts { limits, ..Parts::default() }).await
}

#[tokio::test]
async fn a_revocation_reaches_every_replica() {
    let here = Server::start().await;
    let elsewhere = replica(Duration::from_millis(50)).await;
    let ada = here.tenant().await;
    let created = create(&ada, &json!({ "name": "ci", "scopes": ["read"] })).await;
    let path = format!("/v1/keys/{}", created["id"].as_str().unwrap());
    let (near, far) = (holder(&here, &created), holder(&elsewhere, &created));
    near.get("/v1/runs").await.expect(200);
    far.get("/v1/runs").await.expect(200);

    ada.delete(&path).await.expect(204);
    let refused = near.get("/v1/runs").await;
    refused.problem(401, "unauthenticated");
    assert!(refused.header("www-authenticate").contains("invalid_token"));
    until(async || (far.get("/v1/runs").await.status == 401).then_some(())).await;

    // Again changes nothing, and it stays listed.
    let revoked_at =
        async || ada.get("/v1/keys").await.expect(200)["items"][0]["revoked_at"].clone();
    let before = revoked_at().await;
    assert!(before.is_string(), "{before}");
    ada.delete(&path).await.expect(204);
    assert_eq!(revoked_at().await, before);
}

#[tokio::test]
async fn what_needs_admin_is_refused_everywhere_at_once() {
    let here = Server::start().await;
    // Longer than any test takes.
    let elsewhere = replica(Duration::from_secs(3600)).await;
    let ada = here.tenant().await;
    let created = create(&ada, &json!({ "name": "ops", "scopes": ["admin"] })).await;
    let far = holder(&elsewhere, &created);
    far.get("/v1/keys").await.expect(200);
    ada.delete(&format!("/v1/keys/{}", created["id"].as_str().unwrap())).await.expect(204);
    far.get("/v1/runs").await.expect(200);
    let body = json!({ "name": "heir", "scopes": ["admin"] });
    far.post("/v1/keys", &body).await.problem(401, "unauthenticated");
    far.get("/v1/runs").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_wait_ends_when_its_key_is_revoked() {
    let here = Server::start().await;
    let elsewhere = replica(Duration::from_millis(50)).await;
    let ada = here.tenant().await;
    ada.publish("adder").await;
    let created = create(&ada, &json!({ "name": "ci", "scopes": ["run"] })).await;
    let far = holder(&elsewhere, &created);
    let wait = tokio::spawn(async move {
        let body = json!({ "input": { "n": 1 } });
        far.post("/v1/workflows/adder/runs?wait=60", &body).await
    });
    // Nobody executes it, so the request waits.
    let run = until(async || {
        let runs = ada.get("/v1/runs").await.expect(200);
        runs["items"][0]["id"].as_str().map(str::to_owned)
    });
    let run = run.await;
    let began = Instant::now();
    ada.delete(&format!("/v1/keys/{}", created["id"].as_str().unwrap())).await.expect(204);
    let answer = wait.await.unwrap();
    let problem = answer.problem(401, "unauthenticated");
    assert!(problem["detail"].as_str().unwrap().contains("revoked"), "{problem}");
    assert!(began.elapsed() < Duration::from_secs(30), "it has not sat the wait out");
    assert_eq!(answer.header("location"), format!("/v1/runs/{run}"));
    assert_eq!(ada.get(&format!("/v1/runs/{run}")).await.expect(200)["status"], "queued");
}

#[tokio::test]
async fn a_key_expires_by_itself() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let body = json!({ "name": "brief", "scopes": ["read"], "expires_in": "300ms" });
    let created = create(&ada, &body).await;
    let brief = holder(&server, &created);
    // However long keys are trusted here.
    until(async || (brief.get("/v1/runs").await.status == 401).then_some(())).await;
    let listed = ada.get("/v1/keys").await.expect(200);
    assert_eq!(listed["items"][0]["expires_at"], created["expires_at"]);
    assert_eq!(listed["items"][0]["revoked_at"], Value::Null);
}

#[tokio::test]
async fn the_last_key_that_may_make_others_is_not_revoked() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let own = format!("/v1/keys/{}", ada.key_id());
    server.scoped(&ada.identity, KeyScopes::NONE.with(KeyScope::Read)).await;
    ada.delete(&own).await.problem(409, "last-admin-key");
    ada.get("/v1/keys").await.expect(200);
    let heir =
        holder(&server, &create(&ada, &json!({ "name": "heir", "scopes": ["admin"] })).await);
    // With another one there, a key may revoke itself.
    ada.delete(&own).await.expect(204);
    ada.get("/v1/keys").await.problem(401, "unauthenticated");
    heir.get("/v1/keys").await.expect(200);
}

#[tokio::test]
async fn a_bootstrap_key_that_was_revoked_does_not_come_back_with_a_restart() {
    use skein_shared::config::BootstrapKey;
    use skein_shared::store::keys::Ensured;

    let server = Server::start().await;
    let ada = server.tenant().await;
    let key = BootstrapKey::new(format!("bootstrap-{}", ada.key_id()));
    let ensure =
        async || skein_api::ensure_bootstrap_key(&*server.store, &key, &ada.identity).await;
    assert_eq!(ensure().await.unwrap(), Ensured::Good);
    let first = server.holder(key.expose(), &ada.identity);
    first.get("/v1/keys").await.expect(200);
    ada.delete(&format!("/v1/keys/{}", first.key_id())).await.expect(204);
    assert_eq!(ensure().await.unwrap(), Ensured::Over);
    let restarted = Server::start().await;
    let again = restarted.holder(key.expose(), &ada.identity);
    again.get("/v1/key").await.problem(401, "unauthenticated");
}

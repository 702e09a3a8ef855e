//! Listings: filters and pages.

use serde_json::{Value, json};

use crate::harness::{Client, Server, workflow};

/// Follows the pages of a listing to its end.
async fn follow(client: &Client, path: &str, cursor: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = String::new();
    loop {
        let page = client.get(&format!("{path}{next}")).await.expect(200);
        let rows = page["items"].as_array().unwrap();
        items.extend(rows.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(text) if !rows.is_empty() => next = format!("&{cursor}={text}"),
            _ => return items,
        }
    }
}

#[tokio::test]
async fn runs_are_listed_newest_first_page_by_page() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    ada.publish("other").await;
    let mut ids = Vec::new();
    for n in 0..7 {
        let run = ada.run(if n % 3 == 0 { "other" } else { "adder" }).await;
        ids.push(run["id"].clone());
    }
    ids.reverse();
    let listed = follow(&ada, "/v1/runs?limit=3", "cursor").await;
    assert_eq!(listed.iter().map(|run| run["id"].clone()).collect::<Vec<_>>(), ids);
    let others = follow(&ada, "/v1/runs?limit=2&workflow=other", "cursor").await;
    assert_eq!(others.len(), 3);
    assert!(others.iter().all(|run| run["workflow"] == "other"));

    let id = ids[0].as_str().unwrap();
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let cancelled = ada.get("/v1/runs?status=cancelled").await.expect(200);
    assert_eq!(cancelled["items"].as_array().unwrap().len(), 1);
    assert_eq!(cancelled["items"][0]["id"], id);
    assert_eq!(cancelled["next_cursor"], Value::Null);

    let middle = listed[3]["created_at"].as_str().unwrap();
    let newer = ada.get(&format!("/v1/runs?created_after={middle}")).await.expect(200);
    assert_eq!(newer["items"].as_array().unwrap().len(), 4);
    let older = ada.get(&format!("/v1/runs?created_before={middle}")).await.expect(200);
    assert_eq!(older["items"].as_array().unwrap().len(), 3);

    // What has not ended has done so at no time.
    let ended = cancelled["items"][0]["finished_at"].as_str().unwrap();
    for (filter, count) in [
        (format!("ended_after={ended}"), 1),
        (format!("ended_before={ended}"), 0),
        (format!("ended_before={ended}&status=queued"), 0),
        ("ended_before=2099-01-01T00:00:00Z".to_owned(), 1),
        ("ended_after=2099-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let found = ada.get(&format!("/v1/runs?{filter}")).await.expect(200);
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{filter}");
    }
}

#[tokio::test]
async fn workflows_and_versions_are_listed_page_by_page() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    for name in ["c", "a", "e", "b", "d"] {
        ada.publish(name).await;
    }
    let listed = follow(&ada, "/v1/workflows?limit=2", "cursor").await;
    let names: Vec<_> = listed.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);

    for n in 2..=5 {
        let mut document = workflow("a");
        document["description"] = json!(format!("version {n}"));
        ada.post("/v1/workflows", &document).await.expect(201);
    }
    let listed = follow(&ada, "/v1/workflows/a/versions?limit=2", "cursor").await;
    let versions: Vec<_> = listed.iter().map(|it| it["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [5, 4, 3, 2, 1]);
    assert_eq!(listed[0]["description"], "version 5");
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_listing_only() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        ada.publish(name).await;
        let mut changed = workflow(name);
        changed["description"] = json!("changed");
        ada.post("/v1/workflows", &changed).await.expect(201);
        let first = ada.run(name).await["id"].as_str().unwrap().to_owned();
        ada.post(&format!("/v1/runs/{first}/cancel"), &json!({})).await.expect(202);
        ids.push(ada.run(name).await["id"].as_str().unwrap().to_owned());
        ada.open_log(ids.last().unwrap()).await;
    }
    let (log_a, log_b) = (format!("/v1/runs/{}/logs", ids[0]), format!("/v1/runs/{}/logs", ids[1]));
    let listings = [
        "/v1/workflows?limit=1",
        "/v1/workflows/a/versions?limit=1",
        "/v1/workflows/b/versions?limit=1",
        "/v1/runs?limit=1",
        "/v1/runs?limit=1&workflow=a",
        "/v1/runs?limit=1&workflow=b",
        "/v1/runs?limit=1&status=queued",
        "/v1/runs?limit=1&status=queued,cancelled",
        "/v1/runs?limit=1&created_after=2026-01-01T00:00:00Z",
        "/v1/runs?limit=1&created_before=2099-01-01T00:00:00Z",
        "/v1/runs?limit=1&ended_after=2026-01-01T00:00:00Z",
        "/v1/runs?limit=1&ended_before=2099-01-01T00:00:00Z",
        &format!("{log_a}?limit=1"),
        &format!("{log_b}?limit=1"),
        &format!("{log_b}?limit=1&level=info"),
        &format!("{log_b}?limit=1&since=2026-01-01T00:00:00Z"),
    ];
    for made in listings {
        let page = ada.get(made).await.expect(200);
        let cursor = page["next_cursor"].as_str().unwrap();
        for used in listings {
            let name = if used.contains("/logs") { "after" } else { "cursor" };
            let answer = ada.get(&format!("{used}&{name}={cursor}")).await;
            if made == used {
                answer.expect(200);
            } else {
                let problem = answer.problem(422, "invalid-request");
                assert_eq!(problem["errors"][0]["parameter"], name, "{made} {used}");
            }
        }
    }
}

#[tokio::test]
async fn runs_are_found_by_several_statuses_and_by_their_trace() {
    let server = Server::start().await;
    let (ada, stranger) = (server.tenant().await, server.tenant().await);
    ada.publish("adder").await;
    let mut ids = Vec::new();
    for turn in 0..6 {
        let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
        if turn % 2 == 0 {
            ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
        }
        ids.insert(0, id);
    }
    let found = async |filter: &str| {
        let rows = follow(&ada, &format!("/v1/runs?limit=2&{filter}"), "cursor").await;
        rows.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("status=queued,cancelled").await, ids);
    assert_eq!(found("status=cancelled,queued,failed").await, ids, "in any order");
    let queued: Vec<_> = ids.iter().step_by(2).cloned().collect();
    assert_eq!(found("status=queued,failed,timed_out").await, queued);
    assert_eq!(found("status=failed,timed_out").await, Vec::<String>::new());
    // However it is written, it is the same filter.
    let page = ada.get("/v1/runs?limit=1&status=queued,cancelled").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    ada.get(&format!("/v1/runs?limit=1&status=cancelled,queued&cursor={cursor}")).await.expect(200);

    let run = ada.get(&format!("/v1/runs/{}", ids[3])).await.expect(200);
    let trace = run["trace_id"].as_str().unwrap();
    assert_eq!(found(&format!("trace_id={trace}")).await, [ids[3].clone()]);
    assert_eq!(found(&format!("trace_id={trace}&status=failed")).await, Vec::<String>::new());
    let others = stranger.get(&format!("/v1/runs?trace_id={trace}")).await.expect(200);
    assert_eq!(others["items"], json!([]));
}

#[tokio::test]
async fn a_log_is_filtered() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let events = async |filter: &str| {
        let rows = follow(&ada, &format!("/v1/runs/{id}/logs?limit=1&{filter}"), "after").await;
        rows.iter().map(|row| row["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(events("level=warn").await, ["run.cancel_requested", "run.cancelled"]);
    assert_eq!(events("level=error").await, Vec::<String>::new());
    assert_eq!(events("node=add").await, ["node.cancelled"]);
    assert_eq!(events("node=add&level=warn").await, Vec::<String>::new());
    assert_eq!(events("since=2099-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(events("since=2026-01-01T00:00:00Z").await.len(), 4);
    // Whoever follows events cannot go on from a page that leaves some out.
    let page = ada.get(&format!("/v1/runs/{id}/logs?level=warn")).await.expect(200);
    let stream = ada.request("GET", &format!("/v1/runs/{id}/events"));
    let stream = stream.header("last-event-id", page["next_cursor"].as_str().unwrap());
    Client::send(stream).await.problem(422, "invalid-request");
}

#[tokio::test]
async fn a_log_is_followed_row_by_row() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let whole = ada.get(&format!("/v1/runs/{id}/logs")).await.expect(200);
    let rows = follow(&ada, &format!("/v1/runs/{id}/logs?limit=1"), "after").await;
    assert!(rows.len() >= 3, "{rows:?}");
    assert_eq!(Value::from(rows), whole["items"]);
    let end = whole["next_cursor"].as_str().unwrap();
    let nothing = ada.get(&format!("/v1/runs/{id}/logs?after={end}")).await.expect(200);
    assert_eq!(nothing, json!({ "items": [], "next_cursor": null }));
}

//! The spans of a run, made once more, and links to traces.

use serde_json::{Value, json};
use skein_api::TraceView;
use skein_shared::config::TraceUrlArgs;
use skein_shared::telemetry::ServiceNames;

use crate::harness::{Client, Parts, Server};
use crate::work::Work;

/// More than a page is made of.
const STEPS: u32 = 130;

/// The spans of a page, with the service that made each.
fn spans(page: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in page["resourceSpans"].as_array().unwrap() {
        let attributes = entry["resource"]["attributes"].as_array().unwrap();
        let service = attributes.iter().find(|it| it["key"] == "service.name").unwrap();
        let service = service["value"]["stringValue"].as_str().unwrap();
        for scope in entry["scopeSpans"].as_array().unwrap() {
            let spans = scope["spans"].as_array().unwrap().iter();
            found.extend(spans.map(|span| (service.to_owned(), span.clone())));
        }
    }
    found
}

fn named<'a>(spans: &'a [(String, Value)], name: &str) -> Vec<&'a Value> {
    spans.iter().map(|(_, span)| span).filter(|span| span["name"] == name).collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    attributes.iter().find(|it| it["key"] == key).map_or(&Value::Null, |it| &it["value"])
}

/// All pages of a run's spans.
async fn pages(client: &Client, run: &str) -> Vec<Value> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/runs/{run}/spans{cursor}")).await.expect(200);
        pages.push(page.clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("?cursor={next}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn a_run_has_its_spans_with_the_ids_that_it_shows() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    let id = run["id"].as_str().unwrap();
    let page = ada.get(&format!("/v1/runs/{id}/spans")).await.expect(200);
    assert_eq!(page["next_cursor"], Value::Null);
    let open = spans(&page);
    let [(service, publish)] = &open[..] else { panic!("{open:#?}") };
    assert_eq!((service.as_str(), &publish["spanId"]), ("skein-api", &run["publish_span_id"]));
    assert_eq!(publish["kind"], 4);

    Work::begin(&*server.store, id).await.call_model(1, "large", 20, true).await;
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let found = spans(&ada.get(&format!("/v1/runs/{id}/spans")).await.expect(200));
    for (_, span) in &found {
        assert_eq!(span["traceId"], run["trace_id"]);
        assert_eq!(attribute(span, "skein.rebuilt"), &json!({ "boolValue": true }));
        assert_eq!(attribute(span, "workflow.execution_id"), &json!({ "stringValue": id }));
        let organization = json!({ "stringValue": &*ada.identity.organization });
        assert_eq!(attribute(span, "organization.id"), &organization);
    }
    let [call] = named(&found, "llm.generate")[..] else { panic!("{found:#?}") };
    assert_eq!(attribute(call, "llm.total_tokens"), &json!({ "intValue": "30" }));
    assert_eq!(attribute(call, "llm.cost_usd"), &json!({ "doubleValue": 0.00003 }));
    // Its node is still being run, so neither that nor the run has ended.
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[tokio::test]
async fn an_ended_run_has_its_own_span_below_the_one_that_published_it() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    let id = run["id"].as_str().unwrap();
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let found = spans(&ada.get(&format!("/v1/runs/{id}/spans")).await.expect(200));
    let (service, root) =
        found.iter().find(|(_, span)| span["name"] == "workflow.execute").unwrap();
    assert_eq!((service.as_str(), &root["spanId"]), ("skein-worker", &run["root_span_id"]));
    assert_eq!(root["parentSpanId"], run["publish_span_id"]);
    assert_eq!(attribute(root, "workflow.status"), &json!({ "stringValue": "cancelled" }));
    assert_eq!(root["status"], json!({}));
    assert_eq!(found.len(), 2, "what never began has no span: {found:#?}");
}

#[tokio::test]
async fn many_spans_come_in_pages_and_each_comes_once() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let other = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let work = Work::begin(&*server.store, &id).await;
    for seq in 1..=STEPS {
        work.call_model(seq, "large", 1, true).await;
    }
    let pages = pages(&ada, &id).await;
    assert_eq!(pages.len(), 2);
    let all: Vec<_> = pages.iter().flat_map(spans).collect();
    let mut ids: Vec<_> = all.iter().map(|(_, span)| span["spanId"].to_string()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), all.len()), (STEPS as usize + 1, STEPS as usize + 1));
    assert_eq!(named(&all, "llm.generate").len(), STEPS as usize);

    // A cursor is good for its own run, unchanged.
    let cursor = pages[0]["next_cursor"].as_str().unwrap();
    let of_another = ada.get(&format!("/v1/runs/{other}/spans?cursor={cursor}")).await;
    let spoilt = ada.get(&format!("/v1/runs/{id}/spans?cursor=x{cursor}")).await;
    for answer in [of_another, spoilt] {
        let problem = answer.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], "cursor");
    }
}

#[tokio::test]
async fn a_run_that_is_not_there_has_no_spans() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let answer = ada.get("/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/spans").await;
    answer.problem(404, "run-not-found");
}

#[tokio::test]
async fn spans_name_the_process_that_is_both() {
    let traces = TraceView { services: ServiceNames::same("skein"), ..TraceView::default() };
    let server = Server::with(Parts { traces, ..Parts::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let found = spans(&ada.get(&format!("/v1/runs/{id}/spans")).await.expect(200));
    assert!(found.len() == 2 && found.iter().all(|(service, _)| service == "skein"), "{found:#?}");
}

#[tokio::test]
async fn every_run_is_a_link_to_its_trace_where_there_are_such_pages() {
    let template = "https://signoz.example/trace/{trace_id}";
    let url = TraceUrlArgs { trace_url_template: Some(template.parse().unwrap()) };
    let traces = TraceView { url: url.template().unwrap(), ..TraceView::default() };
    let server = Server::with(Parts { traces, ..Parts::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let started = ada.run("adder").await;
    let id = started["id"].as_str().unwrap();
    let read = ada.get(&format!("/v1/runs/{id}")).await.expect(200);
    let without = ada.get(&format!("/v1/runs/{id}?values=false")).await.expect(200);
    let listed = ada.get("/v1/runs").await.expect(200)["items"][0].clone();
    let cancelled = ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.expect(202);
    let page = format!("https://signoz.example/trace/{}", started["trace_id"].as_str().unwrap());
    for run in [&started, &read, &without, &listed, &cancelled] {
        assert_eq!(run["trace_url"], json!(page), "{run:#}");
    }
    let events = ada.get(&format!("/v1/runs/{id}/events")).await;
    assert!(events.text.contains(&format!("\"trace_url\":\"{page}\"")), "{}", events.text);

    let plain = Server::start().await;
    let bob = plain.tenant().await;
    bob.publish("adder").await;
    let run = bob.run("adder").await;
    assert_eq!(run.get("trace_url"), None);
    let listed = bob.get("/v1/runs").await.expect(200);
    assert_eq!(listed["items"][0].get("trace_url"), None);
}

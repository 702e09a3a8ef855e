//! What operators ask programs on a listener of its own.

use reqwest::Client;
use serde_json::{Value, json};
use skein_tests::stack::{Program, Setup, Stack, eventually, load, with_stack};

/// Any free port: several programs share one environment.
const ANYWHERE: &str = "127.0.0.1:0";
/// What the log says of the address.
const LISTENS: &str = "probes and metrics are answered";

/// Where a program answers, as its log says.
async fn address(program: &mut Program) -> String {
    program.prints(LISTENS, 0).await;
    let log = program.log();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.rfind(|line| line["message"] == LISTENS).expect("it was printed");
    format!("http://{}", line["address"].as_str().expect("an address"))
}

fn client() -> Client {
    Client::builder().no_proxy().build().expect("an HTTP client")
}

async fn ask(base: &str, path: &str) -> (u16, String) {
    let answer = client().get(format!("{base}{path}")).send().await.expect("it answers");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

async fn becomes(base: &str, status: u16, text: &str) {
    let what = format!("{base}/readyz is {status}: {text}");
    eventually(&what, async || {
        let (found, answer) = ask(base, "/readyz").await;
        (found == status && answer.contains(text)).then_some(())
    })
    .await;
}

/// The value of a sample, with its labels as they stand in the text.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

async fn bases(stack: &mut Stack) -> (String, String) {
    (address(&mut stack.api).await, address(&mut stack.workers[0]).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_ready_while_they_reach_what_they_need() {
    let setup = Setup::distributed("probes").workers(1).proxied().short_leases();
    let setup = setup.env("SKEIN_OPS_LISTEN", ANYWHERE);
    with_stack(setup, async |stack| {
        let (api, worker) = bases(stack).await;
        for base in [&api, &worker] {
            becomes(base, 200, "ok").await;
        }
        stack.amqp.as_ref().expect("it was asked for").cut();
        becomes(&api, 503, "no connection to the broker that sends").await;
        becomes(&worker, 503, "no connection to the broker that receives").await;
        stack.amqp.as_ref().expect("it was asked for").mend();
        for base in [&api, &worker] {
            becomes(base, 200, "ok").await;
        }
        stack.postgres.as_ref().expect("it was asked for").cut();
        becomes(&api, 503, "the store").await;
        becomes(&worker, 503, "the store is out of reach").await;
        for base in [&api, &worker] {
            assert_eq!(
                ask(base, "/livez").await,
                (200, "ok\n".to_owned()),
                "nothing is to be restarted"
            );
        }
        stack.postgres.as_ref().expect("it was asked for").mend();
        for base in [&api, &worker] {
            becomes(base, 200, "ok").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_drains_says_so_until_its_last_node_has_ended() {
    let setup = Setup::distributed("draining").workers(1).env("SKEIN_OPS_LISTEN", ANYWHERE);
    with_stack(setup, async |stack| {
        let (_, worker) = bases(stack).await;
        let nodes = json!([{ "id": "hold", "type": "http", "params": { "method": "GET", "url": stack.outside.url("/gate/held") } }]);
        stack.client.publish(&json!({ "name": "held", "nodes": nodes })).await;
        let run = stack.client.start("held", &json!({})).await;
        stack.outside.wait_for("/gate/held", 1).await;
        becomes(&worker, 200, "ok").await;
        stack.workers[0].terminate().await;
        becomes(&worker, 503, "the worker is draining").await;
        stack.outside.open("held");
        assert_eq!(stack.workers[0].ended().await.code(), Some(0));
        assert_eq!(stack.client.ended(run.id()).await.status(), "succeeded");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_can_be_scraped_although_nothing_is_exported() {
    let setup = Setup::distributed("scraped").workers(1).env("SKEIN_OPS_LISTEN", ANYWHERE);
    let setup = setup.env("OTEL_ENABLED", "false").env("SKEIN_CONCURRENCY", "8");
    with_stack(setup, async |stack| {
        let (api, worker) = bases(stack).await;
        load::publish(stack).await;
        let runs = load::start(&stack.client, 3).await;
        load::finish(&stack.client, &runs, skein_tests::stack::PATIENCE).await;
        let (status, accepted) = ask(&api, "/metrics").await;
        assert_eq!(status, 200);
        assert_eq!(sample(&accepted, "workflow_runs_accepted_total"), Some(3.0), "{accepted}");
        let (status, ended) = ask(&worker, "/metrics").await;
        assert_eq!(status, 200);
        let labels = "{workflow_status=\"completed\"}";
        let name = format!("workflow_run_duration_seconds_count{labels}");
        assert_eq!(sample(&ended, &name), Some(3.0), "{ended}");
        let free = sample(&ended, "worker_slots{worker_slot_state=\"free\"}");
        let used = sample(&ended, "worker_slots{worker_slot_state=\"used\"}");
        // The intake keeps one for what comes next.
        assert_eq!(free.zip(used).map(|(free, used)| free + used), Some(8.0), "{ended}");
        assert!(ended.contains("target_info{"), "{ended}");
        assert!(sample(&ended, "process_memory_usage_bytes").is_some_and(|bytes| bytes > 1e6));
        assert_eq!(stack.collector.requests(), [], "nothing is exported");
        assert_eq!(ask(&api, "/v1/runs").await.0, 404, "it is not the API");
        let refused = client().post(format!("{api}/metrics")).send().await;
        assert_eq!(refused.expect("it answers").status().as_u16(), 405);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_process_answers_for_both_its_parts() {
    let setup = Setup::embedded("probes").env("SKEIN_OPS_LISTEN", ANYWHERE);
    with_stack(setup, async |stack| {
        let base = address(&mut stack.api).await;
        becomes(&base, 200, "ok").await;
        let (status, metrics) = ask(&base, "/metrics").await;
        assert_eq!(status, 200);
        for name in ["worker_slots{", "workflow_runs_accepted_total", "runtime_workers"] {
            assert!(metrics.contains(name), "no {name} in\n{metrics}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_where_nobody_was_told_to_listen() {
    with_stack(Setup::embedded("no_probes").env("SKEIN_OPS_LISTEN", ""), async |stack| {
        assert!(!stack.api.log().contains(LISTENS));
    })
    .await;
}

//! A client that waits for a run is answered when a worker ends it, wherever that is.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use skein_api::{Deps, Hosts, Limits, TraceView};
use skein_shared::broker::Broker;
use skein_shared::broker::rabbitmq::{RabbitMq, RabbitMqOptions};
use skein_shared::dispatch::Dispatcher;
use skein_shared::finish::Finisher;
use skein_shared::sweeper::Timers;
use skein_tests::rabbitmq::amqp_url;
use skein_tests::stack::{Client, KEY, Setup, Stack, with_stack};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs that are tried: that the API does not listen for announcements yet may cost the first.
const ATTEMPTS: usize = 5;
/// Longer than any case takes.
const NEVER: Duration = Duration::from_secs(600);

/// From a worker over the broker to the API: this one looks into the store once, before the run can have ended, and
/// never again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_announced_to_the_api_where_somebody_waits() {
    with_stack(Setup::distributed("announced_end").workers(1), async |stack| {
        let url = stack.outside.url("/gate/{{ input.n }}");
        let document = json!({
            "name": "held",
            "nodes": [{ "id": "ask", "type": "http", "params": { "method": "POST", "url": url, "body": {} } }],
        });
        stack.client.publish(&document).await;
        let shutdown = CancellationToken::new();
        let (base, served) = serve_without_polls(stack, &shutdown).await;
        let client = Client::new(&base, KEY);
        let mut answers = Vec::new();
        for n in 0..ATTEMPTS {
            let (client, body) = (client.clone(), json!({ "input": { "n": n } }));
            let waiting = tokio::spawn(async move {
                client.post("/v1/workflows/held/runs?wait=5", &body).await
            });
            stack.outside.wait_for("/gate/", n + 1).await;
            stack.outside.open(&n.to_string());
            let answer = waiting.await.expect("it does not panic").expect("the API answers");
            // At the end of the wait, without an announcement, it would be 202.
            let is_shown = answer.status == StatusCode::OK && answer.body["status"] == "succeeded";
            answers.push(answer);
            if is_shown {
                break;
            }
        }
        assert!(answers.iter().any(|answer| answer.status == StatusCode::OK), "{answers:#?}");
        shutdown.cancel();
        served.await.expect("it does not panic");
    })
    .await;
}

/// Serves an API of this process over the stack's database and broker.
async fn serve_without_polls(
    stack: &Stack,
    shutdown: &CancellationToken,
) -> (String, tokio::task::JoinHandle<()>) {
    let store = stack.database().store();
    let namespace = stack.namespace.clone();
    let options = RabbitMqOptions { namespace, ..RabbitMqOptions::new(amqp_url()) };
    let broker: Arc<dyn Broker> =
        Arc::new(RabbitMq::connect(options).expect("the options are legal"));
    let dispatcher = Dispatcher::start(&TaskTracker::new(), Arc::clone(&broker), shutdown.clone());
    let (keys, hosts) = (Arc::clone(&store) as _, Hosts::Any);
    let finisher = Finisher::new(Arc::clone(&store) as _, Arc::clone(&broker));
    let timers = Timers::default();
    let deps = Deps {
        store,
        keys,
        broker,
        dispatcher,
        finisher,
        timers,
        hosts,
        traces: TraceView::default(),
    };
    let limits = Limits { wait_poll: NEVER, ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let served = tokio::spawn(skein_api::serve(listener, deps, limits, shutdown.clone()));
    (base, served)
}

//! A whole run as the API, two workers and a reaper trace it, all in one process.

use std::time::SystemTime;

use serde_json::{Value, json};
use skein_shared::broker::in_process::InProcess;
use skein_shared::broker::message::TRACEPARENT;
use skein_shared::broker::{Address, Broker, Headers, LISTENER_EVENTS_MAX, LiveEvent, LiveKind};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, NodeKey};
use skein_shared::domain::kind::NodeKind;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::run::{AbandonedAttempt, EndedRun, RunHeader};
use skein_shared::domain::state::RunState;
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_shared::domain::wakeup::{WakeReason, Wakeup};
use skein_shared::telemetry::spans::{
    HttpClient, NodeExecute, Process, Publish, abandoned, workflow_execute,
};
use skein_shared::telemetry::{
    ArrivedRequest, ServerRequest, emit, in_context, metrics, new_span_id,
};

use crate::samples::{MILLISECOND, header, node};

fn address() -> Address {
    Address {
        system: "rabbitmq",
        exchange: "skein.work".into(),
        routing_key: "default".into(),
        queue: "skein.work.default".into(),
        server: None,
    }
}

pub(crate) async fn play() -> Value {
    let parent = std::env::var("SCENARIO_TRACEPARENT").ok();
    let request = ServerRequest {
        method: "POST",
        route: Some("/v1/workflows/{name}/runs"),
        scheme: "http",
        path: "/v1/workflows/digest/runs",
        traceparent: parent.as_deref(),
        ..ServerRequest::default()
    };
    let mut server = ArrivedRequest::new(&request).begin_below_caller();
    let header = header(server.context());
    server.set_identity(&header.identity);
    let (headers, wakeup) = publish(&header, server.context().span);
    server.end(202, None);

    let fetch = ActivationKey::root(header.id, "fetch");
    crash(&header, &fetch);
    let process = receive(&headers, &wakeup);
    let fetched = work(&header, &fetch, process).await;
    let failure = Failure::new("expression", "no such field: items");
    let failed = AttemptOutcome::Failed { input: None, output: None, error: failure.clone() };
    let titles = ActivationKey::root(header.id, "titles");
    let upstream: [(NodeKey, TraceContext); 1] = [("fetch".into(), fetched)];
    emit(NodeExecute {
        kind: NodeKind::Transform,
        upstream: &upstream,
        outcome: &failed,
        ..node(&header, &titles, new_span_id(), SystemTime::now())
    });
    fall_behind(&titles).await;
    let trace = header.trace.clone();
    end(header, failure);
    json!({ "trace": trace.trace.to_string(), "root": trace.root.to_string() })
}

/// Somebody listens to live events and does not keep up: the one that there is no room for is lost.
async fn fall_behind(key: &ActivationKey) {
    let broker = InProcess::new();
    let _listener = broker.listen_live(key.run).await;
    for seq in 0..=LISTENER_EVENTS_MAX as u64 {
        broker.publish_live(LiveEvent {
            run: key.run,
            node: key.node.clone(),
            scope: key.scope.clone(),
            step: 1,
            seq,
            kind: LiveKind::Delta,
            text: "x".to_owned(),
        });
    }
}

fn publish(header: &RunHeader, parent: SpanId) -> (Headers, Wakeup) {
    let context = header.trace.context_of(header.trace.publish);
    let headers = Headers::from([(TRACEPARENT.to_owned(), context.to_traceparent())]);
    let now = SystemTime::now();
    emit(Publish {
        context,
        state: header.trace.state.as_ref(),
        parent: Some(parent),
        link: None,
        identity: &header.identity,
        run: header.id,
        workflow: Some(&header.workflow),
        address: &address(),
        messages: 1,
        message_id: None,
        body_bytes: Some(64),
        start: now,
        end: now,
        error: None,
    });
    let wakeup = Wakeup {
        key: ActivationKey::root(header.id, "fetch"),
        identity: header.identity.clone(),
        reason: WakeReason::Start,
        publisher: Some(context),
        state: None,
        queued_at: Some(now),
    };
    (headers, wakeup)
}

fn receive(headers: &Headers, wakeup: &Wakeup) -> TraceContext {
    let publisher = TraceContext::from_traceparent(&headers[TRACEPARENT])
        .expect("the publisher injected its context");
    let span = new_span_id();
    let now = SystemTime::now();
    metrics::queue_waited("rabbitmq", MILLISECOND);
    emit(Process {
        span,
        wakeup,
        identity: Some(&wakeup.identity),
        workflow: Some("digest"),
        publisher,
        address: &address(),
        tag: 1,
        redelivered: true,
        body_bytes: 64,
        start: now,
        end: now,
        claimed_at: Some(now),
        claimed: true,
        error: None,
    });
    publisher.with_span(span)
}

/// The first attempt: its worker dies, and a reaper reports it.
fn crash(header: &RunHeader, key: &ActivationKey) {
    let now = SystemTime::now();
    abandoned(&AbandonedAttempt {
        header: header.clone(),
        key: key.clone(),
        kind: "http".into(),
        attempt: 1,
        span: new_span_id(),
        started_at: now.into(),
        ended_at: now.into(),
        is_crash: true,
        is_retried: true,
        upstream: Vec::new(),
    })
    .for_each(emit);
}

/// The second attempt, on the second worker. Children are exported before their parent.
async fn work(header: &RunHeader, key: &ActivationKey, process: TraceContext) -> TraceContext {
    let span = new_span_id();
    let context = header.trace.context_of(span);
    let start = SystemTime::now();
    in_context(context, header.identity.clone(), async {
        tokio::task::yield_now().await;
        tracing::info!(node.attempts = 2, "fetching");
        let library = tracing::info_span!(target: "somelibrary", "library work");
        library.in_scope(|| tracing::debug!(target: "somelibrary", "too quiet to be seen"));
        // What the exporter's own client says must not be exported, or it would never end.
        tracing::warn!(target: "hyper_util::client", "a record about a record");
    })
    .await;
    emit(HttpClient {
        context: context.with_span(new_span_id()),
        parent: span,
        header,
        key,
        method: "GET",
        url: "https://feeds.example/rss?token=sesame",
        status: Some(200),
        error: None,
        resend_count: 0,
        protocol_version: Some("1.1"),
        start,
        end: SystemTime::now(),
    });
    let fetched =
        NodeExecute { attempt: 2, process: Some(process), ..node(header, key, span, start) };
    metrics::node_ended(fetched.kind, fetched.outcome, MILLISECOND);
    emit(fetched);
    context
}

fn end(header: RunHeader, failure: Failure) {
    let ended = EndedRun {
        started_at: Some(header.created_at),
        header,
        state: RunState::Failed,
        error: Some(failure),
        resumed: None,
        ended_at: SystemTime::now().into(),
    };
    metrics::run_ended(&ended);
    emit(workflow_execute(&ended));
    // A caller that does not sample its own work has not asked for this run's either: nobody hears of it.
    let context = ArrivedRequest::new(&ServerRequest {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ..ServerRequest::default()
    })
    .begin_below_caller()
    .context();
    emit(workflow_execute(&EndedRun { header: crate::samples::header(context), ..ended }));
}

//! What the tests of this folder describe spans of.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use opentelemetry::Value;

use super::{AroundAttempt, NodeExecute, Process, Publish};
use crate::broker::Address;
use crate::domain::ids::{ActivationKey, VersionId};
use crate::domain::kind::NodeKind;
use crate::domain::outcome::AttemptOutcome;
use crate::domain::run::{EndedRun, RunHeader, RunTrace};
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::domain::trace::{SAMPLED, TraceContext};
use crate::domain::wakeup::{WakeReason, Wakeup};
use crate::telemetry::{FinishedSpan, new_span_id, new_trace_id};

pub(in crate::telemetry) const RUN: &str = "0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f";

static ADDRESS: LazyLock<Address> = LazyLock::new(|| Address {
    system: "rabbitmq",
    exchange: "skein.work".into(),
    routing_key: "default".into(),
    queue: "skein.work.default".into(),
    server: Some(("mq.example".into(), 5672)),
});
static COMPLETED: AttemptOutcome = AttemptOutcome::Succeeded { input: None, output: String::new() };
static ADA: LazyLock<Identity> = LazyLock::new(|| Identity::new("acme", "research", "ada"));

pub(in crate::telemetry) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

pub(in crate::telemetry) fn address() -> &'static Address {
    &ADDRESS
}

pub(in crate::telemetry) fn context() -> TraceContext {
    TraceContext { trace: new_trace_id(), span: new_span_id(), flags: SAMPLED }
}

pub(in crate::telemetry) fn header() -> RunHeader {
    RunHeader {
        id: RUN.parse().unwrap(),
        identity: ADA.clone(),
        version_id: VersionId::generate(),
        workflow: "digest".into(),
        version: 4,
        input: "{}".into(),
        step_mode: false,
        node_count: 3,
        edge_count: 2,
        trace: RunTrace {
            trace: new_trace_id(),
            publish: new_span_id(),
            root: new_span_id(),
            flags: SAMPLED,
            state: Some("ot=th:8".parse().unwrap()),
        },
        created_at: DateTime::<Utc>::from(now()),
    }
}

pub(in crate::telemetry) fn ended(state: RunState) -> EndedRun {
    let header = header();
    let started_at = header.created_at + TimeDelta::milliseconds(250);
    let ended_at = started_at + TimeDelta::milliseconds(1500);
    EndedRun { header, state, error: None, started_at: Some(started_at), resumed: None, ended_at }
}

pub(in crate::telemetry) fn publish(context: &TraceContext) -> Publish<'static> {
    Publish {
        context: *context,
        state: None,
        parent: None,
        link: None,
        identity: &ADA,
        run: RUN.parse().unwrap(),
        workflow: Some("digest"),
        address: &ADDRESS,
        messages: 1,
        message_id: None,
        body_bytes: Some(120),
        start: now(),
        end: now(),
        error: None,
    }
}

pub(in crate::telemetry) fn wakeup() -> Wakeup {
    Wakeup {
        key: ActivationKey::root(RUN.parse().unwrap(), "fetch"),
        identity: ADA.clone(),
        reason: WakeReason::Start,
        publisher: Some(context()),
        state: None,
        queued_at: Some(now() - Duration::from_millis(250)),
    }
}

pub(in crate::telemetry) fn process(wakeup: &Wakeup) -> Process<'_> {
    Process {
        span: new_span_id(),
        wakeup,
        identity: Some(&wakeup.identity),
        workflow: Some("digest"),
        publisher: wakeup.publisher.expect("the sample has one"),
        address: &ADDRESS,
        tag: 7,
        redelivered: false,
        body_bytes: 120,
        start: now(),
        end: now(),
        claimed_at: Some(now()),
        claimed: true,
        error: None,
    }
}

pub(in crate::telemetry) fn node<'a>(
    header: &'a RunHeader,
    key: &'a ActivationKey,
) -> NodeExecute<'a> {
    NodeExecute {
        span: new_span_id(),
        header,
        key,
        kind: NodeKind::Transform,
        attempt: 2,
        process: None,
        upstream: &[],
        start: now(),
        end: now() + Duration::from_millis(40),
        outcome: &COMPLETED,
        around: AroundAttempt {
            queued: Some(Duration::from_millis(250)),
            commit: Some(Duration::from_millis(3)),
            is_resumed: false,
        },
    }
}

/// The attributes of a span as JSON, so that their types are compared too.
pub(in crate::telemetry) fn attributes(span: &FinishedSpan) -> serde_json::Value {
    let mut map = serde_json::Map::new();
    for attribute in &span.attributes {
        let value = match &attribute.value {
            Value::Bool(value) => (*value).into(),
            Value::I64(value) => (*value).into(),
            Value::F64(value) => (*value).into(),
            Value::String(value) => value.as_str().into(),
            Value::Array(opentelemetry::Array::String(values)) => {
                values.iter().map(|value| value.as_str()).collect()
            }
            other => panic!("{} has a type that no span should use: {other:?}", attribute.key),
        };
        let before = map.insert(attribute.key.to_string(), value);
        assert_eq!(before, None, "{} is set twice", attribute.key);
    }
    map.into()
}

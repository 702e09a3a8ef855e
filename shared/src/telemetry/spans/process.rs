//! `process {queue}`: a wake-up as its receiver sees it.

use std::time::SystemTime;

use opentelemetry::trace::{Event, SpanKind};

use super::publish::{destination, is_rabbitmq, set_routing_key, set_server};
use crate::broker::Address;
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceContext};
use crate::domain::wakeup::Wakeup;
use crate::telemetry::span::{FinishedSpan, count, millis};
use crate::telemetry::{clock, semconv};

/// One delivery, from its receipt to its acknowledgement. A child of the span that published it, and
/// linked to it too, as the conventions ask for.
#[derive(Debug, Clone)]
pub struct Process<'a> {
    /// Its reserved id, within the publisher's trace.
    pub span: SpanId,
    /// What the message said.
    pub wakeup: &'a Wakeup,
    /// Whose work it led to, as the row says. `None` where no row was read: whoever can publish can claim to be anybody.
    pub identity: Option<&'a Identity>,
    /// The run's workflow, where a row was read.
    pub workflow: Option<&'a str>,
    /// The span that published it, as the message or, better, the row says.
    pub publisher: TraceContext,
    /// Where it came from.
    pub address: &'a Address,
    /// The broker's number for the delivery.
    pub tag: u64,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// Size of its body in bytes.
    pub body_bytes: usize,
    /// When it was received.
    pub start: SystemTime,
    /// When it was settled.
    pub end: SystemTime,
    /// When the store had answered the claim, if it did.
    pub claimed_at: Option<SystemTime>,
    /// Whether it led to a claim. `false` is normal: messages are doubled, and come late.
    pub claimed: bool,
    /// A low-cardinality word for why the claim could not be tried, as `store_unavailable`.
    pub error: Option<&'static str>,
}

impl From<Process<'_>> for FinishedSpan {
    fn from(process: Process<'_>) -> Self {
        let Process { address, wakeup, .. } = process;
        let name = format!("{} {}", semconv::SPAN_PROCESS, address.queue);
        let context = process.publisher.with_span(process.span);
        let mut span = Self::new(name, SpanKind::Consumer, context, (process.start, process.end));
        span.state.clone_from(&wakeup.state);
        span.parent = Some(process.publisher.span);
        span.links = vec![process.publisher];
        span.identity = process.identity.cloned();
        if let Some(at) = process.claimed_at.filter(|_| process.claimed) {
            span.events.push(Event::new(semconv::EVENT_CLAIMED, at, Vec::new(), 0));
        }
        let run = wakeup.key.run.to_string();
        if let Some(workflow) = process.workflow {
            span.set(semconv::WORKFLOW_ID, workflow.to_owned());
        }
        span.set(semconv::WORKFLOW_EXECUTION_ID, run.clone());
        span.set(semconv::NODE_ID, wakeup.key.node.clone());
        span.set(semconv::WORKFLOW_WAKEUP_REASON, wakeup.reason.as_str());
        span.set(semconv::WORKFLOW_WAKEUP_CLAIMED, process.claimed);
        // Since when it was runnable, the row says, or the message, and both say it by the database's clock.
        let received = clock::database_time(process.start);
        if let Some(waited) = wakeup.queued_at.map(|at| received.duration_since(at)) {
            span.set(semconv::WORKFLOW_QUEUE_WAIT_MS, millis(waited.unwrap_or_default()));
        }
        span.set(semconv::MESSAGING_SYSTEM, address.system);
        span.set(semconv::MESSAGING_OPERATION_NAME, "process");
        span.set(semconv::MESSAGING_OPERATION, "process");
        span.set(semconv::MESSAGING_OPERATION_TYPE, "process");
        span.set(semconv::MESSAGING_DESTINATION_NAME, received_from(address));
        set_routing_key(&mut span, address);
        set_server(&mut span, address);
        if is_rabbitmq(address) {
            span.set(semconv::MESSAGING_RABBITMQ_DELIVERY_TAG, count(process.tag));
        }
        span.set(semconv::MESSAGING_MESSAGE_REDELIVERED, process.redelivered);
        span.set(semconv::MESSAGING_MESSAGE_CONVERSATION_ID, run);
        span.set(semconv::MESSAGING_MESSAGE_BODY_SIZE, count(process.body_bytes));
        if let Some(error) = process.error {
            span.set(semconv::ERROR_TYPE, error);
            span.error = Some(error.to_owned());
        }
        span
    }
}

/// Where messages come from, as the conventions name it.
pub(in crate::telemetry) fn received_from(address: &Address) -> String {
    let Address { exchange, routing_key, queue, .. } = address;
    if routing_key == queue {
        destination(&[exchange, queue])
    } else {
        destination(&[exchange, routing_key, queue])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::samples::{self, attributes};
    use super::*;

    #[test]
    fn a_process_span_is_a_child_of_and_linked_to_its_publisher() {
        let wakeup = samples::wakeup();
        let span = FinishedSpan::from(samples::process(&wakeup));
        assert_eq!(span.name, "process skein.work.default");
        assert_eq!(span.kind, SpanKind::Consumer);
        let publisher = wakeup.publisher.unwrap();
        assert_eq!(span.context.trace, publisher.trace);
        assert_eq!(span.parent, Some(publisher.span));
        assert_eq!(span.links, [publisher]);
        let claimed = span.events.iter().map(|event| (&*event.name, event.timestamp));
        assert_eq!(claimed.collect::<Vec<_>>(), [("claimed", samples::now())]);
        assert_eq!(
            attributes(&span),
            serde_json::json!({
                "workflow.id": "digest",
                "workflow.execution_id": samples::RUN,
                "server.address": "mq.example",
                "server.port": 5672,
                "node.id": "fetch",
                "workflow.wakeup.reason": "start",
                "workflow.wakeup.claimed": true,
                "workflow.queue_wait_ms": 250,
                "messaging.system": "rabbitmq",
                "messaging.operation": "process",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": "skein.work:default:skein.work.default",
                "messaging.rabbitmq.destination.routing_key": "default",
                "messaging.rabbitmq.message.delivery_tag": 7,
                "messaging.message.redelivered": false,
                "messaging.message.conversation_id": samples::RUN,
                "messaging.message.body.size": 120,
            })
        );
    }

    #[test]
    fn a_process_span_is_whose_the_row_is_and_nobodys_without_one() {
        let mut wakeup = samples::wakeup();
        wakeup.identity = Identity::new("forged", "forged", "forged");
        let row = Identity::new("acme", "research", "ada");
        let led = Process { identity: Some(&row), ..samples::process(&wakeup) };
        assert_eq!(FinishedSpan::from(led).identity, Some(row));
        let missed = Process { identity: None, claimed: false, ..samples::process(&wakeup) };
        let span = FinishedSpan::from(missed);
        assert_eq!((span.identity, span.events.len()), (None, 0));
    }

    #[test]
    fn a_clock_behind_the_publishers_yields_no_negative_wait() {
        let mut wakeup = samples::wakeup();
        wakeup.queued_at = Some(samples::now() + Duration::from_secs(9));
        let span = FinishedSpan::from(samples::process(&wakeup));
        assert_eq!(attributes(&span)["workflow.queue_wait_ms"], 0);
    }

    #[test]
    fn rabbitmqs_attributes_are_for_rabbitmq() {
        let wakeup = samples::wakeup();
        let address = Address { system: "in_process", ..samples::address().clone() };
        let span = FinishedSpan::from(Process { address: &address, ..samples::process(&wakeup) });
        assert!(span.attributes.iter().all(|a| !a.key.as_str().starts_with("messaging.rabbitmq")));
    }

    #[test]
    fn a_queue_named_like_its_routing_key_is_named_once() {
        let same = Address { queue: "default".into(), ..samples::address().clone() };
        assert_eq!(received_from(&same), "skein.work:default");
    }
}

//! `publish {exchange}`: wake-ups on their way to the broker.

use std::time::SystemTime;

use opentelemetry::trace::SpanKind;

use crate::broker::{Address, PublishError};
use crate::domain::ids::RunId;
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceContext, TraceState};
use crate::telemetry::semconv;
use crate::telemetry::span::{FinishedSpan, count};

/// The publishing of the wake-ups of one run, up to the broker's confirmation.
#[derive(Debug, Clone)]
pub struct Publish<'a> {
    /// Its reserved ids: what the messages carry as their publisher.
    pub context: TraceContext,
    /// What goes with them: see [`TraceState`].
    pub state: Option<&'a TraceState>,
    /// The request that was accepted, the run whose node ended, or of what is published again, the publishing that began
    /// the run: it is another process that does so, and not one that the run's own is a caller of.
    pub parent: Option<SpanId>,
    /// The run, where that is not the parent.
    pub link: Option<TraceContext>,
    /// Whose run it is.
    pub identity: &'a Identity,
    /// The run.
    pub run: RunId,
    /// Its workflow, where it is known.
    pub workflow: Option<&'a str>,
    /// Where the messages went.
    pub address: &'a Address,
    /// How many messages there were.
    pub messages: usize,
    /// What the broker calls the message, if it is a single one.
    pub message_id: Option<String>,
    /// Size of their bodies together, in bytes, where it is known.
    pub body_bytes: Option<usize>,
    /// When the first was handed to the broker.
    pub start: SystemTime,
    /// When the last was confirmed or refused.
    pub end: SystemTime,
    /// Why not all were accepted.
    pub error: Option<&'a PublishError>,
}

impl From<Publish<'_>> for FinishedSpan {
    fn from(publish: Publish<'_>) -> Self {
        let Publish { address, .. } = publish;
        let name = format!("{} {}", semconv::SPAN_PUBLISH, address.exchange);
        let times = (publish.start, publish.end);
        let mut span = Self::new(name, SpanKind::Producer, publish.context, times);
        span.state = publish.state.cloned();
        span.parent = publish.parent;
        span.links = publish.link.into_iter().collect();
        span.identity = Some(publish.identity.clone());
        if let Some(workflow) = publish.workflow {
            span.set(semconv::WORKFLOW_ID, workflow.to_owned());
        }
        span.set(semconv::WORKFLOW_EXECUTION_ID, publish.run.to_string());
        span.set(semconv::MESSAGING_SYSTEM, address.system);
        span.set(semconv::MESSAGING_OPERATION_NAME, "publish");
        span.set(semconv::MESSAGING_OPERATION, "publish");
        span.set(semconv::MESSAGING_OPERATION_TYPE, "send");
        span.set(semconv::MESSAGING_DESTINATION_NAME, sent_to(address));
        set_routing_key(&mut span, address);
        set_server(&mut span, address);
        if let Some(id) = publish.message_id {
            span.set(semconv::MESSAGING_MESSAGE_ID, id);
        }
        span.set(semconv::MESSAGING_MESSAGE_CONVERSATION_ID, publish.run.to_string());
        if publish.messages > 1 {
            span.set(semconv::MESSAGING_BATCH_MESSAGE_COUNT, count(publish.messages));
        }
        if let Some(bytes) = publish.body_bytes {
            span.set(semconv::MESSAGING_MESSAGE_BODY_SIZE, count(bytes));
        }
        if let Some(error) = publish.error {
            span.set(semconv::ERROR_TYPE, error.code());
            span.error = Some(error.to_string());
        }
        span
    }
}

/// Where messages go, as the conventions name it.
pub(in crate::telemetry) fn sent_to(address: &Address) -> String {
    destination(&[&address.exchange, &address.routing_key])
}

/// The name of a destination as the conventions for RabbitMQ spell it: the parts that are not empty.
pub(super) fn destination(parts: &[&str]) -> String {
    let present: Vec<_> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if present.is_empty() { "amq.default".to_owned() } else { present.join(":") }
}

pub(super) fn is_rabbitmq(address: &Address) -> bool {
    address.system == "rabbitmq"
}

pub(super) fn set_routing_key(span: &mut FinishedSpan, address: &Address) {
    if is_rabbitmq(address) && !address.routing_key.is_empty() {
        span.set(semconv::MESSAGING_RABBITMQ_ROUTING_KEY, address.routing_key.clone());
    }
}

pub(super) fn set_server(span: &mut FinishedSpan, address: &Address) {
    if let Some((host, port)) = &address.server {
        span.set(semconv::SERVER_ADDRESS, host.clone());
        span.set(semconv::SERVER_PORT, i64::from(*port));
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, attributes};
    use super::*;

    #[test]
    fn a_publish_span_follows_the_messaging_conventions() {
        let context = samples::context();
        let parent = crate::telemetry::new_span_id();
        let publish = Publish { parent: Some(parent), messages: 3, ..samples::publish(&context) };
        let span = FinishedSpan::from(publish);
        assert_eq!(span.name, "publish skein.work");
        assert_eq!(span.kind, SpanKind::Producer);
        assert_eq!((span.context, span.parent), (context, Some(parent)));
        assert_eq!(span.links, []);
        assert_eq!(span.error, None);
        assert_eq!(
            attributes(&span),
            serde_json::json!({
                "workflow.id": "digest",
                "workflow.execution_id": samples::RUN,
                "server.address": "mq.example",
                "server.port": 5672,
                "messaging.system": "rabbitmq",
                "messaging.operation": "publish",
                "messaging.operation.name": "publish",
                "messaging.operation.type": "send",
                "messaging.destination.name": "skein.work:default",
                "messaging.rabbitmq.destination.routing_key": "default",
                "messaging.message.conversation_id": samples::RUN,
                "messaging.batch.message_count": 3,
                "messaging.message.body.size": 120,
            })
        );
    }

    #[test]
    fn what_is_published_again_is_linked_to_the_run_and_a_single_message_has_a_name() {
        let (context, run) = (samples::context(), samples::context());
        let message_id = Some("7:fetch::1".to_owned());
        let publish = Publish { link: Some(run), message_id, ..samples::publish(&context) };
        let span = FinishedSpan::from(publish);
        assert_eq!(span.links, [run]);
        assert_eq!(attributes(&span)["messaging.message.id"], "7:fetch::1");
    }

    #[test]
    fn a_refused_message_is_an_error() {
        let context = samples::context();
        let error = PublishError::Refused("no route".into());
        let publish = Publish { error: Some(&error), ..samples::publish(&context) };
        let span = FinishedSpan::from(publish);
        assert_eq!(span.error.as_deref(), Some("the broker refused the message: no route"));
        assert_eq!(attributes(&span)["error.type"], "refused");
    }

    #[test]
    fn a_destination_is_made_of_what_is_there() {
        assert_eq!(destination(&["", ""]), "amq.default");
        assert_eq!(destination(&["", "q"]), "q");
        assert_eq!(destination(&["x", "k", "q"]), "x:k:q");
    }
}

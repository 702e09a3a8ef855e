//! Outbound requests as spans and metrics.

use std::time::SystemTime;

use skein_shared::domain::trace::TraceContext;
use skein_shared::telemetry::metrics::{SentRequest, request_sent};
use skein_shared::telemetry::spans::HttpClient;
use skein_shared::telemetry::{emit, new_span_id};

use crate::egress::{Exchange, Observer, Origin};

/// Tells telemetry of each outbound request; the context of its span travels with the request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Telling {
    /// Requests whose host a workflow may choose.
    OfWorkflows,
    /// Requests to hosts that the operator has named.
    OfProviders,
}

impl Observer for Telling {
    fn begin(&self, origin: &Origin) -> TraceContext {
        origin.span.with_span(new_span_id())
    }

    fn end(&self, exchange: &Exchange<'_>) {
        request_sent(&SentRequest {
            method: exchange.method.as_str(),
            url: exchange.url,
            named_host: match self {
                Self::OfWorkflows => None,
                Self::OfProviders => Some(exchange.host),
            },
            status: exchange.status,
            error: exchange.error,
            took: (exchange.ended_at - exchange.started_at).to_std().unwrap_or_default(),
        });
        emit(HttpClient {
            context: exchange.context,
            parent: exchange.origin.span.span,
            header: &exchange.origin.run,
            key: &exchange.origin.key,
            method: exchange.method.as_str(),
            url: exchange.url,
            status: exchange.status,
            error: exchange.error,
            resend_count: exchange.origin.resends + exchange.redirects,
            protocol_version: exchange.version,
            start: SystemTime::from(exchange.started_at),
            end: SystemTime::from(exchange.ended_at),
        });
    }
}

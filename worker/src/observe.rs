//! Outbound requests as spans.

use std::time::SystemTime;

use skein_shared::domain::trace::TraceContext;
use skein_shared::telemetry::spans::HttpClient;
use skein_shared::telemetry::{emit, new_span_id};

use crate::egress::{Exchange, Observer, Origin};

/// Exports a span for each outbound request; its context travels with the request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spans;

impl Observer for Spans {
    fn begin(&self, origin: &Origin) -> TraceContext {
        origin.span.with_span(new_span_id())
    }

    fn end(&self, exchange: &Exchange<'_>) {
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

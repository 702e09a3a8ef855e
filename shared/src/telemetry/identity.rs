//! Puts `user.id`, `organization.id` and `workspace.id` on every span and log record.
//!
//! The identity is a value of the OpenTelemetry context, not baggage: baggage would send it to every
//! server that a workflow calls, and would believe whatever a caller claims.

use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord, Severity};
use opentelemetry::trace::Span as _;
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};

use super::{clock, semconv};
use crate::domain::tenant::Identity;

/// The identity of the work that the current task does, if it does any for a tenant.
pub(super) fn current() -> Option<Identity> {
    Context::map_current(|context| context.get::<Identity>().cloned())
}

/// The three attributes.
pub(super) fn attributes(identity: &Identity) -> [KeyValue; 3] {
    [
        KeyValue::new(semconv::ORGANIZATION_ID, identity.organization.clone()),
        KeyValue::new(semconv::WORKSPACE_ID, identity.workspace.clone()),
        KeyValue::new(semconv::USER_ID, identity.user.clone()),
    ]
}

/// Adds the identity of the context to spans that the SDK starts, which are those of libraries, and
/// hands all spans on. One processor that wraps the other: with two of them the SDK clones every span.
#[derive(Debug)]
pub(super) struct IdentitySpans<P> {
    pub(super) next: P,
}

impl<P: SpanProcessor> SpanProcessor for IdentitySpans<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        if let Some(identity) = context.get::<Identity>() {
            for attribute in attributes(identity) {
                span.set_attribute(attribute);
            }
        }
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Adds the identity of the current context to log records, with the time of the event and the program's version where
/// they do not say either, and hands them on.
#[derive(Debug)]
pub(super) struct IdentityLogs<P> {
    pub(super) next: P,
    /// The scope of what the program says; the exporter puts the part of it that says so in place of its name.
    pub(super) scope: InstrumentationScope,
}

impl<P: LogProcessor> LogProcessor for IdentityLogs<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        // Records are emitted where the event happened, so the current context is the right one, and so is the time.
        if record.timestamp().is_none() {
            record.set_timestamp(clock::database_time(SystemTime::now()));
        }
        if let Some(identity) = current() {
            for KeyValue { key, value, .. } in attributes(&identity) {
                record.add_attribute(key, AnyValue::from(value.to_string()));
            }
        }
        let scope = if scope.version().is_some() { scope } else { &self.scope };
        self.next.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.next.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

//! Spans as data: made when they have ended, with ids that were reserved before.
//!
//! A live span object would have to survive awaits, other workers and crashes. So no span is one,
//! but the API's SERVER span: every other is described by a [`FinishedSpan`] and handed over in one
//! synchronous call. Its ids were fixed (on a row, in a message) before the work began, so that
//! children can name a parent that is exported after them, by another process, or again after a crash.

use std::borrow::Cow;
use std::future::Future;
use std::time::{Duration, SystemTime};

use opentelemetry::context::FutureExt;
use opentelemetry::trace::TraceState as OtelTraceState;
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use super::brief::brief;
use super::{clock, identity, semconv};
use crate::domain::failure::{CANCELLED, Failure};
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceContext, TraceId, TraceState};

/// Bytes of one string attribute; longer ones are cut. The SDK has no such limit, and 16,384 queued
/// spans with megabytes each would be the end of the process.
pub(super) const ATTRIBUTE_BYTES_MAX: usize = 4 * 1024;
/// Links of one span. The default of the specification; backends drop or refuse more.
pub const LINKS_MAX: usize = 128;

/// Whose clock the times of a span were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// This process's: what is exported is corrected by what is known of the database's.
    Process,
    /// The database's.
    Database,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedSpan {
    /// Low in cardinality: what kind of work, not which.
    pub name: Cow<'static, str>,
    /// Which side of which kind of communication it is.
    pub kind: SpanKind,
    /// Its own, reserved ids, and the flags that say whether it is exported at all.
    pub context: TraceContext,
    /// What goes with that: see [`TraceState`].
    pub state: Option<TraceState>,
    /// The parent within the same trace; `None` for the root of a trace.
    pub parent: Option<SpanId>,
    /// When the work began.
    pub start: SystemTime,
    /// When it ended. An end before the start, as two clocks may yield, becomes the start.
    pub end: SystemTime,
    /// By which clock that was.
    pub clock: Clock,
    /// Whose work it was. `None` takes the identity of the current context, if there is one.
    pub identity: Option<Identity>,
    /// Names are from [`semconv`], each at most once.
    pub attributes: Vec<KeyValue>,
    /// Spans that it continues or joins. Those beyond [`LINKS_MAX`] are counted, and not exported.
    pub links: Vec<TraceContext>,
    /// Moments within it.
    pub events: Vec<Event>,
    /// Set when it failed: the description of the status.
    pub error: Option<String>,
}

impl FinishedSpan {
    /// A span without attributes, links, events and error.
    pub(super) fn new(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        context: TraceContext,
        (start, end): (SystemTime, SystemTime),
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            context,
            state: None,
            parent: None,
            start,
            end,
            clock: Clock::Process,
            identity: None,
            attributes: Vec::with_capacity(20),
            links: Vec::new(),
            events: Vec::new(),
            error: None,
        }
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        debug_assert!(
            self.attributes.iter().all(|attribute| attribute.key.as_str() != key),
            "{key} is set twice"
        );
        self.attributes.push(KeyValue::new(key, value));
    }

    pub(super) fn set_strings<'a>(
        &mut self,
        key: &'static str,
        values: impl Iterator<Item = &'a str>,
    ) {
        let values = values.map(|value| StringValue::from(value.to_owned())).collect();
        self.set(key, Value::Array(Array::String(values)));
    }

    /// Marks the span as failed; what was stopped has not failed.
    pub(super) fn fail(&mut self, failure: &Failure) {
        if &*failure.code == CANCELLED {
            return self.note_cancelled();
        }
        self.set(semconv::ERROR_TYPE, failure.code.clone());
        self.error = Some(failure.message.clone());
    }

    /// As [`Self::fail`], with an event that backends list under "exceptions": for what has failed for good, and only
    /// where it did. What fails by it, around it or on the way to it says no more than that.
    pub(super) fn fail_for_good(&mut self, failure: &Failure) {
        self.fail(failure);
        if self.error.is_some() {
            let attributes = vec![
                KeyValue::new(semconv::EXCEPTION_TYPE, failure.code.clone()),
                KeyValue::new(semconv::EXCEPTION_MESSAGE, brief(&failure.message)),
            ];
            self.events.push(Event::new(semconv::EVENT_EXCEPTION, self.end, attributes, 0));
        }
    }

    /// Marks the span of work that was stopped. The conventions leave its status unset: nobody has failed.
    pub(super) fn note_cancelled(&mut self) {
        self.events.push(Event::new(semconv::EVENT_CANCELLED, self.end, Vec::new(), 0));
    }

    /// Marks the span by a low-cardinality word for what went wrong, which is all that is known.
    pub(super) fn fail_with(&mut self, word: &str) {
        if word == CANCELLED {
            return self.note_cancelled();
        }
        self.set(semconv::ERROR_TYPE, word.to_owned());
        self.error = Some(word.to_owned());
    }

    /// How long it took.
    pub(super) fn duration(&self) -> Duration {
        self.end.duration_since(self.start).unwrap_or_default()
    }
}

/// A fresh span id, to be stored before it is used.
#[must_use]
pub fn new_span_id() -> SpanId {
    SpanId(RandomIdGenerator::default().new_span_id().to_bytes())
}

/// A fresh trace id.
#[must_use]
pub fn new_trace_id() -> TraceId {
    TraceId(RandomIdGenerator::default().new_trace_id().to_bytes())
}

/// Runs a future so that its logs carry these ids and this identity, and so that the spans of
/// libraries become children. Whatever was current outside is not seen inside.
pub fn in_context<F: Future>(
    context: TraceContext,
    identity: Identity,
    future: F,
) -> impl Future<Output = F::Output> {
    future.with_context(
        Context::new().with_remote_span_context(to_otel(context)).with_value(identity),
    )
}

/// Like [`in_context`], for what does not wait.
pub fn within<T>(context: TraceContext, identity: Identity, work: impl FnOnce() -> T) -> T {
    let context = Context::new().with_remote_span_context(to_otel(context)).with_value(identity);
    let _attached = context.attach();
    work()
}

/// The span that the current task works for, if it works for one.
#[must_use]
pub fn current() -> Option<TraceContext> {
    Context::map_current(|context| {
        let span = context.span();
        span.span_context().is_valid().then(|| from_otel(span.span_context()))
    })
}

pub(super) fn to_otel(context: TraceContext) -> SpanContext {
    to_otel_with_state(context, OtelTraceState::default())
}

/// What the SDK takes for a state. It reads it more strictly than needs be; what it refuses is left out.
fn state_to_otel(state: Option<&TraceState>) -> OtelTraceState {
    state.and_then(|state| state.as_str().parse().ok()).unwrap_or_default()
}

pub(super) fn to_otel_with_state(context: TraceContext, state: OtelTraceState) -> SpanContext {
    SpanContext::new(
        opentelemetry::TraceId::from_bytes(context.trace.0),
        opentelemetry::SpanId::from_bytes(context.span.0),
        TraceFlags::new(context.flags),
        true,
        state,
    )
}

pub(super) fn from_otel(context: &SpanContext) -> TraceContext {
    TraceContext {
        trace: TraceId(context.trace_id().to_bytes()),
        span: SpanId(context.span_id().to_bytes()),
        flags: context.trace_flags().to_u8(),
    }
}

/// A count as an attribute: integers are signed.
pub(super) fn count(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A duration as an attribute, in whole milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    count(duration.as_millis())
}

/// What the exporter takes. The parent is in another process exactly where a message or a request
/// came in.
pub(super) fn to_span_data(
    span: FinishedSpan,
    scope: opentelemetry::InstrumentationScope,
) -> SpanData {
    let shift = match span.clock {
        Clock::Process => clock::offset(),
        Clock::Database => 0,
    };
    let (start, end) = (clock::shifted(span.start, shift), clock::shifted(span.end, shift));
    let mut attributes = span.attributes;
    if let Some(identity) = span.identity.or_else(identity::current) {
        attributes.extend(identity::attributes(&identity));
    }
    attributes.iter_mut().for_each(cut);
    let mut links = SpanLinks::default();
    links.dropped_count = u32::try_from(span.links.len().saturating_sub(LINKS_MAX)).unwrap_or(0);
    links.links = span
        .links
        .into_iter()
        .take(LINKS_MAX)
        .map(|link| Link::with_context(to_otel(link)))
        .collect();
    let mut events = SpanEvents::default();
    events.events = span.events;
    for event in &mut events.events {
        event.timestamp = clock::shifted(event.timestamp, shift);
        event.attributes.iter_mut().for_each(cut);
    }
    SpanData {
        span_context: SpanContext::new(
            opentelemetry::TraceId::from_bytes(span.context.trace.0),
            opentelemetry::SpanId::from_bytes(span.context.span.0),
            TraceFlags::new(span.context.flags),
            false,
            state_to_otel(span.state.as_ref()),
        ),
        parent_span_id: span
            .parent
            .map_or(opentelemetry::SpanId::INVALID, |id| opentelemetry::SpanId::from_bytes(id.0)),
        parent_span_is_remote: matches!(span.kind, SpanKind::Server | SpanKind::Consumer),
        span_kind: span.kind,
        name: span.name,
        start_time: start,
        end_time: end.max(start),
        attributes,
        dropped_attributes_count: 0,
        events,
        links,
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope,
    }
}

fn cut(attribute: &mut KeyValue) {
    if let Value::String(text) = &attribute.value
        && let Some(shortened) = shortened(text.as_str())
    {
        attribute.value = Value::from(shortened);
    }
}

/// The start of a text that is too long for an attribute.
pub(super) fn shortened(text: &str) -> Option<String> {
    let start = &text[..text.floor_char_boundary(ATTRIBUTE_BYTES_MAX)];
    (start.len() < text.len()).then(|| format!("{start}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> FinishedSpan {
        let context = TraceContext {
            trace: new_trace_id(),
            span: new_span_id(),
            flags: crate::domain::trace::SAMPLED,
        };
        let now = SystemTime::now();
        FinishedSpan::new("work", SpanKind::Internal, context, (now, now))
    }

    fn exported(span: FinishedSpan) -> SpanData {
        to_span_data(span, opentelemetry::InstrumentationScope::default())
    }

    #[test]
    fn reserved_ids_are_what_is_exported() {
        let parent = new_span_id();
        let mut reserved = span();
        reserved.parent = Some(parent);
        let context = reserved.context;
        let data = exported(reserved);
        assert_eq!(data.span_context.trace_id().to_bytes(), context.trace.0);
        assert_eq!(data.span_context.span_id().to_bytes(), context.span.0);
        assert_eq!(data.parent_span_id.to_bytes(), parent.0);
        assert!(data.span_context.is_sampled());
    }

    #[test]
    fn a_root_has_no_parent() {
        assert_eq!(exported(span()).parent_span_id, opentelemetry::SpanId::INVALID);
    }

    #[test]
    fn a_span_never_ends_before_it_starts() {
        let mut skewed = span();
        skewed.end = skewed.start - Duration::from_secs(1);
        assert_eq!(skewed.duration(), Duration::ZERO);
        let data = exported(skewed);
        assert_eq!(data.start_time, data.end_time);
    }

    #[test]
    fn long_attributes_are_cut_and_surplus_links_dropped() {
        let mut big = span();
        big.set(semconv::NODE_ERROR, "é".repeat(ATTRIBUTE_BYTES_MAX));
        big.links = vec![big.context; LINKS_MAX + 3];
        let data = exported(big);
        assert!(data.attributes[0].value.as_str().len() <= ATTRIBUTE_BYTES_MAX + '…'.len_utf8());
        assert_eq!((data.links.links.len(), data.links.dropped_count), (LINKS_MAX, 3));
    }

    #[test]
    fn a_failure_is_a_status_and_a_type_and_an_exception_where_it_is_final() {
        let failure = Failure::new("http_status", "GET a.example/1 answered 500: {\"id\":77}");
        for is_final in [false, true] {
            let mut failed = span();
            if is_final {
                failed.fail_for_good(&failure);
            } else {
                failed.fail(&failure);
            }
            let data = exported(failed);
            assert_eq!(data.status, Status::error(failure.message.clone()));
            assert_eq!(data.attributes, [KeyValue::new(semconv::ERROR_TYPE, "http_status")]);
            let events = data.events.events;
            assert_eq!(events.len(), usize::from(is_final));
            for event in events {
                assert_eq!(event.name, semconv::EVENT_EXCEPTION);
                let said = KeyValue::new(semconv::EXCEPTION_MESSAGE, "GET a.example answered 500");
                assert!(event.attributes.contains(&said), "{event:?}");
            }
        }
    }

    #[test]
    fn what_was_stopped_has_not_failed() {
        let stopped: [fn(&mut FinishedSpan); 3] = [
            |span| span.fail(&Failure::new("cancelled", "the attempt was given up")),
            |span| span.fail_for_good(&Failure::new("cancelled", "the attempt was given up")),
            |span| span.fail_with("cancelled"),
        ];
        for stop in stopped {
            let mut stopped = span();
            stop(&mut stopped);
            let data = exported(stopped);
            assert_eq!((data.status, data.attributes), (Status::Unset, Vec::new()));
            assert_eq!(data.events.events[0].name, semconv::EVENT_CANCELLED);
            assert_eq!(data.events.events.len(), 1);
        }
    }

    #[tokio::test]
    async fn the_context_and_the_identity_are_current_inside_and_gone_outside() {
        let context = span().context;
        let ada = Identity::new("acme", "research", "ada");
        assert_eq!((current(), identity::current()), (None, None));
        let seen = in_context(context, ada.clone(), async {
            tokio::task::yield_now().await;
            (current(), identity::current())
        })
        .await;
        assert_eq!(seen, (Some(context), Some(ada)));
        assert_eq!((current(), identity::current()), (None, None));
    }

    #[test]
    fn a_span_without_an_identity_takes_that_of_the_context() {
        let guard = Context::new().with_value(Identity::new("acme", "research", "ada")).attach();
        let data = exported(span());
        drop(guard);
        assert!(data.attributes.contains(&KeyValue::new(semconv::ORGANIZATION_ID, "acme")));
        assert_eq!(exported(span()).attributes, []);
    }

    #[test]
    fn ids_are_fresh() {
        assert_ne!(new_span_id(), new_span_id());
        assert_ne!(new_trace_id(), new_trace_id());
    }
}

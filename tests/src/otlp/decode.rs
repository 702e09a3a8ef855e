//! From protobuf to what tests compare.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use axum::http::{HeaderMap, header};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;
use serde_json::Value;
use skein_shared::domain::trace::{SpanId, TraceContext, TraceId};

use super::json;
use super::{
    Attributes, BODY_BYTES_MAX, Counter, Event, Histogram, Kind, Log, Point, Received, Span, Status,
};

/// Reads the body of a request to `/v1/{signal}`.
pub(super) fn decode(path: &str, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<Received> {
    let gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let mut plain = Vec::new();
    let body = if gzip {
        // One byte more than allowed distinguishes a body that is too large from one that just fits.
        let limit = BODY_BYTES_MAX as u64 + 1;
        GzDecoder::new(body).take(limit).read_to_end(&mut plain).context("gzip")?;
        if plain.len() > BODY_BYTES_MAX {
            bail!("the body is larger than {BODY_BYTES_MAX} bytes");
        }
        plain.as_slice()
    } else {
        body
    };
    let mut received = Received::default();
    let media_type = headers.get(header::CONTENT_TYPE);
    if media_type.is_some_and(|it| it.as_bytes().starts_with(b"application/json")) {
        if path != "/v1/traces" {
            bail!("only traces are read in JSON");
        }
        received.spans = json::traces(body)?;
        return Ok(received);
    }
    match path {
        "/v1/traces" => received.spans = traces(ExportTraceServiceRequest::decode(body)?)?,
        "/v1/logs" => received.logs = logs(ExportLogsServiceRequest::decode(body)?),
        "/v1/metrics" => {
            let request = ExportMetricsServiceRequest::decode(body)?;
            received.points = points(&request);
            let metrics = metrics(request);
            received.counters = metrics.iter().flat_map(counters).collect();
            received.histograms = metrics.into_iter().flat_map(histograms).collect();
        }
        _ => bail!("there is no such signal"),
    }
    Ok(received)
}

fn traces(request: ExportTraceServiceRequest) -> anyhow::Result<Vec<Span>> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = resource(of_resource.resource);
        for of_scope in of_resource.scope_spans {
            let version = of_scope.scope.map(|scope| scope.version).unwrap_or_default();
            for span in of_scope.spans {
                spans.push(self::span(span, version.clone(), resource.clone())?);
            }
        }
    }
    Ok(spans)
}

fn span(span: proto::Span, scope_version: String, resource: Attributes) -> anyhow::Result<Span> {
    let links = span.links.iter().map(|link| {
        Ok(TraceContext {
            trace: trace_id(&link.trace_id).context("trace id of a link")?,
            span: span_id(&link.span_id).context("span id of a link")?,
            // The upper bits say whether the linked span is remote.
            flags: link.flags.to_le_bytes()[0],
        })
    });
    let keys = span.attributes.iter().map(|attribute| &attribute.key);
    let repeated = keys
        .clone()
        .enumerate()
        .filter(|(index, key)| keys.clone().take(*index).any(|before| before == *key))
        .map(|(_, key)| key.clone());
    Ok(Span {
        trace_id: trace_id(&span.trace_id).context("trace id")?,
        span_id: span_id(&span.span_id).context("span id")?,
        parent: span_id(&span.parent_span_id),
        kind: kind(span.kind()),
        start: time(span.start_time_unix_nano),
        end: time(span.end_time_unix_nano),
        links: links.collect::<anyhow::Result<_>>()?,
        dropped_links: span.dropped_links_count,
        state: span.trace_state,
        repeated: repeated.collect(),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(event).collect(),
        status: span.status.map_or(Status::Unset, status),
        name: span.name,
        scope_version,
        resource,
    })
}

fn kind(kind: proto::span::SpanKind) -> Kind {
    match kind {
        proto::span::SpanKind::Unspecified => Kind::Unspecified,
        proto::span::SpanKind::Internal => Kind::Internal,
        proto::span::SpanKind::Server => Kind::Server,
        proto::span::SpanKind::Client => Kind::Client,
        proto::span::SpanKind::Producer => Kind::Producer,
        proto::span::SpanKind::Consumer => Kind::Consumer,
    }
}

fn status(status: proto::Status) -> Status {
    match status.code() {
        proto::status::StatusCode::Unset => Status::Unset,
        proto::status::StatusCode::Ok => Status::Ok,
        proto::status::StatusCode::Error => Status::Error(status.message),
    }
}

fn event(event: proto::span::Event) -> Event {
    Event {
        name: event.name,
        time: time(event.time_unix_nano),
        attributes: attributes(event.attributes),
    }
}

fn logs(request: ExportLogsServiceRequest) -> Vec<Log> {
    let mut logs = Vec::new();
    for of_resource in request.resource_logs {
        let resource = resource(of_resource.resource);
        for of_scope in of_resource.scope_logs {
            let scope = of_scope.scope.unwrap_or_default();
            let records = of_scope.log_records.into_iter();
            logs.extend(records.map(|record| log(record, &scope, resource.clone())));
        }
    }
    logs
}

fn log(record: LogRecord, scope: &InstrumentationScope, resource: Attributes) -> Log {
    Log {
        body: value(record.body),
        time: time(record.time_unix_nano),
        event: record.event_name,
        severity: record.severity_text,
        trace_id: trace_id(&record.trace_id),
        span_id: span_id(&record.span_id),
        attributes: attributes(record.attributes),
        observed: time(record.observed_time_unix_nano),
        target: scope.name.clone(),
        scope_version: scope.version.clone(),
        resource,
    }
}

fn metrics(request: ExportMetricsServiceRequest) -> Vec<Metric> {
    let of_resources = request.resource_metrics.into_iter();
    let of_scopes = of_resources.flat_map(|resource| resource.scope_metrics);
    of_scopes.flat_map(|scope| scope.metrics).collect()
}

fn points(request: &ExportMetricsServiceRequest) -> Vec<Point> {
    let mut points = Vec::new();
    for of_resource in &request.resource_metrics {
        let resource = resource(of_resource.resource.clone());
        for metric in of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            points.extend(points_of(metric, &resource));
        }
    }
    points
}

fn points_of(metric: &Metric, resource: &Attributes) -> Vec<Point> {
    let point = |instrument, labels: &[KeyValue], value| Point {
        name: metric.name.clone(),
        instrument,
        unit: metric.unit.clone(),
        description: metric.description.clone(),
        attributes: attributes(labels.to_vec()),
        value,
        count: 0,
        bounds: Vec::new(),
        resource: resource.clone(),
    };
    match &metric.data {
        Some(metric::Data::Sum(sum)) => {
            let instrument = if sum.is_monotonic { "Counter" } else { "UpDownCounter" };
            let points = sum.data_points.iter();
            points.map(|it| point(instrument, &it.attributes, number(it.value))).collect()
        }
        Some(metric::Data::Gauge(gauge)) => {
            let points = gauge.data_points.iter();
            points.map(|it| point("Gauge", &it.attributes, number(it.value))).collect()
        }
        Some(metric::Data::Histogram(histogram)) => {
            let points = histogram.data_points.iter().map(|it| Point {
                count: it.count,
                bounds: it.explicit_bounds.clone(),
                ..point("Histogram", &it.attributes, it.sum.unwrap_or_default())
            });
            points.collect()
        }
        _ => Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "what tests count is far below the limit")]
fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        Some(number_data_point::Value::AsDouble(value)) => value,
        None => f64::NAN,
    }
}

fn counters(metric: &Metric) -> Vec<Counter> {
    let Some(metric::Data::Sum(sum)) = &metric.data else { return Vec::new() };
    let points = sum.data_points.iter().filter(|_| sum.is_monotonic).map(|point| Counter {
        name: metric.name.clone(),
        unit: metric.unit.clone(),
        description: metric.description.clone(),
        attributes: attributes(point.attributes.clone()),
        value: match point.value {
            Some(number_data_point::Value::AsInt(value)) => value,
            _ => 0,
        },
    });
    points.collect()
}

fn histograms(metric: Metric) -> Vec<Histogram> {
    let Some(metric::Data::Histogram(histogram)) = metric.data else { return Vec::new() };
    let points = histogram.data_points.into_iter().map(|point| Histogram {
        name: metric.name.clone(),
        unit: metric.unit.clone(),
        attributes: attributes(point.attributes),
        count: point.count,
        sum: point.sum.unwrap_or_default(),
    });
    points.collect()
}

fn resource(resource: Option<Resource>) -> Attributes {
    attributes(resource.map(|resource| resource.attributes).unwrap_or_default())
}

fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    attributes.into_iter().map(|attribute| (attribute.key, value(attribute.value))).collect()
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|any| any.value) {
        None => Value::Null,
        Some(any_value::Value::StringValue(text)) => text.into(),
        Some(any_value::Value::BoolValue(flag)) => flag.into(),
        Some(any_value::Value::IntValue(number)) => number.into(),
        Some(any_value::Value::DoubleValue(number)) => number.into(),
        Some(any_value::Value::BytesValue(bytes)) => bytes.into(),
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.into_iter().map(|item| value(Some(item))).collect()
        }
        Some(any_value::Value::KvlistValue(list)) => {
            attributes(list.values).into_iter().collect::<serde_json::Map<_, _>>().into()
        }
        // Only profiles have a table of strings.
        Some(any_value::Value::StringValueStrindex(_)) => Value::Null,
    }
}

fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    bytes.try_into().ok().filter(|bytes| *bytes != [0; 16]).map(TraceId)
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    bytes.try_into().ok().filter(|bytes| *bytes != [0; 8]).map(SpanId)
}

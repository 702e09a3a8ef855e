//! From the JSON encoding of OTLP to what tests compare, by the specification and by nothing of Skein's.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use skein_shared::domain::trace::{SpanId, TraceContext, TraceId};

use super::{Attributes, Event, Kind, Span, Status};

/// Reads the spans of an `ExportTraceServiceRequest`. What nobody knows is passed over, as the specification asks.
pub(super) fn traces(body: &[u8]) -> Result<Vec<Span>> {
    let request: Value = serde_json::from_slice(body).context("JSON")?;
    let mut spans = Vec::new();
    for entry in list(&request["resourceSpans"])? {
        let resource = attributes(&entry["resource"]["attributes"])?;
        for scope in list(&entry["scopeSpans"])? {
            let version = text(&scope["scope"]["version"]);
            for span in list(&scope["spans"])? {
                let read = self::span(span, &version, &resource);
                spans.push(read.with_context(|| span.to_string())?);
            }
        }
    }
    Ok(spans)
}

fn span(span: &Value, version: &str, resource: &Attributes) -> Result<Span> {
    let links = list(&span["links"])?.map(|link| {
        let flags = link["flags"].as_u64().unwrap_or_default();
        Ok(TraceContext {
            trace: trace_id(&link["traceId"])?,
            span: span_id(&link["spanId"])?,
            // The upper bits say whether the linked span is remote.
            flags: flags.to_le_bytes()[0],
        })
    });
    let events = list(&span["events"])?.map(|event| {
        Ok(Event {
            name: text(&event["name"]),
            time: time(&event["timeUnixNano"])?,
            attributes: attributes(&event["attributes"])?,
        })
    });
    let (mut keys, mut repeated) = (BTreeSet::new(), Vec::new());
    for attribute in list(&span["attributes"])? {
        let key = text(&attribute["key"]);
        if !keys.insert(key.clone()) {
            repeated.push(key);
        }
    }
    let parent = &span["parentSpanId"];
    let dropped = span["droppedLinksCount"].as_u64().unwrap_or_default();
    Ok(Span {
        trace_id: trace_id(&span["traceId"])?,
        span_id: span_id(&span["spanId"])?,
        parent: if text(parent).is_empty() { None } else { Some(span_id(parent)?) },
        name: text(&span["name"]),
        kind: kind(&span["kind"])?,
        start: time(&span["startTimeUnixNano"])?,
        end: time(&span["endTimeUnixNano"])?,
        attributes: attributes(&span["attributes"])?,
        repeated,
        links: links.collect::<Result<_>>()?,
        dropped_links: dropped.try_into().context("links that were dropped")?,
        state: text(&span["traceState"]),
        events: events.collect::<Result<_>>()?,
        status: status(&span["status"])?,
        scope_version: version.to_owned(),
        resource: resource.clone(),
    })
}

/// A list; one that is not there is empty.
fn list(value: &Value) -> Result<std::slice::Iter<'_, Value>> {
    match value {
        Value::Null => Ok([].iter()),
        Value::Array(items) => Ok(items.iter()),
        other => bail!("no list: {other}"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn trace_id(value: &Value) -> Result<TraceId> {
    text(value).to_lowercase().parse().context("a trace id")
}

fn span_id(value: &Value) -> Result<SpanId> {
    text(value).to_lowercase().parse().context("a span id")
}

/// A 64-bit integer, which is text in this encoding.
fn time(value: &Value) -> Result<SystemTime> {
    let nanos = value.as_str().context("64-bit integers are text")?.parse()?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

/// Enums are numbers, and nothing else.
fn kind(value: &Value) -> Result<Kind> {
    Ok(match value.as_u64() {
        Some(1) => Kind::Internal,
        Some(2) => Kind::Server,
        Some(3) => Kind::Client,
        Some(4) => Kind::Producer,
        Some(5) => Kind::Consumer,
        _ => bail!("no kind: {value}"),
    })
}

fn status(value: &Value) -> Result<Status> {
    Ok(match value["code"].as_u64() {
        None | Some(0) => Status::Unset,
        Some(1) => Status::Ok,
        Some(2) => Status::Error(text(&value["message"])),
        _ => bail!("no status: {value}"),
    })
}

fn attributes(value: &Value) -> Result<Attributes> {
    list(value)?.map(|it| Ok((text(&it["key"]), any(&it["value"])?))).collect()
}

fn any(value: &Value) -> Result<Value> {
    let fields = value.as_object().context("a value is an object")?;
    ensure!(fields.len() == 1, "a value has one type: {value}");
    let (name, value) = fields.iter().next().context("it has one")?;
    Ok(match name.as_str() {
        "stringValue" => Value::String(value.as_str().context("text")?.to_owned()),
        "boolValue" => Value::Bool(value.as_bool().context("true or false")?),
        "intValue" => value.as_str().context("64-bit integers are text")?.parse::<i64>()?.into(),
        "doubleValue" => value.as_f64().context("a number")?.into(),
        "arrayValue" => list(&value["values"])?.map(any).collect::<Result<_>>()?,
        other => bail!("{other} is no type of an attribute"),
    })
}

"""Captured OTLP, and how it comes into tables shaped like SigNoz's.

A capture is lines of JSON in OTLP's encoding. A line is a request of an exporter (`resourceSpans`, `resourceMetrics`), as
capture.py and the collector's file exporter write it, or a bare span or metric, as oteltap prints it: without its resource. Other
lines are skipped.
"""

import hashlib
import json
from dataclasses import dataclass, field

KINDS = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"]
KIND_NAMES = {f"SPAN_KIND_{kind.upper()}": number for number, kind in enumerate(KINDS)}
STATUS_NAMES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
TEMPORALITY = {1: "Delta", 2: "Cumulative", "AGGREGATION_TEMPORALITY_DELTA": "Delta",
               "AGGREGATION_TEMPORALITY_CUMULATIVE": "Cumulative"}
BUCKET = 1800  # seconds of `ts_bucket_start`


@dataclass
class Span:
    """A span, its attributes as SigNoz keeps them: strings, numbers and booleans apart."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start: int  # ns since 1970
    duration: int  # ns
    status: int
    message: str
    strings: dict = field(default_factory=dict)
    numbers: dict = field(default_factory=dict)
    bools: dict = field(default_factory=dict)
    resource: dict = field(default_factory=dict)
    links: list = field(default_factory=list)

    @property
    def has_error(self):
        return self.status == 2


@dataclass
class Metric:
    """A series: one combination of labels of one metric."""

    name: str
    type: str  # Gauge, Sum, Histogram
    is_monotonic: bool
    temporality: str
    labels: dict
    points: list  # (unix_milli, {suffix: value})


def read(path):
    """The spans and the series of a capture."""
    spans, series = {}, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("{"):
                continue
            try:
                item = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a process that was stopped
            for resource, span in found(item, "resourceSpans", "scopeSpans", "spans", "spanId"):
                one = read_span(span, resource)
                # Exported twice is there twice, in SigNoz too; the tests' own load never is.
                spans[(one.trace_id, one.span_id)] = one
            for resource, metric in found(item, "resourceMetrics", "scopeMetrics", "metrics", "unit"):
                read_metric(metric, resource, series)
    return list(spans.values()), list(series.values())


def found(item, requests, scopes, members, bare):
    for request in item.get(requests, []):
        resource = plain(request.get("resource", {}).get("attributes", []))
        for scope in request.get(scopes, []):
            for member in scope.get(members, []):
                yield resource, member
    if bare in item or (bare == "unit" and any(kind in item for kind in ("sum", "gauge", "histogram"))):
        yield {}, item


def plain(attributes):
    return {attribute["key"]: value(attribute.get("value", {})) for attribute in attributes}


def value(any_value):
    if "intValue" in any_value:
        return int(any_value["intValue"])
    if "doubleValue" in any_value:
        return float(any_value["doubleValue"])
    if "arrayValue" in any_value:
        # SigNoz keeps lists as the JSON of them.
        return json.dumps([value(item) for item in any_value["arrayValue"].get("values", [])])
    return any_value.get("boolValue", any_value.get("stringValue", ""))


def read_span(span, resource):
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    status = span.get("status", {})
    code = status.get("code", 0)
    kind = span.get("kind", 0)
    read = Span(
        trace_id=span["traceId"], span_id=span["spanId"], parent_span_id=span.get("parentSpanId", ""),
        name=span["name"], kind=KINDS[KIND_NAMES.get(kind, kind)], start=start, duration=max(end - start, 0),
        status=STATUS_NAMES.get(code, code), message=status.get("message", ""),
        resource={key: str(item) for key, item in resource.items()},
        links=[{"traceId": link["traceId"], "spanId": link["spanId"]} for link in span.get("links", [])],
    )
    for key, item in plain(span.get("attributes", [])).items():
        if isinstance(item, bool):
            read.bools[key] = item
        elif isinstance(item, (int, float)):
            read.numbers[key] = item
        else:
            read.strings[key] = item
    return read


def read_metric(metric, resource, series):
    for kind in ("gauge", "sum", "histogram"):
        if kind not in metric:
            continue
        data = metric[kind]
        for point in data.get("dataPoints", []):
            labels = {key: label(item) for key, item in {**resource, **plain(point.get("attributes", []))}.items()}
            key = (metric["name"], json.dumps(labels, sort_keys=True))
            one = series.setdefault(key, Metric(
                name=metric["name"], type=kind.capitalize(), is_monotonic=data.get("isMonotonic", False),
                temporality=TEMPORALITY.get(data.get("aggregationTemporality"), "Unspecified"), labels=labels, points=[],
            ))
            if kind == "histogram":
                values = {".count": int(point.get("count", 0)), ".sum": float(point.get("sum", 0)), ".bucket": None}
                for extreme in ("min", "max"):
                    if extreme in point:
                        values[f".{extreme}"] = float(point[extreme])
                total, buckets = 0, {}
                bounds = [*point.get("explicitBounds", []), "+Inf"]
                for bound, count in zip(bounds, point.get("bucketCounts", [])):
                    total += int(count)
                    buckets[str(bound)] = total
                values[".bucket"] = buckets
            else:
                values = {"": float(point.get("asDouble", point.get("asInt", 0)))}
            one.points.append((int(point["timeUnixNano"]) // 1_000_000, values))


def label(item):
    """A label's value: all of them are strings."""
    return str(item).lower() if isinstance(item, bool) else str(item)


def fingerprint(*parts):
    return int.from_bytes(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:8], "big")


def insert_spans(session, spans):
    """Puts spans into the table as SigNoz's exporter does."""
    rows = []
    for span in spans:
        seconds = span.start // 1_000_000_000
        rows.append({
            "ts_bucket_start": seconds - seconds % BUCKET,
            "resource_fingerprint": str(fingerprint(span.resource)),
            "timestamp": f"{seconds}.{span.start % 1_000_000_000:09}",
            "trace_id": span.trace_id, "span_id": span.span_id, "parent_span_id": span.parent_span_id,
            "name": span.name, "kind": KINDS.index(span.kind), "kind_string": span.kind,
            "duration_nano": span.duration, "status_code": span.status,
            "status_code_string": ["Unset", "Ok", "Error"][span.status], "status_message": span.message,
            "has_error": span.has_error, "attributes_string": span.strings, "attributes_number": span.numbers,
            "attributes_bool": span.bools, "resources_string": span.resource, "links": json.dumps(span.links),
        })
    insert(session, "signoz_traces.distributed_signoz_index_v3", rows)


def insert_metrics(session, series):
    """Puts series into the tables; a histogram becomes one for each of its numbers and each of its buckets."""
    heads, samples = {}, []
    for one in series:
        for at, values in one.points:
            for suffix, number in values.items():
                parts = [({"le": bound}, count) for bound, count in number.items()] if suffix == ".bucket" else [({}, number)]
                for more, sample in parts:
                    name, labels = one.name + suffix, {**one.labels, **more, "__name__": one.name + suffix}
                    key = fingerprint(name, labels)
                    heads[key] = {
                        "metric_name": name, "fingerprint": key, "type": one.type, "is_monotonic": one.is_monotonic,
                        "temporality": one.temporality, "labels": json.dumps(labels, separators=(",", ":")),
                    }
                    samples.append({"metric_name": name, "fingerprint": key, "unix_milli": at, "value": sample})
    insert(session, "signoz_metrics.distributed_time_series_v4", list(heads.values()))
    insert(session, "signoz_metrics.distributed_samples_v4", samples)


def insert(session, table, rows, batch=2000):
    for start in range(0, len(rows), batch):
        lines = "\n".join(json.dumps(row) for row in rows[start:start + batch])
        session.query(f"INSERT INTO {table} FORMAT JSONEachRow {lines}")

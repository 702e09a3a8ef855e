-- Tables of the shape that queries of panels and rules see in SigNoz, for ClickHouse within a process. There the names below are
-- distributed tables over others; here they are all there is. Columns that no query of ours, and none of SigNoz's query builder, asks
-- about are left out.

CREATE DATABASE signoz_traces;

CREATE TABLE signoz_traces.distributed_signoz_index_v3 (
    ts_bucket_start UInt64,                 -- seconds, to the half hour
    resource_fingerprint String,
    timestamp DateTime64(9, 'UTC'),
    trace_id FixedString(32),
    span_id String,
    parent_span_id String,
    trace_state String,
    flags UInt32,
    name LowCardinality(String),
    kind Int8,
    kind_string LowCardinality(String),     -- Internal, Server, Client, Producer, Consumer
    duration_nano UInt64,
    status_code Int16,                      -- 0 unset, 1 ok, 2 error
    status_code_string LowCardinality(String),
    status_message String,
    has_error Bool,
    attributes_string Map(LowCardinality(String), String),
    attributes_number Map(LowCardinality(String), Float64),
    attributes_bool Map(LowCardinality(String), Bool),
    resources_string Map(LowCardinality(String), String),
    events Array(String),
    links String
) ENGINE = MergeTree
PARTITION BY toDate(timestamp)
ORDER BY (ts_bucket_start, resource_fingerprint, has_error, name, timestamp);

CREATE DATABASE signoz_metrics;

-- A series is a name and its labels; a histogram is several of them.
CREATE TABLE signoz_metrics.distributed_time_series_v4 (
    metric_name LowCardinality(String),
    fingerprint UInt64,
    type LowCardinality(String),            -- Gauge, Sum, Histogram
    is_monotonic Bool,
    temporality LowCardinality(String),
    labels String                           -- JSON, values are strings
) ENGINE = ReplacingMergeTree
ORDER BY (metric_name, fingerprint);

CREATE TABLE signoz_metrics.distributed_samples_v4 (
    metric_name LowCardinality(String),
    fingerprint UInt64,
    unix_milli Int64,
    value Float64
) ENGINE = MergeTree
ORDER BY (metric_name, fingerprint, unix_milli);

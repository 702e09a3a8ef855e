//! The names that panels and rules use: metrics with how they are read and their labels, attributes with where they are
//! and their types, names of spans. One place extracts them, whatever they are held against.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::types::{Place, Type};
use super::{Document, Query, expression, sql};

/// An attribute of spans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// Its key.
    pub key: String,
    /// Where it stands.
    pub place: Place,
    /// What it is taken for; `None` where any type will do.
    pub kind: Option<Type>,
}

/// How a metric is read, which must fit what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// Its rate or increase: a counter, or the count or the sum of a histogram.
    Increase,
    /// Its value: a gauge, or a sum that goes up and down.
    Value,
    /// A percentile: a histogram's buckets.
    Percentile,
}

/// A metric and what is asked of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metric {
    /// How it is read.
    pub readings: BTreeSet<Reading>,
    /// Whether it is read as a histogram: by one of SigNoz's suffixes.
    pub is_histogram: bool,
    /// Its labels, and keys of its resource.
    pub labels: BTreeSet<(Place, String)>,
    /// Where it is used.
    pub places: BTreeSet<String>,
}

/// All names of some documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Metrics, by the name that the program gives them.
    pub metrics: BTreeMap<String, Metric>,
    /// Attributes of spans, and where each is used.
    pub attributes: BTreeMap<Attribute, BTreeSet<String>>,
    /// Names of spans, and where each is used.
    pub spans: BTreeMap<String, BTreeSet<String>>,
}

/// What every span has in SigNoz, whoever sent it: columns, no attributes.
pub const INTRINSIC: &[&str] = &[
    "name",
    "timestamp",
    "kind_string",
    "has_error",
    "duration_nano",
    "status_code",
    "status_message",
    "trace_id",
    "span_id",
    "parent_span_id",
];

/// What SigNoz makes series of from a histogram.
const SUFFIXES: [&str; 5] = [".bucket", ".sum", ".count", ".min", ".max"];

/// Metrics whose own names end as if they were one of those.
const SUFFIXED: [&str; 4] = [
    "db.client.connection.count",
    "db.client.connection.max",
    "process.thread.count",
    "process.unix.file_descriptor.count",
];

impl Names {
    /// The names of documents.
    ///
    /// # Panics
    /// When a query is not understood, because then nothing could be said about its names.
    #[must_use]
    pub fn of<'a>(documents: impl IntoIterator<Item = &'a Document>) -> Self {
        let mut names = Self::default();
        for document in documents {
            for (place, query) in document.queries() {
                names.take(&place, query);
            }
            let variables = document.body["spec"]["variables"].as_array();
            for variable in variables.into_iter().flatten() {
                let plugin = &variable["spec"]["plugin"];
                if plugin["kind"] == "signoz/DynamicVariable" {
                    let key = text(&plugin["spec"]["name"]);
                    names.attribute(&document.file, &key, Place::Resource, Some(Type::Text));
                }
            }
            for (id, panel) in document.panels() {
                let fields = panel["spec"]["plugin"]["spec"]["selectFields"].as_array();
                for field in fields.into_iter().flatten() {
                    names.field(&format!("{}#{id}", document.file), field);
                }
            }
        }
        names
    }

    fn take(&mut self, place: &str, query: Query<'_>) {
        match (query.kind, query.spec["signal"].as_str()) {
            ("builder_query", Some("metrics")) => self.metric(place, query.spec),
            ("builder_query", Some("traces")) => self.traces(place, query.spec),
            // A formula names other queries only.
            ("builder_formula", _) => {}
            ("clickhouse_sql", _) => {
                let query = text(&query.spec["query"]);
                for (key, map, kind) in sql::keys(&query) {
                    self.attribute(place, &key, map, Some(kind));
                }
                for span in sql::spans(&query) {
                    self.spans.entry(span).or_default().insert(place.to_owned());
                }
            }
            other => panic!("{place}: names of {other:?} cannot be told"),
        }
    }

    fn metric(&mut self, place: &str, spec: &Value) {
        let filter = spec["filter"]["expression"].as_str().unwrap_or_default();
        let mut labels = BTreeSet::new();
        for comparison in expression::comparisons(filter) {
            let is_resource = comparison.key.starts_with("service.");
            let place = if is_resource { Place::Resource } else { Place::Attribute };
            labels.insert((place, comparison.key));
        }
        for field in spec["groupBy"].as_array().into_iter().flatten() {
            labels.insert((place_of(field), text(&field["name"])));
        }
        for aggregation in spec["aggregations"].as_array().into_iter().flatten() {
            let series = text(&aggregation["metricName"]);
            let suffix = SUFFIXES.into_iter().find(|suffix| series.ends_with(suffix));
            let suffix = suffix.filter(|_| !SUFFIXED.contains(&series.as_str()));
            let name = series.strip_suffix(suffix.unwrap_or_default()).unwrap_or(&series);
            let reading = match (&*text(&aggregation["timeAggregation"]), suffix) {
                ("", Some(".bucket")) => Reading::Percentile,
                ("rate" | "increase", None | Some(".count" | ".sum")) => Reading::Increase,
                ("latest" | "avg" | "max" | "min", None) => Reading::Value,
                other => panic!("{place}: {series} cannot be read as {other:?}"),
            };
            let metric = self.metrics.entry(name.to_owned()).or_default();
            metric.readings.insert(reading);
            metric.is_histogram |= suffix.is_some();
            metric.labels.extend(labels.iter().cloned());
            metric.places.insert(place.to_owned());
        }
    }

    fn traces(&mut self, place: &str, spec: &Value) {
        let filter = spec["filter"]["expression"].as_str().unwrap_or_default();
        for comparison in expression::comparisons(filter) {
            if comparison.key == "name" {
                if let Some(span) = comparison.equals {
                    self.spans.entry(span).or_default().insert(place.to_owned());
                }
            } else {
                let is_resource = comparison.key.starts_with("service.");
                let at = if is_resource { Place::Resource } else { Place::Attribute };
                self.attribute(place, &comparison.key, at, comparison.compared_as);
            }
        }
        for list in ["groupBy", "selectFields"] {
            for field in spec[list].as_array().into_iter().flatten() {
                self.field(place, field);
            }
        }
        for aggregation in spec["aggregations"].as_array().into_iter().flatten() {
            let call = text(&aggregation["expression"]);
            let argument = call.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
            if !argument.is_empty() {
                self.attribute(place, argument, Place::Attribute, Some(Type::Number));
            }
        }
    }

    fn field(&mut self, place: &str, field: &Value) {
        let kind = match field["fieldDataType"].as_str() {
            Some("string") => Some(Type::Text),
            Some("bool") => Some(Type::Bool),
            Some("number" | "int64" | "float64") => Some(Type::Number),
            other => panic!("{place}: {field} has the type {other:?}"),
        };
        self.attribute(place, &text(&field["name"]), place_of(field), kind);
    }

    fn attribute(&mut self, place: &str, key: &str, at: Place, kind: Option<Type>) {
        if !INTRINSIC.contains(&key) {
            let attribute = Attribute { key: key.to_owned(), place: at, kind };
            self.attributes.entry(attribute).or_default().insert(place.to_owned());
        }
    }
}

/// The variables that a query's SQL mentions, dollar apart.
#[must_use]
pub fn variables(query: &str) -> Vec<String> {
    sql::variables(query)
}

/// The keys of attributes that a builder query asks about spans, filters and groups alike.
#[must_use]
pub fn builder_keys(spec: &Value) -> BTreeSet<String> {
    let filter = spec["filter"]["expression"].as_str().unwrap_or_default();
    let filtered = expression::comparisons(filter).into_iter().map(|it| it.key);
    let grouped = spec["groupBy"].as_array().into_iter().flatten();
    filtered.chain(grouped.map(|field| text(&field["name"]))).collect()
}

fn place_of(field: &Value) -> Place {
    if field["fieldContext"] == "resource" { Place::Resource } else { Place::Attribute }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

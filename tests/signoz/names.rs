//! What panels and rules ask about is what the program exports.

use serde_json::json;
use skein_tests::signoz::names::{Names, Reading};
use skein_tests::signoz::types::{Place, Type};
use skein_tests::signoz::{Document, documents, semconv};

fn all() -> Names {
    let (dashboards, rules) = (documents("dashboards"), documents("rules"));
    Names::of(dashboards.iter().chain(&rules))
}

#[test]
fn every_metric_and_label_of_a_panel_or_rule_is_exported() {
    let known = semconv::known();
    let mut unknown = Vec::new();
    for (name, metric) in all().metrics {
        let places: Vec<_> = metric.places.iter().map(String::as_str).collect();
        if !known.contains_key(&name) {
            unknown.push(format!("metric {name}, in {}", places.join(" ")));
        }
        let is_unknown = |label: &str| !known.contains_key(label);
        for (_, label) in metric.labels.iter().filter(|(_, label)| is_unknown(label)) {
            unknown.push(format!("label {label} of {name}, in {}", places.join(" ")));
        }
    }
    assert!(unknown.is_empty(), "not in semconv:\n  {}", unknown.join("\n  "));
}

#[test]
fn every_attribute_of_a_panel_or_rule_is_exported_and_of_its_type() {
    let known = semconv::known();
    let mut wrong = Vec::new();
    let names = all();
    assert!(names.attributes.len() > 20, "only {} attributes were found", names.attributes.len());
    for (attribute, places) in names.attributes {
        let places: Vec<_> = places.iter().map(String::as_str).collect();
        let places = places.join(" ");
        match known.get(&attribute.key) {
            None => wrong.push(format!("{} is not in semconv; {places}", attribute.key)),
            Some(known) => {
                let is_wrong = attribute.kind.zip(known.kind).is_some_and(|(it, is)| it != is);
                if is_wrong {
                    let (key, kind) = (&attribute.key, attribute.kind);
                    wrong.push(format!("{key} is no {kind:?}: {}; {places}", known.documentation));
                }
            }
        }
        let is_resource = attribute.key.starts_with("service.");
        if is_resource != (attribute.place == Place::Resource) {
            wrong.push(format!("{} stands elsewhere; {places}", attribute.key));
        }
    }
    assert!(wrong.is_empty(), "  {}", wrong.join("\n  "));
}

#[test]
fn every_span_of_a_panel_or_rule_is_exported() {
    let known = semconv::known();
    let names = all();
    assert!(names.spans.contains_key("workflow.execute"));
    let unknown: Vec<_> =
        names.spans.iter().filter(|(name, _)| !known.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn names_are_taken_from_filters_groups_aggregations_fields_variables_and_sql() {
    let envelope = |kind: &str, spec: serde_json::Value| json!({ "type": kind, "spec": spec });
    let group = |name: &str, context: &str, kind: &str| json!([{ "name": name, "fieldContext": context, "fieldDataType": kind }]);
    let queries = json!([
        envelope(
            "builder_query",
            json!({
            "signal": "traces", "aggregations": [{ "expression": "p95(a.latency)" }],
            "filter": { "expression": "name = 'a.span' AND (a.word IN ('x', 'y') OR a.flag = true) AND a.count >= 2 AND a.any NOT EXISTS AND service.name IN $svc" },
            "groupBy": group("a.group", "attribute", "string") })
        ),
        envelope(
            "builder_query",
            json!({
            "signal": "metrics", "filter": { "expression": "a.state = 'free'" },
            "groupBy": group("service.name", "resource", "string"),
            "aggregations": [{ "metricName": "a.histogram.bucket", "timeAggregation": "", "spaceAggregation": "p95" },
                { "metricName": "db.client.connection.count", "timeAggregation": "latest", "spaceAggregation": "sum" }] })
        ),
        envelope("builder_formula", json!({ "name": "F1", "expression": "A / B" })),
        envelope(
            "clickhouse_sql",
            json!({
            "query": "SELECT attributes_string['a.text'] WHERE name = 'b.span' AND NOT mapContains(attributes_bool, 'a.mark') AND attributes_number['a.number'] > 1 AND resources_string['service.version'] != ''" })
        ),
    ]);
    let fields = group("a.field", "attribute", "number");
    let body = json!({ "condition": { "compositeQuery": { "queries": queries } }, "spec": {
        "variables": [{ "spec": { "plugin": { "kind": "signoz/DynamicVariable", "spec": { "name": "service.instance.id" } } } }],
        "panels": { "list": { "spec": { "plugin": { "spec": { "selectFields": fields } }, "queries": [{ "spec": { "plugin": {
            "kind": "signoz/ClickHouseSQL", "spec": { "query": "SELECT 1" } } } }] } } } } });
    let names = Names::of(&[Document { file: "x.json".to_owned(), body }]);
    let attributes = names.attributes.keys().map(|it| (it.key.as_str(), it.place, it.kind));
    let (text, number, bool) = (Some(Type::Text), Some(Type::Number), Some(Type::Bool));
    let expected = [
        ("a.any", Place::Attribute, None),
        ("a.count", Place::Attribute, number),
        ("a.field", Place::Attribute, number),
        ("a.flag", Place::Attribute, bool),
        ("a.group", Place::Attribute, text),
        ("a.latency", Place::Attribute, number),
        ("a.mark", Place::Attribute, bool),
        ("a.number", Place::Attribute, number),
        ("a.text", Place::Attribute, text),
        ("a.word", Place::Attribute, text),
        ("service.instance.id", Place::Resource, text),
        ("service.name", Place::Resource, text),
        ("service.version", Place::Resource, text),
    ];
    assert_eq!(attributes.collect::<Vec<_>>(), expected);
    assert_eq!(names.spans.keys().collect::<Vec<_>>(), ["a.span", "b.span"]);
    let metrics = names.metrics.iter().map(|(name, metric)| {
        (name.as_str(), metric.is_histogram, metric.readings.iter().copied().collect::<Vec<_>>())
    });
    let expected = [
        ("a.histogram", true, vec![Reading::Percentile]),
        ("db.client.connection.count", false, vec![Reading::Value]),
    ];
    assert_eq!(metrics.collect::<Vec<_>>(), expected);
    let labels = &names.metrics["a.histogram"].labels;
    let expected = [(Place::Attribute, "a.state"), (Place::Resource, "service.name")];
    let expected = expected.map(|(place, label)| (place, label.to_owned()));
    assert_eq!(labels.iter().cloned().collect::<Vec<_>>(), expected);
}

//! Whether SigNoz takes the files, by schemas written from its published API; and whether these would notice if not.

use std::fs;

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use skein_tests::signoz::{directory, documents};

fn schema(name: &str) -> Value {
    let path = directory().join(format!("schemas/{name}.schema.json"));
    serde_json::from_str(&fs::read_to_string(path).expect("there is one")).expect("it is JSON")
}

/// Hands out the validator of a schema; what queries are is said in a file that both share.
fn with_validator<T>(name: &str, use_it: impl FnOnce(&Validator) -> T) -> T {
    let registry = Registry::new().add("urn:skein:signoz:queries", schema("queries"));
    let registry = registry.and_then(|it| it.prepare()).expect("its references lead somewhere");
    let options = jsonschema::options().with_registry(&registry);
    use_it(&options.build(&schema(name)).expect("it is a schema"))
}

fn assert_valid(validator: &Validator, name: &str, document: &Value) {
    let errors = validator.iter_errors(document);
    let errors: Vec<_> =
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name}:\n{}", errors.join("\n"));
}

#[test]
fn all_dashboards_and_rules_are_valid() {
    for (kind, folder) in [("dashboard", "dashboards"), ("rule", "rules")] {
        with_validator(kind, |validator| {
            for document in documents(folder) {
                assert_valid(validator, &document.file, &document.body);
            }
        });
    }
}

/// A dashboard with a panel of every sort, as small as SigNoz takes it.
fn dashboard() -> Value {
    let panel = |kind: &str, spec: Value, request: &str, query: Value| {
        json!({ "kind": "Panel", "spec": {
            "display": { "name": kind }, "plugin": { "kind": format!("signoz/{kind}Panel"), "spec": spec },
            "queries": [{ "kind": request, "spec": { "plugin": query } }] } })
    };
    let builder = json!({ "kind": "signoz/BuilderQuery", "spec": { "name": "A", "signal": "traces",
        "aggregations": [{ "expression": "count()" }], "groupBy": [{ "name": "node.type", "signal": "traces",
        "fieldContext": "attribute", "fieldDataType": "string" }],
        "order": [{ "key": { "name": "count()" }, "direction": "desc" }], "limit": 10 } });
    let metrics = json!({ "kind": "signoz/CompositeQuery", "spec": { "queries": [
        { "type": "builder_query", "spec": { "name": "A", "signal": "metrics", "aggregations": [{
            "metricName": "a.bucket", "temporality": "", "timeAggregation": "", "spaceAggregation": "p95" }] } },
        { "type": "builder_formula", "spec": { "name": "F1", "expression": "A * 2" } }] } });
    let sql =
        json!({ "kind": "signoz/ClickHouseSQL", "spec": { "name": "A", "query": "SELECT 1" } });
    let raw = json!({ "kind": "signoz/BuilderQuery", "spec": { "name": "A", "signal": "logs" } });
    let variable = json!({ "kind": "ListVariable", "spec": { "name": "svc", "display": { "name": "Service" },
        "allowAllValue": true, "plugin": { "kind": "signoz/DynamicVariable", "spec": { "name": "service.name", "signal": "traces" } } } });
    let item = json!({ "x": 0, "y": 0, "width": 12, "height": 6, "content": { "$ref": "#/spec/panels/series" } });
    json!({
        "schemaVersion": "v6", "name": "a-name", "tags": [{ "key": "team", "value": "x" }],
        "spec": {
            "display": { "name": "A dashboard" },
            "variables": [variable, { "kind": "TextVariable", "spec": { "name": "wf_id", "display": {}, "value": "x" } }],
            "panels": {
                "series": panel("TimeSeries", json!({ "formatting": { "unit": "s", "decimalPrecision": "2" },
                    "legend": { "position": "bottom" }, "chartAppearance": { "lineStyle": "solid", "spanGaps": { "fillLessThan": "5m" } },
                    "thresholds": [{ "value": 0, "color": "Red" }] }), "time_series", metrics),
                "number": panel("Number", json!({ "thresholds": [{ "value": 1, "color": "Red", "operator": "above", "format": "text" }] }),
                    "scalar", builder.clone()),
                "table": panel("Table", json!({ "thresholds": [{ "value": 1, "color": "Red", "columnName": "A" }] }), "scalar", sql),
                "pie": panel("PieChart", json!({}), "scalar", builder),
                "list": panel("List", json!({ "selectFields": [{ "name": "name" }] }), "raw", raw),
            },
            "layouts": [{ "kind": "Grid", "spec": { "display": { "title": "All" }, "items": [item] } }],
        },
    })
}

fn rule() -> Value {
    let query = json!({ "type": "builder_query", "spec": { "name": "A", "signal": "traces", "stepInterval": 60,
        "aggregations": [{ "expression": "count()" }], "filter": { "expression": "has_error = true" } } });
    json!({
        "alert": "A rule", "alertType": "TRACES_BASED_ALERT", "ruleType": "threshold_rule", "version": "v5",
        "schemaVersion": "v2alpha1",
        "condition": {
            "compositeQuery": { "queryType": "builder", "panelType": "graph", "unit": "percent", "queries": [query] },
            "selectedQueryName": "A", "alertOnAbsent": true, "absentFor": 15,
            "thresholds": { "kind": "basic", "spec": [{ "name": "critical", "op": "above", "matchType": "at_least_once",
                "target": 5, "channels": ["slack"] }] },
        },
        "evaluation": { "kind": "rolling", "spec": { "evalWindow": "10m", "frequency": "1m" } },
        "notificationSettings": { "groupBy": [], "usePolicy": false,
            "renotify": { "enabled": true, "interval": "1h", "alertStates": ["firing", "nodata"] } },
        "labels": { "severity": "critical" }, "annotations": { "summary": "{{$value}}" },
    })
}

/// One way to spoil a document: where, and what is put there; `None` takes it away.
type Spoiling = (&'static str, Option<Value>);

fn spoil(document: &Value, (pointer, value): &Spoiling) -> Value {
    let mut spoilt = document.clone();
    let (parent, member) = pointer.rsplit_once('/').expect("a pointer");
    let parent = spoilt.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
    match (parent, value) {
        (Value::Object(members), Some(value)) => {
            members.insert(member.to_owned(), value.clone());
        }
        (Value::Object(members), None) => {
            members.remove(member).unwrap_or_else(|| panic!("there is no {pointer}"));
        }
        (Value::Array(list), Some(value)) if member == "-" => list.push(value.clone()),
        (other, _) => panic!("{pointer} leads to {other}"),
    }
    spoilt
}

fn assert_refused(kind: &str, document: &Value, spoilings: &[Spoiling]) {
    with_validator(kind, |validator| {
        assert_valid(validator, kind, document);
        for spoiling in spoilings {
            let spoilt = spoil(document, spoiling);
            assert_ne!(&spoilt, document, "{spoiling:?} changes nothing");
            assert!(!validator.is_valid(&spoilt), "this is taken: {spoiling:?}");
        }
    });
}

#[test]
fn a_spoilt_dashboard_is_refused() {
    let number = "/spec/panels/number/spec";
    assert_eq!(dashboard().pointer(number).unwrap()["plugin"]["kind"], "signoz/NumberPanel");
    assert_refused(
        "dashboard",
        &dashboard(),
        &[
            // The document.
            ("/schemaVersion", Some(json!("v5"))),
            ("/schemaVersion", None),
            ("/title", Some(json!("of schema v5"))),
            ("/name", None),
            ("/name", Some(json!("With Capitals"))),
            ("/name", Some(json!("-starts-with-a-dash"))),
            ("/name", Some(json!("x".repeat(64)))),
            ("/generateName", Some(json!(true))),
            ("/image", Some(json!("https://example.com/x.svg"))),
            ("/tags", None),
            ("/tags", Some(json!(["text"]))),
            ("/tags", Some(json!([{ "key": "name", "value": "reserved" }]))),
            ("/tags", Some(json!(vec![json!({ "key": "k", "value": "v" }); 11]))),
            ("/spec", None),
            ("/spec/display", None),
            ("/spec/display/name", Some(json!("x".repeat(129)))),
            ("/spec/variables", None),
            ("/spec/variables", Some(Value::Null)),
            ("/spec/panels", None),
            ("/spec/layouts", None),
            ("/spec/widgets", Some(json!([]))),
            // Variables.
            ("/spec/variables/0/kind", Some(json!("QueryVariable"))),
            ("/spec/variables/0/spec/plugin/kind", Some(json!("signoz/Dynamic"))),
            ("/spec/variables/0/spec/plugin/spec/name", None),
            ("/spec/variables/0/spec/plugin/spec/signal", Some(json!("spans"))),
            ("/spec/variables/0/spec/plugin/spec/extraField", Some(json!("bad"))),
            ("/spec/variables/0/spec/sort", Some(json!("up"))),
            ("/spec/variables/0/spec/name", Some(json!(""))),
            ("/spec/variables/1/spec/value", None),
            // Panels.
            ("/spec/panels/number/kind", Some(json!("Widget"))),
            ("/spec/panels/number/spec/display", None),
            ("/spec/panels/number/spec/plugin/kind", Some(json!("signoz/ValuePanel"))),
            ("/spec/panels/number/spec/plugin/spec/fillSpans", Some(json!(true))),
            ("/spec/panels/number/spec/queries", None),
            ("/spec/panels/number/spec/queries", Some(json!([]))),
            (
                "/spec/panels/number/spec/queries/-",
                Some(dashboard()["spec"]["panels"]["number"]["spec"]["queries"][0].clone()),
            ),
            ("/spec/panels/number/spec/queries/0/kind", Some(json!("time_series"))),
            ("/spec/panels/number/spec/queries/0/kind", Some(json!("TimeSeriesQuery"))),
            ("/spec/panels/series/spec/queries/0/kind", Some(json!("scalar"))),
            ("/spec/panels/list/spec/queries/0/kind", Some(json!("scalar"))),
            (
                "/spec/panels/list/spec/queries/0/spec/plugin",
                Some(
                    json!({ "kind": "signoz/ClickHouseSQL", "spec": { "name": "A", "query": "SELECT 1" } }),
                ),
            ),
            (
                "/spec/panels/table/spec/queries/0/spec/plugin",
                Some(
                    json!({ "kind": "signoz/PromQLQuery", "spec": { "name": "A", "query": "up" } }),
                ),
            ),
            (
                "/spec/panels/pie/spec/queries/0/spec/plugin",
                Some(
                    json!({ "kind": "signoz/CompositeQuery", "spec": { "queries": [{ "type": "promql", "spec": { "name": "A", "query": "up" } }] } }),
                ),
            ),
            (
                "/spec/panels/series/spec/plugin/spec/visualization",
                Some(json!({ "fillSpans": "notabool" })),
            ),
            (
                "/spec/panels/series/spec/plugin/spec/visualization",
                Some(json!({ "timePreference": "last2Hr" })),
            ),
            (
                "/spec/panels/series/spec/plugin/spec/chartAppearance/lineInterpolation",
                Some(json!("cubic")),
            ),
            (
                "/spec/panels/series/spec/plugin/spec/chartAppearance/lineStyle",
                Some(json!("dotted")),
            ),
            (
                "/spec/panels/series/spec/plugin/spec/chartAppearance/fillMode",
                Some(json!("striped")),
            ),
            (
                "/spec/panels/series/spec/plugin/spec/chartAppearance/spanGaps/fillLessThan",
                Some(json!("notaduration")),
            ),
            ("/spec/panels/series/spec/plugin/spec/legend/position", Some(json!("top"))),
            ("/spec/panels/series/spec/plugin/spec/legend/mode", Some(json!("grid"))),
            ("/spec/panels/series/spec/plugin/spec/formatting/decimalPrecision", Some(json!("9"))),
            ("/spec/panels/series/spec/plugin/spec/formatting/columnUnits", Some(json!({}))),
            ("/spec/panels/series/spec/plugin/spec/thresholds/0/value", None),
            ("/spec/panels/series/spec/plugin/spec/thresholds/0/color", Some(json!(""))),
            ("/spec/panels/number/spec/plugin/spec/thresholds/0/operator", Some(json!("!="))),
            ("/spec/panels/number/spec/plugin/spec/thresholds/0/format", Some(json!("Color"))),
            ("/spec/panels/table/spec/plugin/spec/thresholds/0/columnName", Some(json!(""))),
            ("/spec/panels/list/spec/plugin/spec/selectFields", Some(json!([{ "name": "" }]))),
            // Queries.
            ("/spec/panels/number/spec/queries/0/spec/plugin/kind", Some(json!("signoz/Builder"))),
            ("/spec/panels/number/spec/queries/0/spec/plugin/spec/signal", Some(json!("foo"))),
            ("/spec/panels/number/spec/queries/0/spec/plugin/spec/name", None),
            ("/spec/panels/number/spec/queries/0/spec/plugin/spec/queryName", Some(json!("A"))),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/aggregations",
                Some(json!([{ "metricName": "a" }])),
            ),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/aggregations",
                Some(json!([{ "expression": "duration_nano" }])),
            ),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/groupBy",
                Some(json!(["node.type"])),
            ),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/groupBy/0/fieldDataType",
                Some(json!("text")),
            ),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/groupBy/0/type",
                Some(json!("tag")),
            ),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/order/0/direction",
                Some(json!("down")),
            ),
            ("/spec/panels/number/spec/queries/0/spec/plugin/spec/limit", Some(json!(10_001))),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/functions",
                Some(json!([{ "name": "double" }])),
            ),
            (
                "/spec/panels/number/spec/queries/0/spec/plugin/spec/stepInterval",
                Some(json!("often")),
            ),
            ("/spec/panels/table/spec/queries/0/spec/plugin/spec/query", Some(json!(123))),
            ("/spec/panels/table/spec/queries/0/spec/plugin/spec/query", None),
            ("/spec/panels/series/spec/queries/0/spec/plugin/spec/queries", Some(json!([]))),
            (
                "/spec/panels/series/spec/queries/0/spec/plugin/spec/queries/0/type",
                Some(json!("builder")),
            ),
            (
                "/spec/panels/series/spec/queries/0/spec/plugin/spec/queries/0/spec/aggregations",
                None,
            ),
            (
                "/spec/panels/series/spec/queries/0/spec/plugin/spec/queries/0/spec/aggregations",
                Some(json!([{ "expression": "count()" }])),
            ),
            (
                "/spec/panels/series/spec/queries/0/spec/plugin/spec/queries/0/spec/aggregations/0/metricName",
                Some(json!("a")),
            ),
            (
                "/spec/panels/series/spec/queries/0/spec/plugin/spec/queries/0/spec/aggregations/0/spaceAggregation",
                Some(json!("p42")),
            ),
            (
                "/spec/panels/series/spec/queries/0/spec/plugin/spec/queries/0/spec/aggregations/0/timeAggregation",
                Some(json!("mean")),
            ),
            ("/spec/panels/series/spec/queries/0/spec/plugin/spec/queries/1/spec/expression", None),
            // Layouts.
            ("/spec/layouts/0/kind", Some(json!("Flow"))),
            ("/spec/layouts/0/spec/items/0/width", Some(json!(13))),
            ("/spec/layouts/0/spec/items/0/x", Some(json!(-1))),
            ("/spec/layouts/0/spec/items/0/height", None),
            ("/spec/layouts/0/spec/items/0/content/$ref", Some(json!("#/panels/series"))),
            ("/spec/layouts/0/spec/items/0/i", Some(json!("series"))),
        ],
    );
}

#[test]
fn a_spoilt_rule_is_refused() {
    assert_refused(
        "rule",
        &rule(),
        &[
            ("/alert", None),
            ("/alert", Some(json!(""))),
            ("/alertType", Some(json!("SPANS_BASED_ALERT"))),
            ("/ruleType", Some(json!("anomaly_rule"))),
            ("/ruleType", Some(json!("promql_rule"))),
            ("/version", Some(json!("v4"))),
            ("/schemaVersion", Some(json!("v1"))),
            ("/schemaVersion", None),
            ("/evalWindow", Some(json!("5m"))),
            ("/preferredChannels", Some(json!(["slack"]))),
            ("/labels", Some(json!({ "severity": 1 }))),
            ("/annotations", Some(json!(["text"]))),
            ("/condition", None),
            ("/condition/target", Some(json!(5))),
            ("/condition/alertOnAbsent", Some(json!("yes"))),
            ("/condition/absentFor", None),
            ("/condition/absentFor", Some(json!(0))),
            ("/condition/selectedQueryName", None),
            ("/condition/compositeQuery/queries", Some(json!([]))),
            ("/condition/compositeQuery/queryType", Some(json!("sql"))),
            ("/condition/compositeQuery/queryType", Some(json!("clickhouse_sql"))),
            ("/condition/compositeQuery/panelType", None),
            ("/condition/compositeQuery/builderQueries", Some(json!({}))),
            ("/condition/compositeQuery/queries/0/type", Some(json!("clickhouse_sql"))),
            ("/condition/compositeQuery/queries/0/spec/signal", Some(json!("spans"))),
            ("/condition/compositeQuery/queries/0/spec/filters", Some(json!({}))),
            ("/condition/thresholds", None),
            ("/condition/thresholds/kind", Some(json!("advanced"))),
            ("/condition/thresholds/spec", Some(json!([]))),
            ("/condition/thresholds/spec/0/op", Some(json!(">"))),
            ("/condition/thresholds/spec/0/matchType", Some(json!("once"))),
            ("/condition/thresholds/spec/0/target", None),
            ("/condition/thresholds/spec/0/target", Some(json!("5"))),
            ("/condition/thresholds/spec/0/severity", Some(json!("critical"))),
            // Nobody would be told.
            ("/condition/thresholds/spec/0/channels", Some(json!([]))),
            ("/condition/thresholds/spec/0/channels", None),
            ("/evaluation", None),
            ("/evaluation/kind", Some(json!("tumbling"))),
            ("/evaluation/spec/evalWindow", Some(json!("often"))),
            ("/evaluation/spec/evalWindow", None),
            ("/evaluation/spec/frequency", None),
            ("/evaluation/spec/timezone", Some(json!("UTC"))),
            ("/notificationSettings", None),
            ("/notificationSettings/channels", Some(json!(["slack"]))),
            ("/notificationSettings/renotify/interval", Some(json!("hourly"))),
            ("/notificationSettings/renotify/alertStates", Some(json!(["on"]))),
        ],
    );
}

#[test]
fn a_rule_by_policy_needs_no_channels_and_a_name_may_be_left_to_signoz() {
    let mut by_policy = rule();
    by_policy["notificationSettings"]["usePolicy"] = true.into();
    by_policy["condition"]["thresholds"]["spec"][0]["channels"] = json!([]);
    with_validator("rule", |validator| assert_valid(validator, "by policy", &by_policy));
    let mut generated = dashboard();
    generated["name"] = "".into();
    generated["generateName"] = true.into();
    with_validator("dashboard", |validator| assert_valid(validator, "generated", &generated));
}

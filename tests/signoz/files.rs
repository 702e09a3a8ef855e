//! What no schema can say of dashboards and rules: that they hang together, that they say what to look for, and that they
//! avoid what SigNoz is known to trip over.

use std::collections::BTreeSet;

use serde_json::Value;
use skein_tests::signoz::names::{builder_keys, variables};
use skein_tests::signoz::{Document, documents, panel_queries};

/// Columns of a dashboard.
const COLUMNS: u64 = 12;
/// What SigNoz puts into SQL by itself.
const TIMES: [&str; 4] = ["start_timestamp", "end_timestamp", "start_datetime", "end_datetime"];
/// Keys that a system in good health never sends. SigNoz refuses a builder query with a key that it has never seen, so
/// panels ask about these in SQL.
const NEVER_SENT_WHEN_WELL: [&str; 6] = [
    "skein.rebuilt",
    "error.type",
    "node.retry",
    "node.error",
    "node.error_code",
    "node.upstream_truncated",
];

fn text<'a>(value: &'a Value, file: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("{file}: {value} is no text"))
}

#[test]
fn panels_are_placed_once_within_the_columns_and_beside_each_other() {
    for Document { file, body } in documents("dashboards") {
        let mut placed = Vec::new();
        for layout in body["spec"]["layouts"].as_array().unwrap() {
            assert!(!text(&layout["spec"]["display"]["title"], &file).is_empty());
            let mut taken = BTreeSet::new();
            for item in layout["spec"]["items"].as_array().unwrap() {
                let [x, y, width, height] =
                    ["x", "y", "width", "height"].map(|it| item[it].as_u64().unwrap());
                assert!(x + width <= COLUMNS, "{file}: {item}");
                let cells = (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y)));
                for cell in cells {
                    assert!(taken.insert(cell), "{file}: something lies below {item}");
                }
                placed.push(text(&item["content"]["$ref"], &file).to_owned());
            }
        }
        placed.sort();
        let panels = body["spec"]["panels"].as_object().unwrap();
        let mut panels: Vec<_> = panels.keys().map(|id| format!("#/spec/panels/{id}")).collect();
        panels.sort();
        assert_eq!(placed, panels, "{file}");
    }
}

#[test]
fn every_panel_says_what_to_look_for_and_what_it_counts_in() {
    for document in documents("dashboards") {
        let file = &document.file;
        let mut titles = BTreeSet::new();
        for (id, panel) in document.panels() {
            let display = &panel["spec"]["display"];
            let about = text(&display["description"], file);
            let is_sentence = about.len() > 30 && about.ends_with('.') && !about.contains('\n');
            assert!(is_sentence, "{file}#{id}: {about:?}");
            assert!(titles.insert(text(&display["name"], file)), "{file}#{id}: twice");
            let plugin = &panel["spec"]["plugin"];
            let kind = text(&plugin["kind"], file);
            if !matches!(kind, "signoz/TablePanel" | "signoz/ListPanel") {
                let unit = text(&plugin["spec"]["formatting"]["unit"], file);
                assert!(!unit.is_empty(), "{file}#{id} has no unit");
            }
            // A unit of a column that there is not would be lost in silence.
            if let Some(units) = plugin["spec"]["formatting"]["columnUnits"].as_object() {
                let query = text(&panel_queries(panel)[0].spec["query"], file);
                for column in units.keys() {
                    assert!(query.contains(&format!(" AS {column}")), "{file}#{id}: {column}");
                }
            }
        }
    }
}

#[test]
fn names_are_unique_and_say_whose_they_are() {
    let mut names = BTreeSet::new();
    for Document { file, body } in documents("dashboards") {
        let stem = file.trim_start_matches("dashboards/").trim_end_matches(".json");
        assert_eq!(text(&body["name"], &file), format!("skein-{stem}"));
        assert!(text(&body["spec"]["display"]["name"], &file).starts_with("Skein: "));
    }
    for Document { file, body } in documents("rules") {
        let title = text(&body["alert"], &file).to_owned();
        assert!(title.starts_with("Skein: "), "{file}: {title}");
        assert!(names.insert(title), "{file}: a second rule of that title");
    }
}

#[test]
fn variables_do_not_change_what_only_looks_like_them() {
    for document in documents("dashboards").into_iter().chain(documents("rules")) {
        let file = &document.file;
        let defined = document.body["spec"]["variables"].as_array();
        let defined: Vec<_> = defined
            .into_iter()
            .flatten()
            .map(|variable| text(&variable["spec"]["name"], file).to_owned())
            .collect();
        for (place, query) in document.queries() {
            let filter = query.spec["filter"]["expression"].as_str().unwrap_or_default();
            for variable in variables(filter) {
                assert!(defined.contains(&variable), "{place}: ${variable} is not defined");
            }
            let Some(sql) = query.spec["query"].as_str() else { continue };
            // `$name` is replaced as text, also at the start of a longer word and within `string_http$$name`.
            assert!(!sql.contains("$$"), "{place}: a column with dollars in its name");
            for variable in variables(sql) {
                let is_time = TIMES.contains(&variable.as_str());
                assert!(is_time, "{place}: ${variable} is none of SigNoz's times");
                let is_torn = defined.iter().any(|it| variable.starts_with(it.as_str()));
                assert!(!is_torn, "{place}: a variable is the beginning of ${variable}");
            }
            for time in TIMES {
                assert!(
                    sql.contains(&format!("${time}")) || time == "end_datetime",
                    "{place}: {time}"
                );
            }
        }
    }
}

#[test]
fn builder_queries_of_spans_ask_only_about_what_is_always_sent() {
    for document in documents("dashboards").into_iter().chain(documents("rules")) {
        for (place, query) in document.queries() {
            if query.kind == "builder_query" && query.spec["signal"] == "traces" {
                let keys = builder_keys(query.spec);
                let rare: Vec<_> =
                    NEVER_SENT_WHEN_WELL.iter().filter(|key| keys.contains(**key)).collect();
                assert!(rare.is_empty(), "{place}: {rare:?}");
            }
        }
    }
}

#[test]
fn what_is_summed_over_spans_leaves_rebuilt_ones_out() {
    let summed = ["tokens", "cost_usd", "agent.cost"];
    let mut sums = 0;
    for document in documents("dashboards").into_iter().chain(documents("rules")) {
        for (place, query) in document.queries() {
            let is_summed = |text: &str| summed.iter().any(|it| text.contains(it));
            if query.kind == "clickhouse_sql" {
                let sql = query.spec["query"].as_str().unwrap();
                if is_summed(sql) || document.file.starts_with("rules/") {
                    sums += 1;
                    let leaves = sql.contains("NOT mapContains(attributes_bool, 'skein.rebuilt')");
                    assert!(leaves, "{place}");
                }
            } else if query.spec["signal"] == "traces" {
                let aggregations = query.spec["aggregations"].to_string();
                assert!(!is_summed(&aggregations), "{place} sums without leaving any out");
            }
        }
    }
    assert!(sums > 5, "only {sums} sums were found");
}

#[test]
fn every_rule_has_reasons_for_its_thresholds_and_asks_by_a_query_that_it_has() {
    for document in documents("rules") {
        let Document { file, body } = &document;
        let reason = text(&body["annotations"]["description"], file);
        assert!(reason.len() > 60, "{file}: {reason}");
        let condition = &body["condition"];
        let queries = document.queries();
        let names = queries.iter().map(|(_, query)| text(&query.spec["name"], file));
        let selected = text(&condition["selectedQueryName"], file);
        assert!(names.into_iter().any(|name| name == selected), "{file}: {selected}");
        let thresholds = condition["thresholds"]["spec"].as_array().unwrap();
        let severities: Vec<_> = thresholds.iter().map(|it| text(&it["name"], file)).collect();
        assert!(matches!(severities[..], ["warning"] | ["critical"] | ["warning", "critical"]));
        assert_eq!(severities.last(), Some(&text(&body["labels"]["severity"], file)), "{file}");
        // What is told apart in the message must be told apart by the query.
        let kind = text(&condition["compositeQuery"]["queryType"], file);
        for key in body["notificationSettings"]["groupBy"].as_array().unwrap() {
            let key = text(key, file);
            let is_grouped = match kind {
                "builder" => builder_keys(queries[0].1.spec).contains(key),
                _ => text(&queries[0].1.spec["query"], file).contains(&format!("GROUP BY {key}")),
            };
            assert!(is_grouped, "{file}: {key}");
        }
    }
}

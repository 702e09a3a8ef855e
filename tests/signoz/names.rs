//! What panels and rules ask about is what the program exports.

use skein_tests::signoz::names::{Names, Place};
use skein_tests::signoz::{documents, semconv};

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
        for (_, label) in metric.labels.iter().filter(|(_, label)| !known.contains_key(label)) {
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

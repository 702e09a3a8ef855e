//! The collector's configuration hangs together, and leaves panels and rules what they count.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use skein_shared::document::{self, Format};
use skein_tests::signoz::names::Names;
use skein_tests::signoz::{directory, documents, semconv};

fn collector() -> Value {
    let text = fs::read_to_string(directory().join("collector.yaml")).expect("there is one");
    document::parse(&text, Some(Format::Yaml)).expect("it is YAML")
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|it| it.as_str().expect("a text").to_owned())
        .collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().into_iter().flat_map(|members| members.keys().cloned()).collect()
}

#[test]
fn every_component_is_defined_and_used() {
    let collector = collector();
    let service = &collector["service"];
    assert_eq!(strings(&service["extensions"]), keys(&collector["extensions"]));
    for kind in ["receivers", "processors", "exporters"] {
        let pipelines = service["pipelines"].as_object().unwrap().values();
        let used: BTreeSet<_> = pipelines.flat_map(|pipeline| strings(&pipeline[kind])).collect();
        assert_eq!(used, keys(&collector[kind]), "{kind}");
    }
    for (name, pipeline) in service["pipelines"].as_object().unwrap() {
        assert_eq!(pipeline["processors"][0], "memory_limiter", "{name}");
    }
}

#[test]
fn every_span_that_is_counted_by_name_passes_by_the_sampler_once() {
    let collector = collector();
    let condition = |filter: &str| {
        let conditions = &collector["processors"][filter]["traces"]["span"];
        assert_eq!(conditions.as_array().unwrap().len(), 1, "{filter}");
        conditions[0].as_str().unwrap().to_owned()
    };
    let others = condition("filter/others");
    assert_eq!(condition("filter/counted"), format!("not {others}"));
    let names = others.strip_prefix("IsMatch(name, \"^(").and_then(|it| it.strip_suffix(")$\")"));
    let names = names.unwrap_or_else(|| panic!("{others}")).replace("\\\\.", ".");
    let passed: BTreeSet<_> = names.split('|').map(str::to_owned).collect();
    let (dashboards, rules) = (documents("dashboards"), documents("rules"));
    let counted = Names::of(dashboards.iter().chain(&rules)).spans;
    assert_eq!(passed, counted.into_keys().collect::<BTreeSet<_>>());
    let pipelines = &collector["service"]["pipelines"];
    let passes = strings(&pipelines["traces/counted"]["processors"]);
    assert!(passes.contains("filter/counted") && !passes.contains("tail_sampling"));
    // The sampler has to see what is dropped behind it.
    let sampled = pipelines["traces/sampled"]["processors"].as_array().unwrap();
    assert_eq!(sampled[1..], ["tail_sampling", "filter/others"]);
}

#[test]
fn policies_ask_about_what_is_exported() {
    let collector = collector();
    let known = semconv::known();
    let policies = collector["processors"]["tail_sampling"]["policies"].as_array().unwrap();
    let asked = policies.iter().filter_map(|policy| {
        let kind = policy["type"].as_str().unwrap();
        assert!(policy.get(kind).is_some(), "{policy} has no settings of its type");
        policy[kind]["key"].as_str()
    });
    let asked: Vec<_> = asked.collect();
    assert!(asked.len() > 2, "{asked:?}");
    let unknown: Vec<_> = asked.iter().filter(|key| !known.contains_key(**key)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not in semconv");
}

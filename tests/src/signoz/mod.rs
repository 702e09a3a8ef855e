//! The dashboards and alert rules of `deploy/signoz` as tests read them, and the names that they use.

mod expression;
pub mod metrics;
pub mod names;
pub mod semconv;
mod sql;
pub mod types;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::stack::workspace;

/// A dashboard or a rule, with the file that it is from.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its file, below `deploy/signoz`.
    pub file: String,
    /// What it says.
    pub body: Value,
}

/// A query of a panel or a rule.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// `builder_query`, `builder_formula`, `clickhouse_sql` ...
    pub kind: &'a str,
    /// What it asks.
    pub spec: &'a Value,
}

/// Where the files are.
#[must_use]
pub fn directory() -> PathBuf {
    workspace().join("deploy/signoz")
}

/// The documents of a folder, in the order of their names.
///
/// # Panics
/// When there are none, or one is no JSON.
#[must_use]
pub fn documents(folder: &str) -> Vec<Document> {
    let entries = fs::read_dir(directory().join(folder)).expect("there is such a folder");
    let names = entries.map(|entry| entry.expect("it can be read").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    let document = |name: &String| {
        let file = format!("{folder}/{name}");
        let text = fs::read_to_string(directory().join(&file)).expect("it can be read");
        let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        Document { file, body }
    };
    assert!(!names.is_empty(), "there is nothing in {folder}");
    names.iter().map(document).collect()
}

impl Document {
    /// Its panels with their ids; none of a rule.
    pub fn panels(&self) -> impl Iterator<Item = (&str, &Value)> {
        let panels = self.body["spec"]["panels"].as_object();
        panels.into_iter().flatten().map(|(id, panel)| (id.as_str(), panel))
    }

    /// All queries with where they stand: the panel's id, or the file again for a rule.
    #[must_use]
    pub fn queries(&self) -> Vec<(String, Query<'_>)> {
        let list = &self.body["condition"]["compositeQuery"]["queries"];
        let mut all: Vec<_> = enveloped(list).map(|query| (self.file.clone(), query)).collect();
        for (id, panel) in self.panels() {
            let place = format!("{}#{id}", self.file);
            all.extend(panel_queries(panel).into_iter().map(|query| (place.clone(), query)));
        }
        all
    }
}

/// The queries of a panel.
#[must_use]
pub fn panel_queries(panel: &Value) -> Vec<Query<'_>> {
    let plugin = &panel["spec"]["queries"][0]["spec"]["plugin"];
    let spec = &plugin["spec"];
    let kind = match plugin["kind"].as_str() {
        Some("signoz/CompositeQuery") => return enveloped(&spec["queries"]).collect(),
        Some("signoz/BuilderQuery") => "builder_query",
        Some("signoz/Formula") => "builder_formula",
        Some("signoz/ClickHouseSQL") => "clickhouse_sql",
        other => panic!("no panel has a query of kind {other:?}"),
    };
    vec![Query { kind, spec }]
}

fn enveloped(list: &Value) -> impl Iterator<Item = Query<'_>> {
    let list = list.as_array().map_or(&[] as &[_], Vec::as_slice);
    list.iter().map(|it| Query { kind: it["type"].as_str().unwrap_or("?"), spec: &it["spec"] })
}

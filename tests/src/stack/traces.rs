//! What every collector must have seen of the runs of [`super::load`], whoever wrote the collector.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{PATIENCE, Run, Stack, poll};
use crate::otlp::{Kind, Span};

/// Nodes of a run that are executed; the tenth is skipped.
const NODES: usize = 9;
/// Requests of a run to the outside world.
const REQUESTS: usize = 5;
/// Deliveries of a run at least: of its first node, and of three of the four that it fans out to.
const DELIVERIES_MIN: usize = 4;

/// A span, as far as every collector shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its trace, in hex.
    pub trace: String,
    /// Itself, in hex.
    pub span: String,
    /// Its parent, in hex.
    pub parent: Option<String>,
    /// Its name.
    pub name: String,
    /// The number of its kind in OTLP.
    pub kind: i64,
    /// Its `workflow.execution_id`.
    pub run: Option<String>,
    /// Spans that it is linked to, in hex.
    pub links: Vec<String>,
    /// Whether it says whose work it was: organization, workspace and user.
    pub has_owner: bool,
    /// Whether it is of a message that led to no claim, as one that came twice or late: no row says whose that was.
    pub is_idle: bool,
}

/// The attributes that say whose work it was.
const OWNER: [&str; 3] = ["organization.id", "workspace.id", "user.id"];
/// The attribute that says whether a message led to a claim.
const CLAIMED: &str = "workflow.wakeup.claimed";

impl From<&Span> for Seen {
    fn from(span: &Span) -> Self {
        let run = span.attributes.get("workflow.execution_id").and_then(Value::as_str);
        // Requests that ask about a run are in traces of their own.
        let run = run.filter(|_| span.kind != Kind::Server);
        Self {
            trace: span.trace_id.to_string(),
            span: span.span_id.to_string(),
            parent: span.parent.map(|parent| parent.to_string()),
            name: span.name.clone(),
            kind: match span.kind {
                Kind::Unspecified => 0,
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Client => 3,
                Kind::Producer => 4,
                Kind::Consumer => 5,
            },
            run: run.map(str::to_owned),
            links: span.links.iter().map(|link| link.span.to_string()).collect(),
            has_owner: OWNER.iter().all(|key| span.attributes.contains_key(*key)),
            is_idle: span.attributes.get(CLAIMED) == Some(&Value::Bool(false)),
        }
    }
}

impl Seen {
    /// Reads a span in the JSON encoding of OTLP. Bytes are hex, as that encoding asks for.
    ///
    /// # Errors
    /// When it is no span.
    pub fn from_json(span: &Value) -> Result<Self> {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        ensure!(text(span, "spanId").len() == 16, "no span: {span}");
        let attributes = span["attributes"].as_array().map_or(&[] as &[_], Vec::as_slice);
        let run = attributes.iter().find(|it| it["key"] == "workflow.execution_id");
        let run = run.filter(|_| span["kind"] != 2);
        let links = span["links"].as_array().map_or(&[] as &[_], Vec::as_slice);
        Ok(Self {
            trace: text(span, "traceId"),
            span: text(span, "spanId"),
            parent: Some(text(span, "parentSpanId")).filter(|parent| !parent.is_empty()),
            name: text(span, "name"),
            kind: span["kind"].as_i64().unwrap_or_default(),
            run: run.map(|run| text(&run["value"], "stringValue")),
            links: links.iter().map(|link| text(link, "spanId")).collect(),
            has_owner: OWNER.iter().all(|key| attributes.iter().any(|it| it["key"] == *key)),
            is_idle: attributes
                .iter()
                .any(|it| it["key"] == CLAIMED && it["value"]["boolValue"] == false),
        })
    }
}

/// The spans at the collector of a stack.
#[must_use]
pub fn collected(stack: &Stack) -> Vec<Seen> {
    stack.collector.spans().iter().map(Seen::from).collect()
}

/// Waits until each run is a whole trace, then stops everything and looks once more: what comes last, as the programs
/// end, must not be too much.
///
/// # Panics
/// When one is not whole within a minute, or not any more.
pub async fn become_whole(stack: &mut Stack, runs: &[Run], seen: impl Fn(&Stack) -> Vec<Seen>) {
    let whole = poll(PATIENCE, async || check(runs, &seen(stack)).ok()).await.is_some();
    if whole {
        stack.stop().await;
    }
    if let Err(mismatch) = check(runs, &seen(stack)) {
        panic!("{}{mismatch:#}", if whole { "after the end: " } else { "" });
    }
}

/// Whether each run is one whole trace: one request, one run, its nodes and their requests, no span
/// whose parent is missing, no link into nowhere; and whether there is nothing else but requests to the API.
///
/// # Errors
/// Says of the first run that is not, what is wrong with it.
pub fn check(runs: &[Run], seen: &[Seen]) -> Result<()> {
    let mut traces: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for span in seen {
        traces.entry(&span.trace).or_default().push(span);
    }
    let mut traces_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for span in seen {
        if let Some(run) = &span.run {
            traces_of.entry(run).or_default().insert(&span.trace);
        }
    }
    for run in runs {
        let id = run.id();
        let of_run = traces_of.remove(id).unwrap_or_default();
        let trace = run.0["trace_id"].as_str().unwrap_or_default();
        ensure!(of_run == BTreeSet::from([trace]), "run {id} of trace {trace} is in {of_run:?}");
        let spans = traces.remove(trace).unwrap_or_default();
        check_trace(&spans)
            .map_err(|mismatch| mismatch.context(format!("run {id}, trace {trace}")))?;
    }
    ensure!(traces_of.is_empty(), "traces of runs that nobody started: {traces_of:?}");
    for (trace, spans) in traces {
        // A statement that serves many has a trace for itself, and the others are below what they are made for.
        let is_statement = |span: &&&Seen| span.kind == 3 && span.parent.is_some();
        let others: Vec<_> = spans.iter().filter(|span| !is_statement(span)).collect();
        let is_lone = match others[..] {
            [Seen { kind: 2, parent: None, .. }] => true,
            [Seen { kind: 3, parent: None, name, .. }] => name.starts_with("BATCH "),
            _ => false,
        };
        ensure!(is_lone, "trace {trace} is of no run, and no lone request: {spans:#?}");
        let root = others[0].span.as_str();
        let is_below = |span: &&Seen| span.parent.as_deref().is_none_or(|parent| parent == root);
        ensure!(spans.iter().all(is_below), "trace {trace} is torn: {spans:#?}");
    }
    Ok(())
}

fn check_trace(spans: &[&Seen]) -> Result<()> {
    let known: BTreeSet<_> = spans.iter().map(|span| span.span.as_str()).collect();
    ensure!(known.len() == spans.len(), "a span came twice");
    for span in spans {
        if let Some(parent) = &span.parent {
            ensure!(known.contains(parent.as_str()), "an orphan: {span:?}");
        } else {
            ensure!(span.kind == 2, "a second root: {span:?}");
        }
        let lost = span.links.iter().find(|link| !known.contains(link.as_str()));
        ensure!(lost.is_none(), "a link into nowhere: {span:?}");
    }
    let count = |kind: i64, name: &str| {
        spans.iter().filter(|span| span.kind == kind && span.name.starts_with(name)).count()
    };
    let counts = (count(2, "POST "), count(1, "workflow.execute"), count(1, "node.execute."));
    ensure!(counts == (1, 1, NODES), "requests, runs and nodes: {counts:?}");
    ensure!(count(3, "POST") == REQUESTS, "{} requests to the outside", count(3, "POST"));
    ensure!(count(5, "process ") >= DELIVERIES_MIN, "{} deliveries", count(5, "process "));
    ensure!(count(4, "publish ") >= 2, "{} publishings", count(4, "publish "));
    Ok(())
}

//! Runs and node runs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::runs as stored_runs;
use skein_shared::store::runs::RunDetail;
use skein_shared::store::spending::Spending;
use utoipa::ToSchema;

use super::spending::{RunLimits, Usage, cost_usd};
use super::{RunError, StoredJson, item_index, stored, stored_optional};
use crate::accept::AcceptedRun;
use crate::problem::Problem;
use crate::trace_view::TraceView;
use crate::words::{AttemptOutcome, NodeStatus, RunStatus};

/// A run, whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Run {
    /// Its id.
    #[schema(format = "uuid")]
    pub(crate) id: String,
    /// The workflow's name.
    workflow: String,
    /// The version that it is pinned to.
    version: u32,
    /// Where it is in its life.
    #[schema(value_type = RunStatus)]
    status: &'static str,
    /// Whether somebody asked for it to be cancelled, and it has not ended yet.
    cancelling: bool,
    /// Whether it waits although nothing in it does: it is open and not suspended, and no worker lives. In the answer to a
    /// start that did not wait nobody has looked, and it is false.
    no_worker: bool,
    /// What it works on: what was sent, with the defaults of the schema.
    #[schema(value_type = Value)]
    input: StoredJson,
    /// What it yielded, once it succeeded.
    #[schema(required, value_type = Value, nullable)]
    output: Option<StoredJson>,
    /// Why it did not succeed.
    #[schema(required)]
    error: Option<RunError>,
    /// Whether it stops before every node.
    step_mode: bool,
    /// Tokens that its calls to models took.
    usage: Usage,
    /// What they cost, in US dollars; null where none of them has a price.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Requests to providers; refused, failed and abandoned ones too.
    calls: u64,
    /// Those of them that cost nobody knows what, because the model has no price.
    unpriced_calls: u64,
    /// Steps that were begun: calls to models and to tools.
    steps: u64,
    /// What it may spend, and until when; null where nothing limits it.
    #[schema(required)]
    budget: Option<RunLimits>,
    /// Who started it.
    user: String,
    /// The trace that it has now: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// The page of that trace, where the operator has set up such pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    trace_url: Option<String>,
    /// The span `workflow.execute` in it: 16 hex digits.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    root_span_id: String,
    /// The span that published its first messages, in its first trace: the parent of `workflow.execute` there.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    publish_span_id: String,
    /// Traces that it has left behind, because it was suspended for long; the first one first. Mostly none.
    earlier_traces: Vec<EarlierTrace>,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// When its first node started.
    #[schema(required)]
    started_at: Option<DateTime<Utc>>,
    /// When it went on in the trace that it has now, unless that is its first.
    #[schema(required)]
    resumed_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    finished_at: Option<DateTime<Utc>>,
    /// Its nodes, as far as they are known yet.
    nodes: Vec<NodeRun>,
}

/// A trace that shows a segment of a run that is over.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EarlierTrace {
    /// The number of the segment, from 1.
    segment: u32,
    /// The trace: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// The page of that trace, where the operator has set up such pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    trace_url: Option<String>,
    /// The span `workflow.execute` in it: 16 hex digits.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    root_span_id: String,
    /// When the segment began.
    started_at: DateTime<Utc>,
    /// Since when everything waited.
    suspended_at: DateTime<Utc>,
}

/// A run in a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunSummary {
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// The workflow's name.
    workflow: String,
    /// The version that it is pinned to.
    version: u32,
    /// Where it is in its life.
    #[schema(value_type = RunStatus)]
    status: &'static str,
    /// Whether somebody asked for it to be cancelled, and it has not ended yet.
    cancelling: bool,
    /// Why it did not succeed.
    #[schema(required)]
    error: Option<RunError>,
    /// Whether it stops before every node.
    step_mode: bool,
    /// Who started it.
    user: String,
    /// The trace that it has now: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// The page of that trace, where the operator has set up such pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    trace_url: Option<String>,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// When its first node started.
    #[schema(required)]
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    finished_at: Option<DateTime<Utc>>,
}

/// A page of runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunList {
    /// The runs.
    pub(crate) items: Vec<RunSummary>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// A node of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeRun {
    /// The node's id in the workflow.
    node: String,
    /// Which item of the innermost map around it.
    #[schema(required)]
    item_index: Option<u32>,
    /// All indices around it, outermost first: `3/0`; empty outside of maps.
    scope: String,
    /// Its type.
    r#type: String,
    /// Where it is in its life.
    #[schema(value_type = NodeStatus)]
    status: &'static str,
    /// How often it was started.
    attempts: u32,
    /// Its rendered parameters.
    #[schema(required, value_type = Value, nullable)]
    input: Option<StoredJson>,
    /// What it yielded.
    #[schema(required, value_type = Value, nullable)]
    output: Option<StoredJson>,
    /// Whether input and output are left out: because of `values=false`, or because with them and those of the nodes
    /// before it there would be more than 4 MiB. The node itself has them.
    values_omitted: bool,
    /// Why it failed.
    #[schema(required)]
    error: Option<RunError>,
    /// The trace of that span; before the first attempt, the one that the run has now.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// The span of its latest attempt: 16 hex digits.
    #[schema(required, pattern = "^[0-9a-f]{16}$")]
    span_id: Option<String>,
    /// The worker of its latest attempt: `host:pid`. Null before the first, and where the attempt is from before it was
    /// noted.
    #[schema(required)]
    worker: Option<String>,
    /// When it became runnable.
    #[schema(required)]
    queued_at: Option<DateTime<Utc>>,
    /// When its latest attempt started.
    #[schema(required)]
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    #[schema(required)]
    finished_at: Option<DateTime<Utc>>,
    /// When it goes on, while it waits for a time.
    #[schema(required)]
    wake_at: Option<DateTime<Utc>>,
    /// What it waits for, while that is not a time alone: `{type: decision, step, tool, arguments, expires_at}` for
    /// somebody's decision; `{type: budget, ...}` for a budget; `{type: rate, ...}` for its turn at a provider.
    #[schema(value_type = Option<Value>, required)]
    waiting_for: Option<StoredJson>,
    /// The attempts before the latest one.
    earlier_attempts: Vec<Attempt>,
    /// Whether they are left out, because with those of the nodes before it there would be more than 1,000. The node
    /// itself has them.
    attempts_omitted: bool,
}

/// An attempt that did not end its node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attempt {
    /// Its number, from 1.
    attempt: u32,
    /// How it ended.
    #[schema(value_type = AttemptOutcome)]
    outcome: String,
    /// What went wrong.
    #[schema(required)]
    error: Option<RunError>,
    /// The trace of its span.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// Its span.
    #[schema(required, pattern = "^[0-9a-f]{16}$")]
    span_id: Option<String>,
    /// Its worker: `host:pid`; null where it is from before that was noted.
    #[schema(required)]
    worker: Option<String>,
    /// When it started.
    started_at: DateTime<Utc>,
    /// When it ended.
    finished_at: DateTime<Utc>,
}

impl Run {
    /// The same with links to its traces, if there are pages of them.
    pub(crate) fn linked(mut self, traces: &TraceView) -> Self {
        self.trace_url = link(traces, &self.trace_id);
        for earlier in &mut self.earlier_traces {
            earlier.trace_url = link(traces, &earlier.trace_id);
        }
        self
    }
}

impl RunSummary {
    /// The same with a link to its trace, if there are pages of them.
    pub(crate) fn linked(self, traces: &TraceView) -> Self {
        Self { trace_url: link(traces, &self.trace_id), ..self }
    }
}

fn link(traces: &TraceView, trace: &str) -> Option<String> {
    traces.link(trace.parse().ok()?)
}

impl TryFrom<RunDetail> for Run {
    type Error = Problem;

    fn try_from(found: RunDetail) -> Result<Self, Problem> {
        let RunDetail { summary, input, output, nodes, earlier, spent, budget, no_worker } = found;
        let nodes = nodes.into_iter().map(NodeRun::try_from);
        Ok(Self {
            id: summary.id.to_string(),
            workflow: summary.workflow,
            version: summary.version,
            status: summary.state.as_str(),
            cancelling: summary.cancelling,
            no_worker,
            input: stored(input)?,
            output: stored_optional(output)?,
            error: summary.error.map(RunError::from),
            step_mode: summary.step_mode,
            usage: spent.usage.into(),
            cost_usd: cost_usd(&spent),
            calls: spent.calls,
            unpriced_calls: spent.unpriced_calls,
            steps: spent.steps,
            budget: RunLimits::of(budget),
            user: summary.user,
            nodes: nodes.collect::<Result<_, _>>()?,
            trace_id: summary.trace.trace.to_string(),
            trace_url: None,
            root_span_id: summary.trace.root.to_string(),
            publish_span_id: summary.trace.publish.to_string(),
            earlier_traces: earlier.iter().map(earlier_trace).collect(),
            created_at: summary.created_at,
            resumed_at: summary.resumed_at,
            started_at: summary.started_at,
            finished_at: summary.ended_at,
        })
    }
}

impl TryFrom<AcceptedRun> for Run {
    type Error = Problem;

    /// A run as it is right after its acceptance, without asking the store.
    fn try_from(accepted: AcceptedRun) -> Result<Self, Problem> {
        let AcceptedRun { run, version, created_at } = accepted;
        let trace_id = run.trace.trace.to_string();
        let spent = Spending::default();
        let entries = run.entries.iter().map(|entry| NodeRun {
            node: entry.node.to_string(),
            item_index: None,
            scope: entry.scope.to_string(),
            r#type: entry.kind.to_owned(),
            status: NodeState::Queued.as_str(),
            attempts: 0,
            input: None,
            output: None,
            values_omitted: false,
            error: None,
            trace_id: trace_id.clone(),
            span_id: None,
            worker: None,
            queued_at: Some(created_at),
            started_at: None,
            finished_at: None,
            wake_at: None,
            waiting_for: None,
            earlier_attempts: Vec::new(),
            attempts_omitted: false,
        });
        Ok(Self {
            id: run.id.to_string(),
            workflow: run.workflow.to_string(),
            version,
            status: RunState::Queued.as_str(),
            cancelling: false,
            no_worker: false,
            nodes: entries.collect(),
            input: stored(run.input)?,
            output: None,
            error: None,
            step_mode: run.step_mode,
            usage: spent.usage.into(),
            cost_usd: cost_usd(&spent),
            calls: spent.calls,
            unpriced_calls: spent.unpriced_calls,
            steps: spent.steps,
            budget: RunLimits::of(run.budget.of_run_accepted_at(created_at)),
            user: run.identity.user.to_string(),
            trace_id,
            trace_url: None,
            root_span_id: run.trace.root.to_string(),
            publish_span_id: run.trace.publish.to_string(),
            earlier_traces: Vec::new(),
            created_at,
            resumed_at: None,
            started_at: None,
            finished_at: None,
        })
    }
}

impl From<stored_runs::RunSummary> for RunSummary {
    fn from(run: stored_runs::RunSummary) -> Self {
        Self {
            id: run.id.to_string(),
            workflow: run.workflow,
            version: run.version,
            status: run.state.as_str(),
            cancelling: run.cancelling,
            error: run.error.map(RunError::from),
            step_mode: run.step_mode,
            user: run.user,
            trace_id: run.trace.trace.to_string(),
            trace_url: None,
            created_at: run.created_at,
            started_at: run.started_at,
            finished_at: run.ended_at,
        }
    }
}

impl TryFrom<stored_runs::NodeRun> for NodeRun {
    type Error = Problem;

    fn try_from(node: stored_runs::NodeRun) -> Result<Self, Problem> {
        Ok(Self {
            item_index: item_index(&node.scope),
            node: node.node,
            scope: node.scope,
            r#type: node.kind,
            status: node.state.as_str(),
            attempts: node.attempts,
            input: stored_optional(node.input)?,
            output: stored_optional(node.output)?,
            values_omitted: node.omitted,
            error: node.error.map(RunError::from),
            trace_id: node.trace.to_string(),
            span_id: node.span.map(|span| span.to_string()),
            worker: node.worker,
            queued_at: node.queued_at,
            started_at: node.started_at,
            finished_at: node.ended_at,
            wake_at: node.wake_at,
            waiting_for: waiting_for(node.waiting_for, node.wake_at)?,
            earlier_attempts: node.earlier.into_iter().map(attempt).collect(),
            attempts_omitted: node.attempts_omitted,
        })
    }
}

/// What a node waits for, with the time by which somebody has to decide: the store has that beside it.
fn waiting_for(
    kept: Option<String>,
    due: Option<DateTime<Utc>>,
) -> Result<Option<StoredJson>, Problem> {
    let Some(text) = kept else { return Ok(None) };
    let mut wait: Map<String, Value> = serde_json::from_str(&text).map_err(Problem::internal)?;
    if wait.get("type").is_some_and(|it| it == "decision") {
        wait.insert("expires_at".to_owned(), json!(due));
        return serde_json::value::to_raw_value(&wait).map(Some).map_err(Problem::internal);
    }
    stored(text).map(Some)
}

fn earlier_trace(segment: &stored_runs::Segment) -> EarlierTrace {
    EarlierTrace {
        segment: segment.number,
        trace_id: segment.trace.to_string(),
        trace_url: None,
        root_span_id: segment.root.to_string(),
        started_at: segment.started_at,
        suspended_at: segment.suspended_at,
    }
}

fn attempt(attempt: stored_runs::EarlierAttempt) -> Attempt {
    Attempt {
        attempt: attempt.attempt,
        outcome: attempt.outcome,
        error: attempt.error.map(RunError::from),
        trace_id: attempt.trace.to_string(),
        span_id: attempt.span.map(|span| span.to_string()),
        worker: attempt.worker,
        started_at: attempt.started_at,
        finished_at: attempt.ended_at,
    }
}

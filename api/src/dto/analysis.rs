//! What runs that were looked back at tell.

use chrono::{DateTime, Utc};
use serde::Serialize;
use skein_shared::domain::analysis::phases::{Phase, Phases};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::trace::TraceId;
use utoipa::ToSchema;

use super::spending::Spending;

/// Microseconds as milliseconds.
pub(crate) fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// What the runs of a stretch of time tell. Sections that were not asked for are absent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Analysis {
    /// Of runs that were accepted at or after this time.
    pub(crate) from: DateTime<Utc>,
    /// And before this one.
    pub(crate) to: DateTime<Utc>,
    /// Of this workflow only.
    #[schema(required)]
    pub(crate) workflow: Option<String>,
    /// How much of it was looked at.
    pub(crate) coverage: Coverage,
    /// How the runs stand that were looked at.
    pub(crate) runs: RunCounts,
    /// The nodes that decide how long runs take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) critical_path: Option<CriticalPath>,
    /// What runs wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) waiting: Option<Waiting>,
    /// What fails, and is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) hot_spots: Option<HotSpots>,
    /// What calls to models cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) costs: Option<Costs>,
    /// How versions of workflows differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub(crate) regressions: Option<Regressions>,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Coverage {
    /// Runs that were looked at.
    pub(crate) examined: u64,
    /// Runs that there are; an estimate where not all were looked at.
    pub(crate) total_estimated: u64,
    /// Whether it is a sample, spread evenly over the time.
    pub(crate) sampled: bool,
    /// Why not all was looked at: `runs` (there are too many) or `time` (it took too long). Null where all was.
    #[schema(required)]
    pub(crate) limited_by: Option<&'static str>,
}

/// How runs stand.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct RunCounts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) timed_out: u64,
    /// Those that have not ended.
    pub(crate) open: u64,
}

/// A run to look at.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExampleRun {
    /// Its id.
    #[schema(format = "uuid")]
    run_id: String,
    /// The trace that it has now: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// Where that trace is looked at. Absent where nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_url: Option<String>,
    #[serde(skip)]
    trace: TraceId,
}

impl ExampleRun {
    pub(crate) fn new(run: RunId, trace: TraceId) -> Self {
        Self { run_id: run.to_string(), trace_id: trace.to_string(), trace_url: None, trace }
    }
}

impl Analysis {
    /// Makes each example a link to its trace.
    pub(crate) fn link_to_traces(&mut self, link: impl Fn(TraceId) -> Option<String>) {
        let paths = self.critical_path.iter_mut().flat_map(|it| &mut it.items);
        let waiting = self.waiting.iter_mut().flat_map(|it| &mut it.items);
        let spots = self.hot_spots.iter_mut().flat_map(|it| &mut it.items);
        let costs = self.costs.iter_mut().flat_map(|it| &mut it.items);
        let regressions = self.regressions.iter_mut().flat_map(|it| &mut it.items);
        let examples = paths
            .flat_map(|it| &mut it.examples)
            .chain(waiting.flat_map(|it| &mut it.examples))
            .chain(spots.flat_map(|it| &mut it.examples))
            .chain(costs.flat_map(|it| &mut it.examples))
            .chain(regressions.flat_map(|it| &mut it.examples));
        for example in examples {
            example.trace_url = link(example.trace);
        }
    }
}

/// What time was spent on, in milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeSpent {
    /// Executing.
    work_ms: f64,
    /// Waiting for a worker.
    queue_ms: f64,
    /// Waiting before an attempt that follows on a failed one.
    backoff_ms: f64,
    /// Waiting for somebody's decision.
    decision_ms: f64,
    /// Waiting for a budget.
    budget_ms: f64,
    /// Waiting for its turn at a provider.
    rate_ms: f64,
    /// Waiting for a time that the workflow names.
    timer_ms: f64,
    /// In attempts whose worker died, until that was noticed.
    crash_ms: f64,
}

impl From<&Phases> for TimeSpent {
    fn from(phases: &Phases) -> Self {
        let of = |phase| millis(phases.of(phase));
        Self {
            work_ms: of(Phase::Work),
            queue_ms: of(Phase::Queue),
            backoff_ms: of(Phase::Backoff),
            decision_ms: of(Phase::Decision),
            budget_ms: of(Phase::Budget),
            rate_ms: of(Phase::Rate),
            timer_ms: of(Phase::Timer),
            crash_ms: of(Phase::Crash),
        }
    }
}

/// The nodes that decide how long runs take that are over and were not cancelled, those that take most of it first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CriticalPath {
    pub(crate) items: Vec<CriticalNode>,
    /// Nodes that are not listed. Of those beyond the 2,000 that are told apart, every time counts that one is met.
    pub(crate) others: u64,
}

/// A node on the critical path of runs: what ended last, and before each node the one that ended last of those that lead to
/// it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CriticalNode {
    pub(crate) workflow: String,
    pub(crate) node: String,
    /// Its kind.
    pub(crate) r#type: String,
    /// Runs whose critical path it was on.
    pub(crate) runs: u64,
    /// Which part of the time of all runs of the workflow it took there, from 0 to 1.
    pub(crate) share: f64,
    /// What it took there, from the end of what it waited for to its own end: of all runs.
    pub(crate) total_ms: f64,
    /// The median of a run.
    pub(crate) p50_ms: f64,
    /// What it did not take longer than in 95 of 100 runs.
    pub(crate) p95_ms: f64,
    /// What that was spent on.
    pub(crate) spent: TimeSpent,
    /// The runs in which it took longest.
    pub(crate) examples: Vec<ExampleRun>,
}

/// What runs wait for that are over and were not cancelled, those workflows first whose runs wait most.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    pub(crate) items: Vec<WorkflowWaiting>,
    /// Workflows that are not listed. Of those beyond the 1,000 that are told apart, every run counts.
    pub(crate) others: u64,
}

/// Where the time of a workflow's runs went, along their critical paths.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowWaiting {
    pub(crate) workflow: String,
    /// Its runs.
    pub(crate) runs: u64,
    /// From acceptance to end, of all runs.
    pub(crate) total_ms: f64,
    /// Which part of that was spent on no work, from 0 to 1.
    pub(crate) waiting_share: f64,
    /// What it was spent on. What is missing to the total is the end of runs: rendering the output.
    pub(crate) spent: TimeSpent,
    /// The runs that waited longest.
    pub(crate) examples: Vec<ExampleRun>,
}

/// What fails, the nodes first whose attempts were in vain most often. Runs that have not ended count as well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HotSpots {
    pub(crate) items: Vec<HotSpot>,
    /// Nodes and ways to fail that are not listed. Of those beyond the 2,000 that are told apart, every time counts that one
    /// is met.
    pub(crate) others: u64,
}

/// A node that fails in some way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HotSpot {
    pub(crate) workflow: String,
    pub(crate) node: String,
    /// Its kind.
    pub(crate) r#type: String,
    /// The code of the error; `crashed` where the worker died.
    pub(crate) code: String,
    /// Attempts at the node, whatever came of them.
    pub(crate) attempts: u64,
    /// Those that ended with this error.
    pub(crate) wasted_attempts: u64,
    /// What those took.
    pub(crate) wasted_ms: f64,
    /// How often the node failed for good.
    pub(crate) failed: u64,
    /// Runs that it happened in.
    pub(crate) runs: u64,
    /// The runs in which it took longest.
    pub(crate) examples: Vec<ExampleRun>,
}

/// What calls to models cost that ended in the time, the dearest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Costs {
    pub(crate) items: Vec<ModelCost>,
    /// Groups that are not listed.
    pub(crate) others: u64,
}

/// What calls of a workflow to a model cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelCost {
    pub(crate) workflow: String,
    pub(crate) provider: String,
    pub(crate) model: String,
    /// Which part of what all calls cost, from 0 to 1; null where nothing has cost anything.
    #[schema(required)]
    pub(crate) share: Option<f64>,
    #[serde(flatten)]
    pub(crate) spent: Spending,
    /// The run with the dearest call.
    pub(crate) examples: Vec<ExampleRun>,
}

/// How versions of workflows differ: the two that were asked for, or of each workflow the two latest that have 20 runs each.
/// What is worse comes first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Regressions {
    pub(crate) items: Vec<VersionComparison>,
    /// Comparisons that are not listed. Of the versions beyond the 1,000 that are told apart, every run counts.
    pub(crate) others: u64,
}

/// How a version of a workflow compares with another. Cancelled runs and open ones do not count.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionComparison {
    pub(crate) workflow: String,
    /// `duration` (milliseconds from acceptance to end, of runs that succeeded), `failure_ratio` (from 0 to 1) or `cost` (US
    /// dollars, of runs that have called models, all of which have a price).
    pub(crate) metric: &'static str,
    /// `mann_whitney_u` (of two medians; ties corrected for) or `two_proportion_z`.
    pub(crate) test: &'static str,
    /// The version that is compared with.
    pub(crate) before: VersionSide,
    /// The version that is compared.
    pub(crate) after: VersionSide,
    /// How likely a run of `after` is worse than one of `before`, ties counted half: from 0 to 1, and 0.5 where they are the same. Null of
    /// ratios.
    #[schema(required)]
    pub(crate) superiority: Option<f64>,
    /// How likely chance alone would part them this far; 0.000001 at least. Null where there are too few runs to say.
    #[schema(required)]
    pub(crate) p: Option<f64>,
    /// `regression` or `improvement` (at least 20 runs each, `p` at most 0.01, and a difference that counts: a superiority of 0.56
    /// and 5 % of a median, or 1 % of all runs), `none`, or `too_few_runs`.
    pub(crate) verdict: &'static str,
    /// Runs of `after` that are the worst.
    pub(crate) examples: Vec<ExampleRun>,
}

/// One version's part in a comparison.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionSide {
    pub(crate) version: u32,
    /// Runs that count.
    pub(crate) runs: u64,
    /// The median, or the ratio; null without runs.
    #[schema(required)]
    pub(crate) value: Option<f64>,
}

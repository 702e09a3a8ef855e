//! Looking back at runs.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};

/// What to look back at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnalysisQuery {
    /// At runs that were accepted at or after this time only, RFC 3339.
    pub from: Option<String>,
    /// At runs that were accepted before this time only, RFC 3339.
    pub to: Option<String>,
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// Of two versions of it only, which are compared: `1,2`.
    pub versions: Option<String>,
}

/// What runs tell.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Analysis {
    /// From when on they were accepted.
    pub from: DateTime<Utc>,
    /// Before when.
    pub to: DateTime<Utc>,
    /// Of which workflow, if of one only.
    pub workflow: Option<String>,
    /// How many of them were looked at.
    pub coverage: Coverage,
    /// How they stand.
    pub runs: RunCounts,
    /// The nodes that decide how long they take.
    #[serde(default)]
    pub critical_path: Findings<CriticalNode>,
    /// What they wait for.
    #[serde(default)]
    pub waiting: Findings<WorkflowWaiting>,
    /// What fails.
    #[serde(default)]
    pub hot_spots: Findings<HotSpot>,
    /// What calls to models cost.
    #[serde(default)]
    pub costs: Findings<ModelCost>,
    /// How versions differ.
    #[serde(default)]
    pub regressions: Findings<VersionComparison>,
}

/// Findings of one kind, what matters most first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Findings<T> {
    /// The first of them.
    pub items: Vec<T>,
    /// How many there are besides.
    pub others: u64,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self { items: Vec::new(), others: 0 }
    }
}

/// How many runs were looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Coverage {
    /// Those that were.
    pub examined: u64,
    /// All that there are, about.
    pub total_estimated: u64,
    /// Whether those are a sample of these.
    pub sampled: bool,
    /// Why, and why costs may be missing: `runs` or `time`.
    pub limited_by: Option<String>,
}

/// How runs stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RunCounts {
    /// Ended well.
    pub succeeded: u64,
    /// Ended by an error.
    pub failed: u64,
    /// Ended by somebody.
    pub cancelled: u64,
    /// Took longer than they may.
    pub timed_out: u64,
    /// Have not ended.
    pub open: u64,
}

/// A run to look at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ExampleRun {
    /// Its id.
    pub run_id: String,
}

/// What time was spent on, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct TimeSpent {
    /// Executing.
    pub work_ms: f64,
    /// Until a worker takes it.
    pub queue_ms: f64,
    /// Before another attempt.
    pub backoff_ms: f64,
    /// Until a decision.
    pub decision_ms: f64,
    /// Until a budget has room.
    pub budget_ms: f64,
    /// Until its turn at a provider.
    pub rate_ms: f64,
    /// Until a time that the workflow names.
    pub timer_ms: f64,
    /// In attempts whose worker died.
    pub crash_ms: f64,
}

/// A node on the critical path of runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CriticalNode {
    /// The workflow.
    pub workflow: String,
    /// The node.
    pub node: String,
    /// Runs in which it was on that path.
    pub runs: u64,
    /// Which part of the time of the workflow's runs it took.
    pub share: f64,
    /// The median of what it took.
    pub p50_ms: f64,
    /// What it seldom took longer than.
    pub p95_ms: f64,
    /// What all of that was spent on.
    pub spent: TimeSpent,
    /// Runs to look at.
    pub examples: Vec<ExampleRun>,
}

/// What the runs of a workflow wait for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkflowWaiting {
    /// The workflow.
    pub workflow: String,
    /// Its runs.
    pub runs: u64,
    /// Which part of their time they waited.
    pub waiting_share: f64,
    /// What all of it was spent on.
    pub spent: TimeSpent,
    /// Runs to look at.
    pub examples: Vec<ExampleRun>,
}

/// A node that fails in some way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HotSpot {
    /// The workflow.
    pub workflow: String,
    /// The node.
    pub node: String,
    /// How it fails.
    pub code: String,
    /// Attempts at it.
    pub attempts: u64,
    /// Those that came to this.
    pub wasted_attempts: u64,
    /// What those took.
    pub wasted_ms: f64,
    /// How often the node failed for good.
    pub failed: u64,
    /// Runs to look at.
    pub examples: Vec<ExampleRun>,
}

/// What calls of a workflow to a model cost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ModelCost {
    /// The workflow.
    pub workflow: String,
    /// The model.
    pub model: String,
    /// Calls.
    pub calls: u64,
    /// Tokens of inputs and outputs.
    pub total_tokens: u64,
    /// What they cost in US dollars, where that is known.
    pub cost_usd: Option<f64>,
    /// Which part of all costs that is.
    pub share: Option<f64>,
    /// Runs to look at.
    pub examples: Vec<ExampleRun>,
}

/// How two versions of a workflow compare.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VersionComparison {
    /// The workflow.
    pub workflow: String,
    /// `duration`, `failure_ratio` or `cost`.
    pub metric: String,
    /// The test that was made.
    pub test: String,
    /// The version that is compared with.
    pub before: VersionSide,
    /// The version that is compared.
    pub after: VersionSide,
    /// How likely chance alone would part them this far.
    pub p: Option<f64>,
    /// `regression`, `improvement`, `none` or `too_few_runs`.
    pub verdict: String,
    /// Runs to look at.
    pub examples: Vec<ExampleRun>,
}

/// One version's part in that.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct VersionSide {
    /// The version.
    pub version: u32,
    /// Its runs.
    pub runs: u64,
    /// The median or the ratio, if there are any.
    pub value: Option<f64>,
}

impl Client {
    /// What the runs of a stretch of time tell; as [`Analysis`], or as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn analysis<T: DeserializeOwned>(
        &self,
        query: &AnalysisQuery,
    ) -> Result<T, ClientError> {
        let optional = [
            ("from", &query.from),
            ("to", &query.to),
            ("workflow", &query.workflow),
            ("versions", &query.versions),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given: Vec<_> = given.collect();
        self.answer(self.request(Method::GET, &["v1", "analysis"]).query(&given)).await
    }
}

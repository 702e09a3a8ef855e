//! What a server answers, as far as the command line looks at it. Fields that are not known are passed over, so
//! that the two may be of different versions.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use skein_shared::domain::state::RunState;

use super::api_key::ApiKey;
use super::waiting::{WaitingFor, known};

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last one.
    pub next_cursor: Option<String>,
}

/// The little of an accepted run that a load generator wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AcceptedRun {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

/// A run with its nodes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The version that it is pinned to.
    pub version: u32,
    /// Where it is in its life.
    pub status: String,
    /// Whether somebody asked for it to be cancelled.
    pub cancelling: bool,
    /// Whether it waits for a worker and none lives, where the server says so.
    pub no_worker: Option<bool>,
    /// What it works on.
    pub input: Option<Value>,
    /// What it yielded.
    pub output: Option<Value>,
    /// Why it did not succeed.
    pub error: Option<RunError>,
    /// Requests to providers of models, where the server says so.
    pub calls: Option<u64>,
    /// Those of them that nobody knows the price of.
    #[serde(default)]
    pub unpriced_calls: u64,
    /// Calls to models and tools that were begun, where the server says so.
    pub steps: Option<u64>,
    /// Tokens of calls to models.
    #[serde(default)]
    pub usage: Usage,
    /// What those calls cost that have a price, in US dollars; absent where none has one.
    pub cost_usd: Option<f64>,
    /// The trace that it has now.
    pub trace_id: String,
    /// The page of that trace, where the server knows of such pages.
    pub trace_url: Option<String>,
    /// The span `workflow.execute` in it.
    pub root_span_id: String,
    /// The span that published it, in its first trace.
    pub publish_span_id: String,
    /// Traces that it has left behind, the first one first.
    #[serde(default)]
    pub earlier_traces: Vec<EarlierTrace>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first node started.
    pub started_at: Option<DateTime<Utc>>,
    /// When the trace that it has now began, unless that is its first.
    pub resumed_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its nodes, as far as they are known yet.
    pub nodes: Vec<NodeRun>,
}

impl Run {
    /// Whether nothing moves it on any more. A status that is not known counts as open.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.status.parse().is_ok_and(RunState::is_terminal)
    }
}

/// Tokens of calls to models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Of inputs.
    pub input_tokens: u64,
    /// Of outputs.
    pub output_tokens: u64,
    /// Of both.
    pub total_tokens: u64,
}

/// A trace that a run has left behind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EarlierTrace {
    /// The trace.
    pub trace_id: String,
    /// The span `workflow.execute` in it.
    pub root_span_id: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Since when everything of the run waited.
    pub suspended_at: DateTime<Utc>,
}

/// A run in a listing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub id: String,
    /// The workflow's name.
    pub workflow: String,
    /// The version that it is pinned to.
    pub version: u32,
    /// Where it is in its life.
    pub status: String,
    /// Why it did not succeed.
    pub error: Option<RunError>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first node started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Why a run or a node did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunError {
    /// A stable word.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What the other side has said, or the model has answered.
    pub details: Option<String>,
    /// The node that brought the run down.
    pub node: Option<String>,
}

/// A key in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeySummary {
    /// Its id, which is not the key.
    pub id: String,
    /// What its maker has called it.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The organization that it stands for.
    pub organization: String,
    /// The workspace that it stands for.
    pub workspace: String,
    /// The user that it stands for.
    pub user: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was seen in use last.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CreatedKey {
    /// All but the key.
    #[serde(flatten)]
    pub details: KeySummary,
    /// The key itself, which the server does not know any more.
    pub key: ApiKey,
}

/// A node of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NodeRun {
    /// The node's id in the workflow.
    pub node: String,
    /// All indices around it, outermost first; empty outside of maps.
    pub scope: String,
    /// Its type.
    pub r#type: String,
    /// Where it is in its life.
    pub status: String,
    /// How often it was started.
    pub attempts: u32,
    /// The worker of its latest attempt, `host:pid`, where that is known.
    pub worker: Option<String>,
    /// What it got, where values were asked for.
    pub input: Option<Value>,
    /// What it yielded, where values were asked for.
    pub output: Option<Value>,
    /// Whether both are left out.
    #[serde(default)]
    pub values_omitted: bool,
    /// Why it failed.
    pub error: Option<RunError>,
    /// The trace of its latest attempt, if it is not the one that the run has now.
    pub trace_id: Option<String>,
    /// The span of its latest attempt.
    pub span_id: Option<String>,
    /// When it became runnable.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its latest attempt started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it goes on, while it waits for a time.
    pub wake_at: Option<DateTime<Utc>>,
    /// What it waits for, while that is not a time alone and is something that is known here.
    #[serde(default, deserialize_with = "known")]
    pub waiting_for: Option<WaitingFor>,
    /// The attempts before the latest one.
    pub earlier_attempts: Vec<Attempt>,
}

impl NodeRun {
    /// The node and which item of its maps it is for.
    #[must_use]
    pub fn label(&self) -> String {
        label(&self.node, &self.scope)
    }

    /// The number of its latest attempt, 0 before the first. An attempt that ended in a wait, or was taken back, does not count
    /// as one of [`Self::attempts`], and is one of those that are listed.
    #[must_use]
    pub fn latest_attempt(&self) -> u32 {
        let earlier = self.earlier_attempts.last().map_or(0, |last| last.attempt);
        self.attempts.max(earlier).max(u32::from(self.started_at.is_some()))
    }

    /// When its first attempt started.
    #[must_use]
    pub fn first_started_at(&self) -> Option<DateTime<Utc>> {
        self.earlier_attempts.first().map(|first| first.started_at).or(self.started_at)
    }
}

/// An attempt that did not end its node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// How it ended: `retry`, `waiting`, `released` or `crashed`.
    pub outcome: String,
    /// The worker that it ran on, `host:pid`, where that is known.
    pub worker: Option<String>,
    /// What went wrong.
    pub error: Option<RunError>,
    /// The trace of its span, if it is not the one that the run has now.
    pub trace_id: Option<String>,
    /// Its span.
    pub span_id: Option<String>,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
}

/// Text that a model yields right now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LiveText {
    /// The node.
    pub node: String,
    /// All indices around it, outermost first; empty outside of maps.
    pub scope: String,
    /// The number of the call within the node.
    pub step: u32,
    /// The number of the event within the call.
    pub seq: u64,
    /// The text.
    pub text: String,
}

impl LiveText {
    /// The node and which item of its maps it is for.
    #[must_use]
    pub fn label(&self) -> String {
        label(&self.node, &self.scope)
    }
}

/// A node and which item of its maps it is for.
pub(super) fn label(node: &str, scope: &str) -> String {
    if scope.is_empty() { node.to_owned() } else { format!("{node}[{scope}]") }
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LogRow {
    /// When it happened.
    pub ts: DateTime<Utc>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// A stable dotted word.
    pub event: String,
    /// What happened.
    pub message: String,
    /// The node that it is about.
    pub node: Option<String>,
    /// What goes with it.
    pub data: Option<Value>,
    /// The run's trace.
    pub trace_id: String,
    /// The span that it belongs to.
    pub span_id: String,
}

//! What is known of a run wherever it is touched.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::failure::Failure;
use super::ids::{ActivationKey, NodeKey, RunId, VersionId};
use super::state::RunState;
use super::tenant::Identity;
use super::trace::{SpanId, TraceContext, TraceId, TraceState};

/// The ids of the trace that a run has now, all of them fixed when that was opened, so that any worker can
/// parent a node span and any process can export the root. The first is opened when the run is accepted,
/// another whenever it goes on after a long wait: each shows a segment of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTrace {
    /// The trace.
    pub trace: TraceId,
    /// The API's publish span: the parent of `workflow.execute` in the first segment.
    pub publish: SpanId,
    /// The reserved id of `workflow.execute`: the parent of every node span.
    pub root: SpanId,
    /// W3C trace flags: whether the trace is sampled, decided once, when the run was accepted.
    pub flags: u8,
    /// What the caller's systems have added to it; passed on with everything that leaves. Not in later segments: those
    /// are traces that no caller knows.
    pub state: Option<TraceState>,
}

impl RunTrace {
    /// The context that children of `workflow.execute` continue.
    #[must_use]
    pub fn root_context(&self) -> TraceContext {
        TraceContext { trace: self.trace, span: self.root, flags: self.flags }
    }

    /// The context of any span of this trace.
    #[must_use]
    pub fn context_of(&self, span: SpanId) -> TraceContext {
        self.root_context().with_span(span)
    }
}

/// The part of a run's row that every claim brings along.
#[derive(Debug, Clone)]
pub struct RunHeader {
    /// The run.
    pub id: RunId,
    /// Whose it is.
    pub identity: Identity,
    /// The version that it is pinned to.
    pub version_id: VersionId,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The workflow's version number.
    pub version: u32,
    /// The input as JSON text.
    pub input: Arc<str>,
    /// Whether the run stops before every node. Stored and traced; nothing acts on it yet.
    pub step_mode: bool,
    /// Nodes of the workflow, for `workflow.node_count`.
    pub node_count: u32,
    /// Edges of the workflow, for `workflow.edge_count`.
    pub edge_count: u32,
    /// The ids of its trace.
    pub trace: RunTrace,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
}

/// A run that a statement has just ended. Whoever gets one exports the root span and announces the end.
#[derive(Debug, Clone)]
pub struct EndedRun {
    /// The run; `input` is left empty.
    pub header: RunHeader,
    /// A terminal state.
    pub state: RunState,
    /// What ended it, unless it succeeded or was cancelled.
    pub error: Option<Failure>,
    /// When the first node was claimed, if any was.
    pub started_at: Option<DateTime<Utc>>,
    /// How its last segment began, unless that is the first.
    pub resumed: Option<Resumption>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}

/// How a segment of a run began after a long wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumption {
    /// The number of the segment, from 2.
    pub segment: u32,
    /// When the wait was over.
    pub at: DateTime<Utc>,
    /// `workflow.execute` in the segment before.
    pub from: TraceContext,
}

/// A segment of a run that a statement has just closed, because the run went on in a new trace. Whoever gets
/// one exports its root span.
#[derive(Debug, Clone)]
pub struct ClosedSegment {
    /// The run, with the ids of the trace that is over; `input` is left empty.
    pub header: RunHeader,
    /// When the first node of the run was claimed.
    pub started_at: DateTime<Utc>,
    /// How the segment began, unless it is the first.
    pub resumed: Option<Resumption>,
    /// Since when everything waited.
    pub suspended_at: DateTime<Utc>,
    /// `workflow.execute` in the segment that follows.
    pub next: TraceContext,
}

/// An attempt that nobody goes on with: its worker died, or gave it back. Whoever gets one exports its span.
#[derive(Debug, Clone)]
pub struct AbandonedAttempt {
    /// The run; `input` is left empty.
    pub header: RunHeader,
    /// What was being run.
    pub key: ActivationKey,
    /// The node's kind, for the span's name.
    pub kind: Arc<str>,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// The span id that the attempt had reserved.
    pub span: SpanId,
    /// When it was claimed.
    pub started_at: DateTime<Utc>,
    /// When it was found dead, or given back.
    pub ended_at: DateTime<Utc>,
    /// Whether its worker died or stalled under it.
    pub is_crash: bool,
    /// Whether another attempt follows.
    pub is_retried: bool,
    /// The nodes whose tokens made it runnable, with their spans; those of a crash, as far as they could be found out.
    pub upstream: Vec<(NodeKey, TraceContext)>,
}

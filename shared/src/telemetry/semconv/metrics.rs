//! The names of metrics, and the labels that only metrics have: a public contract like the names beside it.
//!
//! The sentence of a metric begins with its instrument and its unit, as in "Counter, `{event}`: ", and after ", by" it
//! names its labels. Tests hold `deploy/signoz/METRICS.md`, and what processes really export, to these sentences.

// Runs and nodes.

/// Histogram, `s`: from the claim of a run's first node to its end, by [`super::WORKFLOW_STATUS`].
pub const METRIC_RUN_DURATION: &str = "workflow.run.duration";
/// Histogram, `s`: one attempt of a node, by [`super::NODE_TYPE`] and [`super::NODE_STATUS`].
pub const METRIC_NODE_DURATION: &str = "node.execution.duration";

// Queue and broker.

/// Histogram, `s`: from runnable to received by a worker, by [`super::MESSAGING_SYSTEM`].
pub const METRIC_QUEUE_WAIT: &str = "workflow.queue.wait";
/// Counter, `{event}`: live events that were lost in this process, by [`LIVE_LOST_BY`].
pub const METRIC_LIVE_LOST: &str = "workflow.live.lost";
/// Why live events were lost: `queue_full`, `broker_unavailable` or `slow_listener`. String.
pub const LIVE_LOST_BY: &str = "workflow.live.lost_by";

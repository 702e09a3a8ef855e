//! The names of metrics, and the labels that only metrics have: a public contract like the names beside it.
//!
//! The sentence of a metric begins with its instrument and its unit, as in "Counter, `{event}`: ", and after ", by" it
//! names its labels. Tests hold `deploy/signoz/METRICS.md`, and what processes really export, to these sentences.

// Runs and nodes.

/// Histogram, `s`: from the claim of a run's first node to its end, by [`super::WORKFLOW_STATUS`].
pub const METRIC_RUN_DURATION: &str = "workflow.run.duration";
/// Histogram, `s`: one attempt of a node, by [`super::NODE_TYPE`] and [`super::NODE_STATUS`].
pub const METRIC_NODE_DURATION: &str = "node.execution.duration";

// What is open in the whole installation. One process at a time sends these, whichever; see `metrics/state.rs`.

/// Gauge, `{run}`: runs that have not ended, by [`WORKFLOW_STATE`].
pub const METRIC_OPEN_RUNS: &str = "workflow.runs.open";
/// The state of a run: `queued`, `running` or `suspended`. String.
pub const WORKFLOW_STATE: &str = "workflow.state";
/// Gauge, `{node}`: nodes that have not ended, by [`NODE_STATE`].
pub const METRIC_OPEN_NODES: &str = "workflow.nodes.open";
/// The state of a node: `blocked`, `queued`, `running`, `retry`, `waiting`, `held`, `uncertain` or `skipping`. String.
pub const NODE_STATE: &str = "node.state";
/// Gauge, `s`: how long the oldest node that could run has waited for a worker; 0 when none waits.
pub const METRIC_OLDEST_AGE: &str = "workflow.queue.oldest_age";
/// Gauge, `{timer}`: delays, retries and deadlines that have been due for more than 5 s and that nobody has acted on.
pub const METRIC_OVERDUE_TIMERS: &str = "workflow.timers.overdue";
/// Gauge, `{worker}`: workers whose lease lives.
pub const METRIC_LIVE_WORKERS: &str = "workflow.workers.live";
/// Gauge, `{message}`: messages that are ready in a queue, by [`super::MESSAGING_DESTINATION_NAME`].
pub const METRIC_QUEUE_DEPTH: &str = "workflow.queue.depth";

// Queue and broker.

/// Histogram, `s`: from runnable to received by a worker, by [`super::MESSAGING_SYSTEM`].
pub const METRIC_QUEUE_WAIT: &str = "workflow.queue.wait";
/// Counter, `{event}`: live events that were lost in this process, by [`LIVE_LOST_BY`].
pub const METRIC_LIVE_LOST: &str = "workflow.live.lost";
/// Why live events were lost: `queue_full`, `broker_unavailable` or `slow_listener`. String.
pub const LIVE_LOST_BY: &str = "workflow.live.lost_by";

// Database.

/// Histogram, `s`: a statement, from the wait for a connection to the last row of its answer, by
/// [`super::DB_OPERATION_NAME`], [`super::DB_SYSTEM_NAME`] and [`super::ERROR_TYPE`].
pub const METRIC_DB_OPERATION_DURATION: &str = "db.client.operation.duration";
/// UpDownCounter, `{connection}`: open connections, by [`DB_POOL_NAME`] and [`DB_CONNECTION_STATE`].
pub const METRIC_DB_CONNECTION_COUNT: &str = "db.client.connection.count";
/// UpDownCounter, `{connection}`: connections that there may be at most, by [`DB_POOL_NAME`].
pub const METRIC_DB_CONNECTION_MAX: &str = "db.client.connection.max";
/// UpDownCounter, `{request}`: statements that wait for a connection, by [`DB_POOL_NAME`].
pub const METRIC_DB_CONNECTION_PENDING: &str = "db.client.connection.pending_requests";
/// Counter, `{timeout}`: waits for a connection that ended without one, by [`DB_POOL_NAME`].
pub const METRIC_DB_CONNECTION_TIMEOUTS: &str = "db.client.connection.timeouts";
/// Which connections: the server and the database, or the file and what they are for. String.
pub const DB_POOL_NAME: &str = "db.client.connection.pool.name";
/// `used` or `idle`. String.
pub const DB_CONNECTION_STATE: &str = "db.client.connection.state";

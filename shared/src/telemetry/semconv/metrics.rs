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

//! The names of metrics, and the labels that only metrics have: a public contract like the names beside it.
//!
//! The sentence of a metric begins with its instrument and its unit, as in "Counter, `{event}`: ", and after ", by" it
//! names its labels. Tests hold `deploy/signoz/METRICS.md`, and what processes really export, to these sentences.

// Runs and nodes.

/// Counter, `{run}`: runs that the API has accepted; a request that is repeated makes none.
pub const METRIC_RUNS_ACCEPTED: &str = "workflow.runs.accepted";
/// Histogram, `s`: from the claim of a run's first node to its end, by [`super::WORKFLOW_STATUS`].
pub const METRIC_RUN_DURATION: &str = "workflow.run.duration";
/// Histogram, `s`: one attempt of a node, by [`super::NODE_TYPE`] and [`super::NODE_STATUS`].
pub const METRIC_NODE_DURATION: &str = "node.execution.duration";
/// Counter, `{retry}`: attempts that failed and are followed by another one, by [`super::NODE_TYPE`].
pub const METRIC_NODE_RETRIES: &str = "node.retries";

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
/// Counter, `{message}`: messages that this process tried to send, by [`super::MESSAGING_SYSTEM`],
/// [`super::MESSAGING_OPERATION_NAME`], [`super::MESSAGING_DESTINATION_NAME`] and [`super::ERROR_TYPE`].
pub const METRIC_SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// Counter, `{message}`: messages that were delivered to this process, by [`super::MESSAGING_SYSTEM`],
/// [`super::MESSAGING_OPERATION_NAME`] and [`super::MESSAGING_DESTINATION_NAME`].
pub const METRIC_CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// Histogram, `s`: one `publish` of a batch up to its last confirm, or one `ack`, `requeue` or `reject` of a delivery, by
/// [`super::MESSAGING_SYSTEM`], [`super::MESSAGING_OPERATION_NAME`], [`super::MESSAGING_DESTINATION_NAME`] and
/// [`super::ERROR_TYPE`].
pub const METRIC_MESSAGING_DURATION: &str = "messaging.client.operation.duration";
/// Histogram, `s`: a delivery from its receipt to its settlement, which has a claim in between, by
/// [`super::MESSAGING_SYSTEM`], [`super::MESSAGING_OPERATION_NAME`], [`super::MESSAGING_DESTINATION_NAME`] and
/// [`super::ERROR_TYPE`].
pub const METRIC_PROCESS_DURATION: &str = "messaging.process.duration";
/// UpDownCounter, `{message}`: messages that were sent and that the broker has not confirmed yet.
pub const METRIC_CONFIRMS_PENDING: &str = "broker.confirms.pending";
/// Counter, `{message}`: messages that came back because no queue is bound.
pub const METRIC_MESSAGES_RETURNED: &str = "broker.messages.returned";
/// Counter, `{message}`: messages that the broker refused: a full queue, or one without a leader.
pub const METRIC_MESSAGES_NACKED: &str = "broker.messages.nacked";
/// Counter, `s`: for how long connections of this process were blocked by an alarm of the broker, all together.
pub const METRIC_BLOCKED_TIME: &str = "broker.blocked.time";
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

// Workers and sweepers.

/// UpDownCounter, `{slot}`: places for nodes that run, of this process, by [`LABEL_SLOT_STATE`].
pub const METRIC_WORKER_SLOTS: &str = "worker.slots";
/// Whether something runs in a slot: `used` or `free`. String.
pub const LABEL_SLOT_STATE: &str = "worker.slot.state";
/// Counter, `{claim}`: claims that messages led to, by [`LABEL_CLAIM_RESULT`].
pub const METRIC_WORKER_CLAIMS: &str = "worker.claims";
/// What came of a claim: `claimed`, or `missed` where somebody else has the row or it is over. String.
pub const LABEL_CLAIM_RESULT: &str = "worker.claim.result";
/// Counter, `{commit}`: commits that came too late, because the row had been taken back.
pub const METRIC_COMMITS_FENCED: &str = "worker.commits.fenced";
/// Counter, `{node}`: nodes that went on only because a sweeper found them, by [`LABEL_RESCUE_REASON`].
pub const METRIC_RESCUES: &str = "sweeper.rescues";
/// Why a node had to be brought back: `crashed` (its worker died or held it too long), `released` (its worker claimed it
/// under a lease that was closed by then) or `message_lost` (nobody was woken for it in time). String.
pub const LABEL_RESCUE_REASON: &str = "sweeper.rescue.reason";
/// Histogram, `{row}`: requests that one application of a batch carried, by [`LABEL_BATCH_NAME`].
pub const METRIC_BATCH_ROWS: &str = "store.batch.rows";
/// Histogram, `s`: one application of a batch to the store, also one that failed, by [`LABEL_BATCH_NAME`].
pub const METRIC_BATCH_DURATION: &str = "store.batch.duration";
/// Which batcher: `accept`, `claims`, `reads`, `commits`, `journals`, `steps`, `rooms` or `starts`. String.
pub const LABEL_BATCH_NAME: &str = "store.batch.name";

// HTTP.

/// Histogram, `s`: a request to the API, up to the last byte of its answer, by [`super::HTTP_REQUEST_METHOD`],
/// [`super::URL_SCHEME`], [`super::HTTP_ROUTE`], [`super::HTTP_RESPONSE_STATUS_CODE`] and [`super::ERROR_TYPE`].
pub const METRIC_HTTP_SERVER_DURATION: &str = "http.server.request.duration";
/// UpDownCounter, `{request}`: requests to the API that are open, waits and streams included, by
/// [`super::HTTP_REQUEST_METHOD`] and [`super::URL_SCHEME`].
pub const METRIC_HTTP_SERVER_ACTIVE: &str = "http.server.active_requests";
/// Histogram, `s`: a request to the outside, by [`super::HTTP_REQUEST_METHOD`], [`super::SERVER_ADDRESS`] (`other` for
/// all but the providers of models, because workflows choose their hosts), [`super::URL_SCHEME`],
/// [`super::HTTP_RESPONSE_STATUS_CODE`] and [`super::ERROR_TYPE`].
pub const METRIC_HTTP_CLIENT_DURATION: &str = "http.client.request.duration";

// Models, agents and budgets.

/// Histogram, `{token}`: tokens of a call, where its provider has counted them, by [`super::GEN_AI_OPERATION_NAME`],
/// [`super::GEN_AI_PROVIDER_NAME`], [`super::GEN_AI_REQUEST_MODEL`] and [`LABEL_TOKEN_TYPE`].
pub const METRIC_TOKEN_USAGE: &str = "gen_ai.client.token.usage";
/// Which tokens: `input`, cached ones included, or `output`. String.
pub const LABEL_TOKEN_TYPE: &str = "gen_ai.token.type";
/// Histogram, `s`: a call to a model, by [`super::GEN_AI_OPERATION_NAME`], [`super::GEN_AI_PROVIDER_NAME`],
/// [`super::GEN_AI_REQUEST_MODEL`] and [`super::ERROR_TYPE`].
pub const METRIC_MODEL_DURATION: &str = "gen_ai.client.operation.duration";
/// Counter, `{USD}`: what calls to models were settled for, estimates of lost ones included, by
/// [`super::GEN_AI_PROVIDER_NAME`] and [`super::GEN_AI_REQUEST_MODEL`].
pub const METRIC_LLM_COST: &str = "llm.cost";
/// Counter, `{call}`: calls to models without a price, by [`super::GEN_AI_PROVIDER_NAME`] and
/// [`super::GEN_AI_REQUEST_MODEL`].
pub const METRIC_LLM_UNPRICED: &str = "llm.calls.unpriced";
/// Counter, `{call}`: calls of tools by agents, by [`LABEL_TOOL_KIND`] and [`LABEL_STEP_STATUS`].
pub const METRIC_TOOL_CALLS: &str = "agent.tool.calls";
/// What kind of tool: `function` for one that is called by HTTP, `extension` for one of an MCP server, `unknown` for one
/// whose call was lost with its worker. String.
pub const LABEL_TOOL_KIND: &str = "agent.tool.kind";
/// How a step ended: `succeeded`, `failed`, `refused` or `lost`. String.
pub const LABEL_STEP_STATUS: &str = "step.status";
/// Counter, `{budget}`: nodes that began to wait, or failed, because a budget has no room, by [`LABEL_BUDGET_SCOPE`].
pub const METRIC_BUDGET_EXHAUSTED: &str = "budget.exhausted";
/// Counter, `{budget}`: budgets of which so much is spent that somebody is warned, by [`LABEL_BUDGET_SCOPE`].
pub const METRIC_BUDGET_WARNINGS: &str = "budget.warnings";
/// Whose budget: `run` or `organization`. String.
pub const LABEL_BUDGET_SCOPE: &str = "budget.scope";

// Telemetry itself.

/// Counter, `{export}`: exports to the collector, by [`LABEL_SIGNAL`] and [`LABEL_EXPORT_RESULT`].
pub const METRIC_EXPORTS: &str = "telemetry.exports";
/// Counter, `{item}`: spans, log records and points of metrics that were thrown away, by [`LABEL_SIGNAL`] and
/// [`LABEL_DROP_REASON`].
pub const METRIC_ITEMS_DROPPED: &str = "telemetry.items.dropped";
/// What is exported: `traces`, `metrics` or `logs`. String.
pub const LABEL_SIGNAL: &str = "telemetry.signal";
/// How an export ended, its repetitions included: `ok` or `failed`. String.
pub const LABEL_EXPORT_RESULT: &str = "telemetry.export.result";
/// Why telemetry was thrown away: `queue_full` or `export_failed`. String.
pub const LABEL_DROP_REASON: &str = "telemetry.drop.reason";

// The process.

/// Counter, `s`: time on processors, on Linux, by [`LABEL_CPU_MODE`].
pub const METRIC_CPU_TIME: &str = "process.cpu.time";
/// What a processor did: `user` or `system`. String.
pub const LABEL_CPU_MODE: &str = "cpu.mode";
/// UpDownCounter, `By`: resident memory, on Linux.
pub const METRIC_MEMORY_USAGE: &str = "process.memory.usage";
/// UpDownCounter, `{thread}`: threads, on Linux.
pub const METRIC_THREAD_COUNT: &str = "process.thread.count";
/// UpDownCounter, `{file_descriptor}`: open files and sockets, on Linux.
pub const METRIC_FILE_DESCRIPTORS: &str = "process.unix.file_descriptor.count";
/// Gauge, `s`: since when the process runs.
pub const METRIC_UPTIME: &str = "process.uptime";
/// UpDownCounter, `{thread}`: threads of the runtime that run tasks.
pub const METRIC_RUNTIME_WORKERS: &str = "runtime.workers";
/// UpDownCounter, `{task}`: tasks of the runtime that have not ended.
pub const METRIC_RUNTIME_TASKS: &str = "runtime.tasks.alive";
/// UpDownCounter, `{task}`: tasks of the runtime that could go on and wait for any of its threads.
pub const METRIC_RUNTIME_QUEUE: &str = "runtime.queue.depth";

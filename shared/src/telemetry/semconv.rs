//! The names of spans, attributes and metrics: a public contract. Dashboards, alerts and users' queries depend
//! on every word in here, and tests assert them.
//!
//! A key has one type for ever (integers are `i64`), because backends keep a column for each type. A
//! key is set once on a span, because the SDK would export it twice.

mod metrics;

pub use metrics::*;

// Spans of the engine.

/// A whole run, from the claim of its first node to its end. INTERNAL, exported when the run has ended.
pub const SPAN_WORKFLOW_EXECUTE: &str = "workflow.execute";
/// One attempt of one node; the kind of the node follows. INTERNAL.
pub const SPAN_NODE_EXECUTE: &str = "node.execute";
/// One request to the provider of a model. CLIENT, a child of its node's attempt or of [`SPAN_AGENT_EXECUTE`].
pub const SPAN_LLM_GENERATE: &str = "llm.generate";
/// What an agent did in one attempt of its node. INTERNAL.
pub const SPAN_AGENT_EXECUTE: &str = "agent.execute";
/// One call of a tool by an agent. INTERNAL, a child of [`SPAN_AGENT_EXECUTE`].
pub const SPAN_TOOL_EXECUTE: &str = "tool.execute";
/// What the name of a PRODUCER span starts with; the exchange follows.
pub const SPAN_PUBLISH: &str = "publish";
/// What the name of a CONSUMER span starts with; the queue follows.
pub const SPAN_PROCESS: &str = "process";
/// What the name of a CLIENT span starts with that stands for a statement which serves many at a time; the statement's name
/// follows. It is in a trace of its own, and nobody's: the only span of Skein's that says of no tenant whose work it was.
pub const SPAN_BATCH: &str = "BATCH";
/// What `skein doctor` sends to find out whether spans arrive. INTERNAL, of no run.
pub const SPAN_DOCTOR: &str = "skein.doctor";

// Whose work it is; on every span and every log record of a run.

/// Who asked for the work. String.
pub const USER_ID: &str = "user.id";
/// The tenant. String.
pub const ORGANIZATION_ID: &str = "organization.id";
/// A division of the tenant. String.
pub const WORKSPACE_ID: &str = "workspace.id";

// Runs.

/// The workflow's name, the same for all of its versions. String.
pub const WORKFLOW_ID: &str = "workflow.id";
/// The workflow's version number. Integer.
pub const WORKFLOW_VERSION: &str = "workflow.version";
/// The run: the key that joins everything that was ever done for it. String, a UUID.
pub const WORKFLOW_EXECUTION_ID: &str = "workflow.execution_id";
/// Whether the run stops before every node. Boolean.
pub const WORKFLOW_STEP_MODE: &str = "workflow.step_mode";
/// Nodes of the workflow. Integer.
pub const WORKFLOW_NODE_COUNT: &str = "workflow.node_count";
/// Edges of the workflow. Integer.
pub const WORKFLOW_EDGE_COUNT: &str = "workflow.edge_count";
/// `completed`, `failed` or `cancelled`; `suspended` of a segment that another one follows. String.
pub const WORKFLOW_STATUS: &str = "workflow.status";
/// Which part of the run the trace shows, from 1. A run that was suspended for long goes on in a new trace, with
/// another `workflow.execute` under the same [`WORKFLOW_EXECUTION_ID`]; the two are linked. Integer.
pub const WORKFLOW_SEGMENT: &str = "workflow.segment";
/// From the claim of the run's first node to the end of the segment, waits included, in milliseconds: of the last
/// segment, what the whole run took. Integer.
pub const WORKFLOW_LATENCY_MS: &str = "workflow.latency_ms";
/// How long the work sat in a queue before a worker took it, in milliseconds. Integer.
pub const WORKFLOW_QUEUE_WAIT_MS: &str = "workflow.queue_wait_ms";
/// Why a wake-up was sent: `start`, `next` or `due`. String.
pub const WORKFLOW_WAKEUP_REASON: &str = "workflow.wakeup.reason";
/// Whether a wake-up led to a claim; a duplicate does not. Boolean.
pub const WORKFLOW_WAKEUP_CLAIMED: &str = "workflow.wakeup.claimed";
/// The event of a [`SPAN_PROCESS`] span at which the store had answered that the row is this worker's.
pub const EVENT_CLAIMED: &str = "claimed";

// Nodes.

/// The node's id within its workflow. String.
pub const NODE_ID: &str = "node.id";
/// The kind of node: `http`, `transform` ... String.
pub const NODE_TYPE: &str = "node.type";
/// Which repetition of the node, where a map or a loop repeats it. String, as `3/0`.
pub const NODE_SCOPE: &str = "node.scope";
/// `completed` or `failed` for an attempt that ended by itself; `waiting` for one that parked the node,
/// `cancelled` for one that was stopped, `released` for one that its worker gave back. String.
pub const NODE_STATUS: &str = "node.status";
/// Attempts so far, this one included. Integer.
pub const NODE_ATTEMPTS: &str = "node.attempts";
/// Whether another attempt follows the failed one. Boolean.
pub const NODE_RETRY: &str = "node.retry";
/// How long the attempt took, in milliseconds. Integer.
pub const NODE_LATENCY_MS: &str = "node.latency_ms";
/// How long the node was runnable before it was claimed, in milliseconds; absent where its worker went on inline. Integer.
pub const NODE_QUEUE_WAIT_MS: &str = "node.queue_wait_ms";
/// From the end of the attempt until what it came to was durable, in milliseconds. Integer.
pub const NODE_COMMIT_MS: &str = "node.commit_ms";
/// What the node waits for after the attempt: `time`, `decision`, `rate`, `budget`, or `backoff` before it is tried again.
/// String.
pub const NODE_WAIT_TYPE: &str = "node.wait.type";
/// How long it is to wait then, in milliseconds; absent where no time ends it. Integer.
pub const NODE_WAIT_MS: &str = "node.wait_ms";
/// Set on an attempt that goes on after a wait, under the same number in [`NODE_ATTEMPTS`]: a wait is none. Boolean.
pub const NODE_RESUMED: &str = "node.resumed";
/// What went wrong, as a user reads it. String.
pub const NODE_ERROR: &str = "node.error";
/// What went wrong, as a program reads it: a stable word. String.
pub const NODE_ERROR_CODE: &str = "node.error_code";
/// The ids of the nodes whose spans are linked; backends drop the attributes of links. Strings.
pub const NODE_UPSTREAM: &str = "node.upstream";
/// Set when there were more upstream nodes than a span may have links. Boolean.
pub const NODE_UPSTREAM_TRUNCATED: &str = "node.upstream_truncated";

// Rows of a run's log, as log records.

/// The id of the row in `event_logs`; with [`WORKFLOW_EXECUTION_ID`] it names one row. String.
pub const LOG_RECORD_UID: &str = "log.record.uid";
/// What happened, as a stable dotted word: `node.failed` ... The record's own event name is the same; backends filter by
/// attributes. String.
pub const EVENT_NAME: &str = "event.name";
/// What goes with it, as JSON, cut to 4 KiB. String.
pub const EVENT_DATA: &str = "event.data";

// Steps.

/// The number of the step within its node, from 1. Integer.
pub const STEP_NUMBER: &str = "step.number";
/// Which of its tries, from 1: more than 1 when earlier ones were refused or lost. Integer.
pub const STEP_ATTEMPT: &str = "step.attempt";

// Models.

/// What Skein calls the provider: `openai`, `anthropic`, `google`, or a name that the operator has given. String.
pub const LLM_PROVIDER: &str = "llm.provider";
/// The model that was asked for. String.
pub const LLM_MODEL: &str = "llm.model";
/// Tokens of the input, cached ones included, that the call was settled for: see [`LLM_ESTIMATED`]. Integer.
pub const LLM_INPUT_TOKENS: &str = "llm.input_tokens";
/// Tokens of the output that the call was settled for. Integer.
pub const LLM_OUTPUT_TOKENS: &str = "llm.output_tokens";
/// Tokens of input and output. Integer.
pub const LLM_TOTAL_TOKENS: &str = "llm.total_tokens";
/// What the call cost in US dollars; absent where the model has no price. Double.
pub const LLM_COST_USD: &str = "llm.cost_usd";
/// Whether tokens and cost are the most that the call could come to, because its provider has not counted. What was
/// refused is known to be nothing. Boolean.
pub const LLM_ESTIMATED: &str = "llm.estimated";
/// How long the call took, in milliseconds. Integer.
pub const LLM_LATENCY_MS: &str = "llm.latency_ms";

// Agents. Their tokens and costs are sums over their calls, and stand under no name that backends sum up.

/// Which agent: workflow and node. String, as `digest/research`.
pub const AGENT_ID: &str = "agent.id";
/// How it goes about its goal: `react` ... String.
pub const AGENT_FRAMEWORK: &str = "agent.framework";
/// What sort of agent: `tool_calling`. String.
pub const AGENT_TYPE: &str = "agent.type";
/// The provider of its model. String.
pub const AGENT_PROVIDER: &str = "agent.provider";
/// Its model. String.
pub const AGENT_MODEL: &str = "agent.model";
/// Tokens of all its calls. Integer.
pub const AGENT_TOKENS_USED: &str = "agent.tokens_used";
/// What all its calls cost in US dollars. Double.
pub const AGENT_COST: &str = "agent.cost";
/// How often it asked its model. Integer.
pub const AGENT_ITERATIONS: &str = "agent.iterations";

// What Skein says of a span itself.

/// Set on a span that was made once more from the database, by `GET /v1/runs/{id}/spans`: a backend may have it already, so
/// nothing is to be counted by it. Boolean.
pub const SKEIN_REBUILT: &str = "skein.rebuilt";

// OpenTelemetry: generative AI, as of its conventions 1.41.

/// `chat`, `execute_tool` or `invoke_agent`. String.
pub const GEN_AI_OPERATION_NAME: &str = "gen_ai.operation.name";
/// What the conventions call the provider: `openai`, `anthropic`, `gcp.gemini` ... String.
pub const GEN_AI_PROVIDER_NAME: &str = "gen_ai.provider.name";
/// The model that was asked for; on [`SPAN_LLM_GENERATE`] only, which is how backends know one. String.
pub const GEN_AI_REQUEST_MODEL: &str = "gen_ai.request.model";
/// Tokens that the model may answer with. Integer.
pub const GEN_AI_REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
/// How freely the model chooses. Double.
pub const GEN_AI_REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
/// From how much of the probability the model chooses. Double.
pub const GEN_AI_REQUEST_TOP_P: &str = "gen_ai.request.top_p";
/// What makes the model choose the same again. Integer.
pub const GEN_AI_REQUEST_SEED: &str = "gen_ai.request.seed";
/// What ends the answer. Strings.
pub const GEN_AI_REQUEST_STOP_SEQUENCES: &str = "gen_ai.request.stop_sequences";
/// Whether somebody may read along. Boolean.
pub const GEN_AI_REQUEST_STREAM: &str = "gen_ai.request.stream";
/// `text` or `json`. String.
pub const GEN_AI_OUTPUT_TYPE: &str = "gen_ai.output.type";
/// What the provider calls the answer. String.
pub const GEN_AI_RESPONSE_ID: &str = "gen_ai.response.id";
/// The model that answered. String.
pub const GEN_AI_RESPONSE_MODEL: &str = "gen_ai.response.model";
/// Why the answer ended. Strings.
pub const GEN_AI_RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
/// Seconds until the first token. Double.
pub const GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// The same, under the name that SigNoz reads. Double.
pub const GEN_AI_SERVER_TTFT: &str = "gen_ai.server.ttft";
/// Tokens of the input, cached ones included, as its provider counted them; on [`SPAN_LLM_GENERATE`] only, as backends sum
/// them up. Integer.
pub const GEN_AI_USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// Tokens of the output, as its provider counted them; on [`SPAN_LLM_GENERATE`] only. Integer.
pub const GEN_AI_USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Tokens of the input that were read from the provider's cache. Integer.
pub const GEN_AI_USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
/// Tokens of the input that were written into it. Integer.
pub const GEN_AI_USAGE_CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";
/// The messages, as JSON; only where the operator wants them. String.
pub const GEN_AI_INPUT_MESSAGES: &str = "gen_ai.input.messages";
/// The answer, as JSON; only where the operator wants it. String.
pub const GEN_AI_OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
/// The agent's name. String.
pub const GEN_AI_AGENT_NAME: &str = "gen_ai.agent.name";
/// The same as [`AGENT_ID`]. String.
pub const GEN_AI_AGENT_ID: &str = "gen_ai.agent.id";
/// The tool. String.
pub const GEN_AI_TOOL_NAME: &str = "gen_ai.tool.name";
/// `function` or `extension`. String.
pub const GEN_AI_TOOL_TYPE: &str = "gen_ai.tool.type";
/// What the model called the call. String.
pub const GEN_AI_TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
/// What it was called with, as JSON; only where the operator wants it. String.
pub const GEN_AI_TOOL_CALL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
/// What it answered; only where the operator wants it. String.
pub const GEN_AI_TOOL_CALL_RESULT: &str = "gen_ai.tool.call.result";

// OpenTelemetry: errors.

/// A low-cardinality word for what went wrong; absent when nothing did. String.
pub const ERROR_TYPE: &str = "error.type";
/// The event that backends list under "exceptions": one for each node, or run, that has failed for good.
pub const EVENT_EXCEPTION: &str = "exception";
/// The word for what went wrong, on [`EVENT_EXCEPTION`]. String.
pub const EXCEPTION_TYPE: &str = "exception.type";
/// What went wrong in a few words, the same ones each time, as backends group by them; on [`EVENT_EXCEPTION`]. String.
pub const EXCEPTION_MESSAGE: &str = "exception.message";
/// The event of a span whose work was stopped, because its run was cancelled or its worker shuts down: no error.
pub const EVENT_CANCELLED: &str = "cancelled";

// OpenTelemetry: messaging.

/// `rabbitmq` or `in_process`. String.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// `publish` or `process`. String.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// `send` or `process`. String.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// The former name of [`MESSAGING_OPERATION_NAME`], which SigNoz has a column for. String.
pub const MESSAGING_OPERATION: &str = "messaging.operation";
/// `{exchange}:{routing key}` for a publisher, with `:{queue}` for a consumer. String.
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// The routing key, on RabbitMQ. String.
pub const MESSAGING_RABBITMQ_ROUTING_KEY: &str = "messaging.rabbitmq.destination.routing_key";
/// The broker's number for the delivery, on RabbitMQ. Integer.
pub const MESSAGING_RABBITMQ_DELIVERY_TAG: &str = "messaging.rabbitmq.message.delivery_tag";
/// Whether the broker delivered the message before. Boolean.
pub const MESSAGING_MESSAGE_REDELIVERED: &str = "messaging.message.redelivered";
/// Messages that one span stands for; absent when it is one. Integer.
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
/// The run, as the key that all messages of a conversation share. String.
pub const MESSAGING_MESSAGE_CONVERSATION_ID: &str = "messaging.message.conversation_id";
/// What the broker calls the message, where it is a single one. String.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// Size of the body in bytes, of all messages together. Integer.
pub const MESSAGING_MESSAGE_BODY_SIZE: &str = "messaging.message.body.size";

// OpenTelemetry: HTTP.

/// The method, in capitals; `_OTHER` for one that HTTP does not know. String.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// The method as it came, where [`HTTP_REQUEST_METHOD`] says `_OTHER`. String.
pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
/// Which repetition of a request this is, from 1; absent on the first. Integer.
pub const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
/// The status of the response. Integer.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// The route's template, as `/v1/runs/{id}`. String.
pub const HTTP_ROUTE: &str = "http.route";
/// The former name of [`HTTP_REQUEST_METHOD`]. String.
pub const HTTP_METHOD: &str = "http.method";
/// The former name of [`URL_FULL`], on servers too. String.
pub const HTTP_URL: &str = "http.url";
/// The former name of [`HTTP_RESPONSE_STATUS_CODE`]. Integer.
pub const HTTP_STATUS_CODE: &str = "http.status_code";
/// The URL without credentials and without secrets. String.
pub const URL_FULL: &str = "url.full";
/// The path without secrets. String.
pub const URL_PATH: &str = "url.path";
/// The query without secrets; absent when there is none. String.
pub const URL_QUERY: &str = "url.query";
/// `http` or `https`. String.
pub const URL_SCHEME: &str = "url.scheme";
/// The host that was asked. String.
pub const SERVER_ADDRESS: &str = "server.address";
/// The port that was asked. Integer.
pub const SERVER_PORT: &str = "server.port";
/// The version of HTTP: `1.1`, `2` ... String.
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
/// The address of the client. String.
pub const CLIENT_ADDRESS: &str = "client.address";
/// What the client calls itself. String.
pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";

// OpenTelemetry: databases.

/// `postgresql` or `sqlite`. String.
pub const DB_SYSTEM_NAME: &str = "db.system.name";
/// The former name of [`DB_SYSTEM_NAME`], which SigNoz has a column for. String.
pub const DB_SYSTEM: &str = "db.system";
/// The database, or the file's name. String.
pub const DB_NAMESPACE: &str = "db.namespace";
/// The former name of [`DB_NAMESPACE`], which SigNoz has a column for. String.
pub const DB_NAME: &str = "db.name";
/// What Skein calls the statement: `find_run`, `commit` ... Never any of its text. String.
pub const DB_OPERATION_NAME: &str = "db.operation.name";
/// The former name of [`DB_OPERATION_NAME`], which SigNoz has a column for. String.
pub const DB_OPERATION: &str = "db.operation";
/// The same again, where the conventions look for a text of few values. String.
pub const DB_QUERY_SUMMARY: &str = "db.query.summary";
/// How many requests the statement serves; absent when it is one. Integer.
pub const DB_OPERATION_BATCH_SIZE: &str = "db.operation.batch.size";
/// The code that the database has answered with, if it refused: an SQLSTATE. String.
pub const DB_RESPONSE_STATUS_CODE: &str = "db.response.status_code";

// Resources: which process it was.

/// What kind of process. String.
pub const SERVICE_NAME: &str = "service.name";
/// The version of the program. String.
pub const SERVICE_VERSION: &str = "service.version";
/// The product that the process is a part of. String.
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// Which process of its kind; new with every start. String.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// The machine, container or pod. String.
pub const HOST_NAME: &str = "host.name";
/// The number of the process there. Integer.
pub const PROCESS_PID: &str = "process.pid";
/// The file that it runs: `skein-worker` ... String.
pub const PROCESS_EXECUTABLE_NAME: &str = "process.executable.name";
/// Where it is deployed: `production`, `staging` ... String.
pub const DEPLOYMENT_ENVIRONMENT_NAME: &str = "deployment.environment.name";
/// The former name of [`DEPLOYMENT_ENVIRONMENT_NAME`], which SigNoz filters by. String.
pub const DEPLOYMENT_ENVIRONMENT: &str = "deployment.environment";

/// The word in [`GEN_AI_PROVIDER_NAME`] for a provider of which no more is known than what Skein calls it.
#[must_use]
pub fn provider_name(provider: &str) -> &str {
    match provider {
        "google" => "gcp.gemini",
        // The others that need no setting up are called the same, and who is set up has a name of the operator's.
        other => other,
    }
}

/// The methods that HTTP defines; others are `_OTHER`, so that clients cannot invent names for spans.
const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

/// The method as an attribute, whether of a request that came in or went out.
pub(super) fn known_method(method: &str) -> Option<&'static str> {
    METHODS.iter().copied().find(|known| *known == method)
}

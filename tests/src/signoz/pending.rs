//! Names that panels and rules use already and that the program does not export yet.

/// Metrics, labels and attributes; their panels are empty, and their rules silent, until they are exported. What is exported
/// has to leave this list: the tests hold it to be exactly what is missing.
pub const PENDING: &[&str] = &[
    "agent.tool.calls",
    "agent.tool.kind",
    "broker.blocked.time",
    "broker.confirms.pending",
    "broker.messages.nacked",
    "broker.messages.returned",
    "budget.exhausted",
    "budget.scope",
    "budget.warnings",
    "gen_ai.client.operation.duration",
    "gen_ai.client.token.usage",
    "gen_ai.token.type",
    "http.client.request.duration",
    "http.server.active_requests",
    "http.server.request.duration",
    "llm.calls.unpriced",
    "llm.cost",
    "messaging.client.consumed.messages",
    "messaging.client.operation.duration",
    "messaging.client.sent.messages",
    "messaging.process.duration",
    "node.retries",
    "process.cpu.time",
    "process.memory.usage",
    "process.thread.count",
    "process.unix.file_descriptor.count",
    "process.uptime",
    "runtime.queue.depth",
    "runtime.tasks.alive",
    "runtime.workers",
    "step.status",
    "store.batch.duration",
    "store.batch.name",
    "store.batch.rows",
    "sweeper.rescue.reason",
    "sweeper.rescues",
    "telemetry.drop.reason",
    "telemetry.export.result",
    "telemetry.exports",
    "telemetry.items.dropped",
    "telemetry.signal",
    "worker.claim.result",
    "worker.claims",
    "worker.commits.fenced",
    "worker.slot.state",
    "worker.slots",
    "workflow.runs.accepted",
];

/// Whether a name is one of them.
#[must_use]
pub fn is_pending(name: &str) -> bool {
    PENDING.contains(&name)
}

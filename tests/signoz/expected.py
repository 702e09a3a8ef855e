"""What the SQL of each panel and rule has to yield for a capture, computed from its spans without SQL.

By place (`file#panel`, or the file of a rule): a function that takes the spans and returns rows as dictionaries. Columns that a row
here leaves out may be anything: an example is any of several.
"""

from collections import defaultdict
from dataclasses import replace

SLOT = 300  # seconds: what a point of a series stands for


def quantile(level, values):
    values = sorted(values)
    at = level * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def groups(spans, *keys):
    found = defaultdict(list)
    for span in spans:
        found[tuple(key(span) for key in keys)].append(span)
    return found.items()


def string(name):
    return lambda span: span.strings.get(name, "")


def number(name):
    return lambda span: span.numbers.get(name, 0)


def slot(span):
    seconds = span.start // 1_000_000_000
    return seconds - seconds % SLOT


def seconds(spans):
    return [span.duration / 1e9 for span in spans]


def failed(spans):
    return sum(span.has_error for span in spans)


def percent(spans):
    return failed(spans) * 100 / len(spans)


def total(spans, name):
    return sum(span.numbers.get(name, 0) for span in spans)


workflow, node, model = string("workflow.id"), string("node.id"), string("gen_ai.request.model")


def original(spans):
    return [span for span in spans if "skein.rebuilt" not in span.bools]


def named(name):
    return lambda spans: [span for span in original(spans) if span.name == name]


runs, calls, agents, tools = map(named, ("workflow.execute", "llm.generate", "agent.execute", "tool.execute"))


def ended(spans):
    return [span for span in runs(spans) if span.strings.get("workflow.status") != "suspended"]


def attempts(spans):
    return [span for span in original(spans) if span.name.startswith("node.execute.")]


def rows(spans, columns, *keys):
    """A row for each group: its keys and what `columns` makes of its spans."""
    names = [name for name, _ in keys]
    found = groups(spans, *(key for _, key in keys))
    return [{**dict(zip(names, values)), **{name: column(members) for name, column in columns.items()}} for values, members in found]


WF, ND = ("workflow", workflow), ("node", node)
TS = ("ts", slot)


def p95(members):
    return quantile(0.95, seconds(members))


def spending(spans):
    owners = {span.span_id: span.strings["agent.id"] for span in spans if span.name == "agent.execute"}
    paid = [span for span in calls(spans) if span.parent_span_id in owners]
    columns = {"calls": len, "tokens": lambda m: total(m, "llm.total_tokens"), "usd": lambda m: total(m, "llm.cost_usd")}
    return rows(paid, columns, ("agent", lambda span: owners[span.parent_span_id]))


def deliveries(spans):
    members = [s for s in original(spans) if s.kind == "Consumer" and s.strings.get("messaging.operation.name") == "process"]
    return rows(members, {
        "deliveries": len,
        "unclaimed_percent": lambda m: sum(not s.bools.get("workflow.wakeup.claimed", False) for s in m) * 100 / len(m),
        "redelivered": lambda m: sum(s.bools.get("messaging.message.redelivered", False) for s in m),
        "failed": failed,
        "wait_p95_ms": lambda m: quantile(0.95, [s.numbers.get("workflow.queue_wait_ms", 0) for s in m]),
    }, ("destination", string("messaging.destination.name")), ("reason", string("workflow.wakeup.reason")))


def routes(spans):
    members = [s for s in spans if s.kind == "Server" and "http.route" in s.strings]
    status = number("http.response.status_code")
    return rows(members, {
        "requests": len,
        "refused": lambda m: sum(400 <= status(s) < 500 for s in m),
        "faults": lambda m: sum(status(s) >= 500 for s in m),
        "p50_s": lambda m: quantile(0.5, seconds(m)), "p95_s": p95,
    }, ("method", string("http.request.method")), ("route", string("http.route")))


def statements(spans):
    members = [s for s in original(spans) if s.kind == "Client" and "db.system.name" in s.strings]
    return rows(members, {
        "calls": len, "failed": failed, "p95_ms": lambda m: p95(m) * 1e3, "max_ms": lambda m: max(seconds(m)) * 1e3,
    }, ("statement", string("db.operation.name")))


def failed_of(members, *keys):
    return rows([span for span in members if span.has_error], {"value": len}, TS, *keys, ("error", string("error.type")))


def failed_statements(spans):
    return failed_of([s for s in original(spans) if s.kind == "Client" and "db.system.name" in s.strings])


def failed_messages(spans):
    operation = string("messaging.operation.name")
    return failed_of([s for s in original(spans) if operation(s)], ("operation", operation))


def failure_ratio(spans):
    return [row for row in rows(ended(spans), {"value": percent, "runs": len}, WF) if row.pop("runs") >= 10]


PLACES = {
    "dashboards/workflows.json#by_workflow": lambda spans: rows(ended(spans), {
        "runs": len, "failed": failed, "failed_percent": percent, "p50_s": lambda m: quantile(0.5, seconds(m)), "p95_s": p95}, WF),
    "dashboards/workflows.json#failures": lambda spans: rows(ended(spans), {"value": percent}, TS, WF),
    "dashboards/workflows.json#p95": lambda spans: rows(ended(spans), {"value": p95}, TS, WF),
    "dashboards/workflows.json#versions": lambda spans: rows(
        ended(spans), {"runs": len, "failed_percent": percent, "p95_s": p95}, WF, ("version", number("workflow.version"))),
    "dashboards/workflows.json#slowest": lambda spans: [
        {"workflow": workflow(s), "run": s.strings["workflow.execution_id"], "trace_id": s.trace_id,
         "status": s.strings["workflow.status"], "latency_ms": s.numbers["workflow.latency_ms"]} for s in ended(spans)],
    "dashboards/workflows.json#failed": lambda spans: [
        {"workflow": workflow(s), "run": s.strings["workflow.execution_id"], "trace_id": s.trace_id, "status_message": s.message}
        for s in runs(spans) if s.has_error],
    "dashboards/workflows.json#suspended": lambda spans: rows(
        [s for s in runs(spans) if s.strings.get("workflow.status") == "suspended"],
        {"suspensions": len, "runs": lambda m: len({s.strings["workflow.execution_id"] for s in m})}, WF),
    "dashboards/nodes.json#errors": lambda spans: rows(
        [s for s in attempts(spans) if s.has_error],
        {"failed": len, "retried": lambda m: sum(s.bools.get("node.retry", False) for s in m)}, WF, ND, ("code", string("node.error_code"))),
    "dashboards/nodes.json#slow": lambda spans: rows(
        attempts(spans), {"attempts": len, "total_s": lambda m: sum(seconds(m)), "p95_s": p95}, WF, ND, ("type", string("node.type"))),
    "dashboards/nodes.json#repeated": lambda spans: [
        row for row in rows(attempts(spans), {
            "repeats": lambda m: sum(s.numbers["node.attempts"] > 1 for s in m),
            "attempts_max": lambda m: max(s.numbers["node.attempts"] for s in m)}, WF, ND) if row["repeats"]],
    "dashboards/llm.json#by_workflow": lambda spans: rows(calls(spans), {
        "calls": len, "input_tokens": lambda m: total(m, "gen_ai.usage.input_tokens"),
        "output_tokens": lambda m: total(m, "gen_ai.usage.output_tokens"), "usd": lambda m: total(m, "llm.cost_usd"),
        "unpriced": lambda m: sum("llm.cost_usd" not in s.numbers for s in m)}, WF, ("model", model)),
    "dashboards/llm.json#cost_over_time": lambda spans: rows(calls(spans), {"value": lambda m: total(m, "llm.cost_usd")}, TS, WF),
    "dashboards/llm.json#dearest": lambda spans: rows(calls(spans), {
        "calls": len, "tokens": lambda m: total(m, "llm.total_tokens"), "usd": lambda m: total(m, "llm.cost_usd")},
        WF, ("run", string("workflow.execution_id"))),
    "dashboards/llm.json#models": lambda spans: rows(calls(spans), {
        "calls": len, "failed_percent": percent, "p95_s": p95,
        "cached_percent": lambda m: total(m, "gen_ai.usage.cache_read.input_tokens") * 100 / max(total(m, "gen_ai.usage.input_tokens"), 1)},
        ("provider", string("gen_ai.provider.name")), ("model", model)),
    "dashboards/llm.json#ttft": lambda spans: rows(
        [s for s in calls(spans) if "gen_ai.server.ttft" in s.numbers],
        {"value": lambda m: quantile(0.95, [s.numbers["gen_ai.server.ttft"] for s in m])}, TS, ("model", model)),
    "dashboards/llm.json#failures": lambda spans: rows(
        [s for s in calls(spans) if s.has_error], {"failed": len}, ("provider", string("llm.provider")), ("error", string("error.type"))),
    "dashboards/llm.json#errors": lambda spans: failed_of(calls(spans), ("provider", string("llm.provider"))),
    "dashboards/agents.json#agents": lambda spans: rows(agents(spans), {
        "attempts": len, "failed": failed,
        "iterations_avg": lambda m: total(m, "agent.iterations") / len(m),
        "iterations_max": lambda m: max(s.numbers.get("agent.iterations", 0) for s in m), "p95_s": p95}, ("agent", string("agent.id"))),
    "dashboards/agents.json#spending": spending,
    "dashboards/agents.json#iterations": lambda spans: rows(
        agents(spans), {"value": lambda m: quantile(0.95, [s.numbers.get("agent.iterations", 0) for s in m])}, TS, ("agent", string("agent.id"))),
    "dashboards/agents.json#tools": lambda spans: rows(
        tools(spans), {"calls": len, "failed_percent": percent, "p95_s": p95}, WF, ND, ("tool", string("gen_ai.tool.name"))),
    "dashboards/queue.json#deliveries": deliveries,
    "dashboards/api.json#routes": routes,
    "dashboards/queue.json#failures": failed_messages,
    "dashboards/database.json#statements": statements,
    "dashboards/database.json#errors": failed_statements,
    "rules/failure-ratio.json": failure_ratio,
}


def slowed(spans):
    """For the rule run-p95, which no short capture can fire: runs of a workflow of their own, of today and of the day before."""
    model = next(span for span in ended(spans) if span.strings["workflow.status"] == "completed")

    def copies(count, back, took):
        for number in range(count):
            yield replace(
                model, start=model.start - (back + number) * 1_000_000_000, duration=took + number * 1_000_000,
                strings={**model.strings, "workflow.id": "slowed"})

    # They begin within the window: the margin around a capture is a minute.
    return list(copies(25, 0, 3_000_000_000)), list(copies(120, 6 * 3600, 800_000_000))


def run_p95(today, before):
    found, past = [], dict(groups(ended(before), workflow))
    for key, members in groups(ended(today), workflow):
        earlier = past.get(key, [])
        if len(members) >= 20 and len(earlier) >= 100 and p95(members) > 1:
            found.append({"workflow": key[0], "value": p95(members) / p95(earlier)})
    return found

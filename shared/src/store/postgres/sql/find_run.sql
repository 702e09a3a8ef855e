-- A run with its activations and their earlier attempts, as of one moment: a row for each attempt. What is large stands
-- in the first row that it belongs to and in no other.
-- $1 organization, $2 workspace, $3 run, $4 bytes of inputs and outputs to show at most, $5 attempts to show at most.
-- What it has spent is its total, whatever calls it has made.
--
-- What a value takes on disk, compressed, is known without reading it. What is beyond the limit by that measure is not
-- read to find out what it takes on the wire.
WITH total AS MATERIALIZED (
    -- By the parameters, not by the run's columns: so it is looked up by both parts of its key, whatever the planner thinks
    -- of how many totals the organization has. And once, not for each row.
    SELECT * FROM budget_totals WHERE organization_id = $1 AND bucket = 'run:' || $3::uuid
),
tried AS (
    SELECT node_key, scope, count(*) AS attempts_before FROM node_attempts WHERE run_id = $3 GROUP BY node_key, scope
),
stored AS (
    SELECT n.*, n.input IS NOT NULL OR n.output IS NOT NULL AS has_values,
           sum(coalesce(pg_column_size(n.input), 0) + coalesce(pg_column_size(n.output), 0))
               OVER (ORDER BY n.ordinal) AS stored_bytes,
           t.attempts_before IS NOT NULL AND sum(t.attempts_before) OVER (ORDER BY n.ordinal) > $5 AS attempts_omitted
    FROM node_runs n
    LEFT JOIN tried t USING (node_key, scope)
    WHERE n.run_id = $3 AND n.kind <> 'end'
),
activations AS (
    SELECT s.*, s.has_values AND (s.stored_bytes > $4 OR
               sum(CASE WHEN s.stored_bytes <= $4
                        THEN coalesce(octet_length(s.input::text), 0) + coalesce(octet_length(s.output::text), 0)
                        ELSE 0 END) OVER (ORDER BY s.ordinal) > $4) AS omitted
    FROM stored s
),
numbered AS (
    SELECT n.*, a.attempt, a.outcome, a.error AS attempt_error, a.span_id AS attempt_span_id,
           a.segment AS attempt_segment, a.worker AS attempt_worker, a.started_at AS attempt_started_at, a.ended_at AS attempt_ended_at,
           row_number() OVER (ORDER BY n.ordinal, a.claim) AS place,
           row_number() OVER (PARTITION BY n.ordinal ORDER BY a.claim) AS attempt_place
    FROM activations n
    LEFT JOIN node_attempts a ON a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
         AND NOT n.attempts_omitted
)
SELECT r.id, r.workflow, r.version, r.state, r.cancel_requested_at IS NOT NULL AS cancelling, r.step_mode, r.user_id, r.error::text AS error,
       r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state, r.segment, r.resumed_at, r.created_at, r.started_at,
       r.ended_at,
       -- Looked for once, and not at all where nobody is needed.
       r.state IN ('queued', 'running')
           AND NOT EXISTS (SELECT 1 FROM worker_leases w
                           WHERE w.state = 'live' AND w.seen_at > now() - w.ttl_ms * interval '1 ms') AS no_worker,
       CASE WHEN n.place = 1 OR n.place IS NULL THEN r.input::text END AS input,
       CASE WHEN n.place = 1 OR n.place IS NULL THEN r.output::text END AS output,
       n.node_key, n.scope, n.kind, n.state AS node_state, n.attempts, n.omitted, n.attempts_omitted,
       CASE WHEN n.attempt_place = 1 AND NOT n.omitted THEN n.input::text END AS node_input,
       CASE WHEN n.attempt_place = 1 AND NOT n.omitted THEN n.output::text END AS node_output,
       n.error::text AS node_error,
       CASE WHEN n.attempts > 0 THEN n.span_id END AS node_span_id,
       CASE WHEN n.attempts > 0 THEN s.trace_id END AS node_trace_id,
       CASE WHEN n.attempts > 0 THEN n.worker END AS node_worker,
       n.queued_at, n.started_at AS node_started_at, n.ended_at AS node_ended_at,
       CASE WHEN n.state IN ('retry', 'waiting') THEN n.wake_at END AS wake_at,
       CASE WHEN n.state = 'waiting' THEN n.waiting_for::text END AS waiting_for,
       n.attempt, n.outcome, n.attempt_error::text AS attempt_error, n.attempt_span_id,
       t.trace_id AS attempt_trace_id, n.attempt_worker, n.attempt_started_at, n.attempt_ended_at,
       r.max_nanos, r.max_tokens, r.max_steps, r.on_exhausted, r.deadline_at, b.spent_nanos, b.input_tokens, b.cached_tokens,
       b.cache_write_tokens, b.output_tokens, b.calls, b.unpriced_calls, b.steps
FROM runs r
LEFT JOIN total b ON true
LEFT JOIN numbered n ON n.run_id = r.id
-- Only segments that are over are in there: what has none is in the trace that the run has now.
LEFT JOIN run_segments s ON s.run_id = n.run_id AND s.segment = n.segment
LEFT JOIN run_segments t ON t.run_id = n.run_id AND t.segment = n.attempt_segment
WHERE r.organization_id = $1 AND r.workspace_id = $2 AND r.id = $3
ORDER BY n.place

-- An activation with its earlier attempts: a row for each attempt. The names are those of find_run.sql.
-- $1 organization, $2 workspace, $3 run, $4 node, $5 scope.
SELECT r.trace_id, n.node_key, n.scope, n.kind, n.state AS node_state, n.attempts, false AS omitted,
       false AS attempts_omitted,
       CASE WHEN row_number() OVER (ORDER BY a.claim) = 1 THEN n.input::text END AS node_input,
       CASE WHEN row_number() OVER (ORDER BY a.claim) = 1 THEN n.output::text END AS node_output,
       n.error::text AS node_error,
       CASE WHEN n.attempts > 0 THEN n.span_id END AS node_span_id,
       CASE WHEN n.attempts > 0 THEN s.trace_id END AS node_trace_id,
       CASE WHEN n.attempts > 0 THEN n.worker END AS node_worker,
       n.queued_at, n.started_at AS node_started_at, n.ended_at AS node_ended_at,
       CASE WHEN n.state IN ('retry', 'waiting') THEN n.wake_at END AS wake_at,
       CASE WHEN n.state = 'waiting' THEN n.waiting_for::text END AS waiting_for,
       a.attempt, a.outcome, a.error::text AS attempt_error, a.span_id AS attempt_span_id,
       t.trace_id AS attempt_trace_id, a.worker AS attempt_worker, a.started_at AS attempt_started_at, a.ended_at AS attempt_ended_at
FROM node_runs n
JOIN runs r ON r.id = n.run_id
LEFT JOIN node_attempts a ON a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
LEFT JOIN run_segments s ON s.run_id = n.run_id AND s.segment = n.segment
LEFT JOIN run_segments t ON t.run_id = n.run_id AND t.segment = a.segment
WHERE n.organization_id = $1 AND n.workspace_id = $2 AND n.run_id = $3 AND n.node_key = $4 AND n.scope = $5
  AND n.kind <> 'end'
ORDER BY a.claim

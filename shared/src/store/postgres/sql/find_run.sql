-- A run with its activations and their earlier attempts, as of one moment. $1 organization, $2 workspace, $3 run.
SELECT r.id, r.workflow, r.version, r.state, r.cancel_requested_at, r.step_mode, r.user_id, r.error::text AS error,
       r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.created_at, r.started_at, r.ended_at,
       r.input::text AS input, r.output::text AS output,
       n.node_key, n.scope, n.kind, n.state AS node_state, n.attempts, n.input::text AS node_input,
       n.output::text AS node_output, n.error::text AS node_error,
       CASE WHEN n.attempts > 0 THEN n.span_id END AS node_span_id,
       n.queued_at, n.started_at AS node_started_at, n.ended_at AS node_ended_at,
       CASE WHEN n.state IN ('retry', 'waiting') THEN n.wake_at END AS wake_at,
       a.attempt, a.outcome, a.error::text AS attempt_error, a.span_id AS attempt_span_id,
       a.started_at AS attempt_started_at, a.ended_at AS attempt_ended_at
FROM runs r
LEFT JOIN node_runs n ON n.run_id = r.id AND n.kind <> 'end'
LEFT JOIN node_attempts a ON a.run_id = n.run_id AND a.node_key = n.node_key AND a.scope = n.scope
WHERE r.organization_id = $1 AND r.workspace_id = $2 AND r.id = $3
ORDER BY n.ordinal, a.claim

-- Activations of a run, each with the ids of the trace that its latest attempt is in. $1 organization, $2 workspace, $3 run,
-- $4 nodes, $5 scopes.
SELECT n.node_key, n.scope, CASE WHEN n.attempts > 0 THEN n.span_id END AS node_span_id, n.ended_at AS node_ended_at,
       coalesce(s.trace_id, r.trace_id) AS trace_id, coalesce(s.root_span_id, r.root_span_id) AS root_span_id,
       r.publish_span_id, r.trace_flags,
       CASE WHEN s.run_id IS NULL THEN r.trace_state ELSE s.trace_state END AS trace_state
FROM UNNEST($4::text[], $5::text[]) w (node_key, scope)
JOIN node_runs n ON n.run_id = $3 AND n.node_key = w.node_key AND n.scope = w.scope
                AND n.organization_id = $1 AND n.workspace_id = $2
JOIN runs r ON r.id = n.run_id
LEFT JOIN run_segments s ON s.run_id = r.id AND s.segment = n.segment

-- Segments of a run that are over, with the ids of their traces. $1 organization, $2 workspace, $3 run, $4 the last one
-- seen, $5 how many.
SELECT r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode,
       r.node_count, r.edge_count, s.trace_id, r.publish_span_id, s.root_span_id, r.trace_flags,
       s.trace_state, r.created_at,
       r.started_at, s.segment, s.started_at AS resumed_at, s.resumed_from, s.suspended_at, s.resumed_as
FROM run_segments s
JOIN runs r ON r.id = s.run_id
WHERE s.run_id = $3 AND s.organization_id = $1 AND s.workspace_id = $2 AND s.segment > $4
ORDER BY s.segment
LIMIT $5

-- The segments that a sweep has closed, with the ids of their traces. $1 the call.
SELECT r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode,
       r.node_count, r.edge_count, s.trace_id, r.publish_span_id, s.root_span_id, r.trace_flags,
       s.trace_state, r.created_at,
       r.started_at, s.segment, s.started_at AS resumed_at, s.resumed_from, s.suspended_at, s.resumed_as
FROM run_segments s
JOIN runs r ON r.id = s.run_id
WHERE s.closed_by = $1

-- A run, and how it was accepted. $1 organization, $2 workspace, $3 run.
--
-- The first row of its log, as long as that is kept, names the request that it was accepted in.
SELECT r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode, r.node_count,
       r.edge_count, r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state, r.created_at,
       r.state, r.error::text AS error, r.started_at, r.ended_at, r.segment, r.resumed_at, r.resumed_from,
       coalesce(f.trace_id, r.trace_id) AS first_trace_id,
       coalesce(f.root_span_id, r.root_span_id) AS first_root_span_id,
       CASE WHEN f.run_id IS NULL THEN r.trace_state ELSE f.trace_state END AS first_trace_state,
       (SELECT CASE l.event WHEN 'run.accepted' THEN l.span_id END
        FROM (SELECT event, span_id FROM event_logs WHERE run_id = r.id ORDER BY commit_xid, id LIMIT 1) l)
           AS request_span_id,
       (SELECT count(*) FROM node_runs n WHERE n.run_id = r.id AND n.publish_span_id = r.publish_span_id) AS entries
FROM runs r
LEFT JOIN run_segments f ON f.run_id = r.id AND f.segment = 1
WHERE r.organization_id = $1 AND r.workspace_id = $2 AND r.id = $3

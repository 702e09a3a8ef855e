-- Records a decision about a step that waits for one, and wakes its node. $1 organization, $2 workspace, $3 run, $4 node,
-- $5 scope, $6 step, $7 whether it may be made, $8 error, $9 who, $10 what is logged before the tool's name, $11 why, or
-- null.
--
-- The row of the node is locked whatever its state: if it is about to wait, it is to see that there is nothing to wait
-- for any more. The run is read behind it and locked too: while the node's row was waited for, the run may have ended or gone on
-- in another trace.
WITH locked AS MATERIALIZED (
    SELECT n.run_id, n.node_key, n.scope
    FROM runs r
    JOIN node_runs n ON n.run_id = r.id
    WHERE r.id = $3 AND r.organization_id = $1 AND r.workspace_id = $2
      AND n.run_id = $3 AND n.node_key = $4 AND n.scope = $5
    FOR UPDATE OF n
),
found AS MATERIALIZED (
    SELECT r.id, r.organization_id, r.workspace_id, r.user_id, r.trace_id, r.root_span_id,
           r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended') AS is_over
    FROM locked l
    JOIN runs r ON r.id = l.run_id
    FOR SHARE OF r
),
pending AS MATERIALIZED (
    SELECT h.run_id, h.node_key, h.scope, h.step, h.attempt
    FROM locked l
    JOIN agent_trace_history h ON h.run_id = l.run_id AND h.node_key = l.node_key AND h.scope = l.scope
    WHERE h.step = $6 AND h.status = 'pending' AND h.expires_at > now() AND NOT (SELECT is_over FROM found)
    FOR UPDATE OF h
),
decided AS (
    UPDATE agent_trace_history h
    SET status = CASE WHEN $7 THEN 'approved' ELSE 'denied' END, decided_by = $9, error = $8::json,
        ended_at = CASE WHEN $7 THEN NULL ELSE now() END
    FROM pending p
    WHERE h.run_id = p.run_id AND h.node_key = p.node_key AND h.scope = p.scope AND h.step = p.step AND h.attempt = p.attempt
    RETURNING h.run_id, h.node_key, h.scope, h.name
),
woken AS (
    UPDATE node_runs n
    SET signalled = true,
        wake_at   = CASE WHEN n.state = 'waiting' AND n.waiting_for::text LIKE '{"type":"decision"%' THEN now()
                         ELSE n.wake_at END
    FROM decided d
    WHERE n.run_id = d.run_id AND n.node_key = d.node_key AND n.scope = d.scope
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message, data,
                            trace_id, span_id)
    SELECT f.organization_id, f.workspace_id, f.user_id, f.id, d.node_key, d.scope, 'info', 'node.decided',
           $10::text || d.name,
           -- Not what the tool would be called with.
           json_build_object('step', $6::bigint, 'tool', d.name, 'approved', $7::boolean, 'by', $9::text,
                             'reason', $11::text),
           f.trace_id, f.root_span_id
    FROM decided d
    JOIN found f ON f.id = d.run_id
    -- log: written
)
-- log: answer
SELECT EXISTS (SELECT 1 FROM decided) AS is_recorded,
       (SELECT min(h.step)
        FROM agent_trace_history h
        WHERE h.run_id = l.run_id AND h.node_key = l.node_key AND h.scope = l.scope AND h.status = 'pending'
          AND h.expires_at > now() AND NOT (SELECT is_over FROM found)) AS pending_step
FROM locked l

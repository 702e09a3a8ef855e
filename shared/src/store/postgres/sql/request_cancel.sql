-- $1 organization, $2 workspace, $3 run.
WITH found AS (
    SELECT id, state FROM runs WHERE id = $3 AND organization_id = $1 AND workspace_id = $2
),
asked AS (
    UPDATE runs r
    SET cancel_requested_at = now(), cancel_state = 'cancelled', wake_at = now()
    FROM found f
    WHERE r.id = f.id AND r.state IN ('queued', 'running', 'suspended') AND r.cancel_requested_at IS NULL
    RETURNING r.id, r.organization_id, r.workspace_id, r.user_id, r.trace_id, r.root_span_id
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, trace_id, span_id)
    SELECT organization_id, workspace_id, user_id, id, 'warn', 'run.cancel_requested', 'cancellation requested',
           trace_id, root_span_id
    FROM asked
    -- log: written
)
-- log: answer
SELECT state FROM found

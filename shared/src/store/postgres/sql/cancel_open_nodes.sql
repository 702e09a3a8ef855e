-- First half of finishing: cancels what is not running. $1 runs.
WITH over AS (
    SELECT id, user_id, trace_id, root_span_id
    FROM runs
    WHERE id = ANY($1) AND (cancel_requested_at IS NOT NULL OR state NOT IN ('queued', 'running', 'suspended'))
),
locked AS MATERIALIZED (
    SELECT n.run_id, n.node_key, n.scope
    FROM node_runs n
    WHERE n.run_id IN (SELECT id FROM over)
      AND n.state IN ('blocked', 'queued', 'retry', 'waiting', 'held', 'uncertain', 'skipping')
    -- A commit locks the rows that it flips before the joins that it delivers to, so blocked rows come last.
    ORDER BY n.state = 'blocked', n.run_id, n.node_key, n.scope
    FOR UPDATE
),
cancelled AS (
    UPDATE node_runs n
    SET state = 'cancelled', wake_at = NULL, ended_at = now()
    FROM locked l
    WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope
    RETURNING n.run_id, n.node_key, n.scope, n.kind, n.organization_id, n.workspace_id
)
INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                        trace_id, span_id)
SELECT c.organization_id, c.workspace_id, o.user_id, c.run_id, c.node_key, c.scope, 'info', 'node.cancelled',
       c.kind || ' node ' || c.node_key || ' cancelled', o.trace_id, o.root_span_id
FROM cancelled c
JOIN over o ON o.id = c.run_id
WHERE c.kind <> 'end'

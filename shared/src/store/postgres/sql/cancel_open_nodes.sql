-- First half of finishing: cancels what is not running, a page of each run. $1 runs, $2 rows of each at most.
--
-- Rows that somebody holds are left for another time. So this waits for nobody and can be part of no deadlock, in
-- whatever order the others lock what: which rows are joins, and so are locked last by a commit, may have changed by
-- the time that they are locked.
WITH over AS (
    SELECT id, user_id, trace_id, root_span_id
    FROM runs
    WHERE id = ANY($1) AND (cancel_requested_at IS NOT NULL OR state NOT IN ('queued', 'running', 'suspended'))
),
locked AS MATERIALIZED (
    SELECT p.*
    FROM over o
    CROSS JOIN LATERAL (
        SELECT n.run_id, n.node_key, n.scope
        FROM node_runs n
        WHERE n.run_id = o.id
          AND n.state IN ('blocked', 'queued', 'retry', 'waiting', 'held', 'uncertain', 'skipping')
        ORDER BY n.node_key, n.scope
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ) p
),
cancelled AS (
    UPDATE node_runs n
    SET state = 'cancelled', wake_at = NULL, ended_at = now()
    FROM locked l
    WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope
    RETURNING n.run_id, n.node_key, n.scope, n.kind, n.organization_id, n.workspace_id
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            trace_id, span_id)
    SELECT c.organization_id, c.workspace_id, o.user_id, c.run_id, c.node_key, c.scope, 'info', 'node.cancelled',
           c.kind || ' node ' || c.node_key || ' cancelled', o.trace_id, o.root_span_id
    FROM cancelled c
    JOIN over o ON o.id = c.run_id
    WHERE c.kind <> 'end'
    -- log: written
)
-- log: answer
SELECT run_id, count(*) AS cancelled FROM cancelled GROUP BY run_id

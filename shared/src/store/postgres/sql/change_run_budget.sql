-- Sets the budget of a run, and wakes what waits for it or is about to. $1 organization, $2 workspace, $3 run, $4 to $6
-- limits, $7 what becomes of a node that they stop, $8 deadline, $9 data to log.
--
-- Nodes before runs, totals last. A node that nobody had heard of when this began may be refused by the limits of before
-- and wait: signal_nodes.sql, which begins when this is done, sees it.
WITH found AS (
    SELECT id
    FROM runs
    WHERE id = $3 AND organization_id = $1 AND workspace_id = $2
),
locked AS MATERIALIZED (
    SELECT n.run_id, n.node_key, n.scope
    FROM found f
    JOIN node_runs n ON n.run_id = f.id
    WHERE n.state IN ('running', 'waiting')
    ORDER BY n.run_id, n.node_key, n.scope
    FOR UPDATE OF n
),
signalled AS (
    UPDATE node_runs n
    SET signalled = true,
        wake_at   = CASE WHEN n.state = 'waiting' AND n.waiting_for::text LIKE '{"type":"budget"%' THEN now()
                         ELSE n.wake_at END
    FROM locked l
    WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope
    RETURNING 1
),
to_change AS MATERIALIZED (
    SELECT r.id
    FROM found f
    JOIN runs r ON r.id = f.id
    WHERE r.state IN ('queued', 'running', 'suspended') AND r.cancel_requested_at IS NULL
      AND (SELECT count(*) FROM signalled) >= 0
    FOR UPDATE OF r
),
changed AS (
    UPDATE runs r
    SET max_nanos = $4, max_tokens = $5, max_steps = $6, on_exhausted = $7, deadline_at = $8, deadline_due_at = $8
    FROM to_change c
    WHERE r.id = c.id
    RETURNING r.id, r.organization_id, r.workspace_id, r.user_id, r.trace_id, r.root_span_id
),
warned_anew AS (
    UPDATE budget_totals t
    SET warned = false
    FROM changed c
    WHERE t.organization_id = c.organization_id AND t.bucket = 'run:' || c.id
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, data, trace_id, span_id)
    SELECT organization_id, workspace_id, user_id, id, 'info', 'budget.changed', 'the budget of the run was changed',
           $9::json, trace_id, root_span_id
    FROM changed
)
SELECT EXISTS (SELECT 1 FROM changed) AS is_changed FROM found

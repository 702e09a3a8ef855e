-- Wakes what waits for the budget of a run, and notes on what works that it has changed. $1 run.
WITH locked AS MATERIALIZED (
    SELECT run_id, node_key, scope
    FROM node_runs
    WHERE run_id = $1 AND state IN ('running', 'waiting')
    ORDER BY run_id, node_key, scope
    FOR UPDATE
)
UPDATE node_runs n
SET signalled = true,
    wake_at   = CASE WHEN n.state = 'waiting' AND n.waiting_for::text LIKE '{"type":"budget"%' THEN now() ELSE n.wake_at END
FROM locked l
WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope

-- Wakes what waits for the budget of a run, and notes on what works that it has changed: a page of its nodes, in the order of
-- their keys. $1 run, $2 and $3 the last node seen, $4 how many. Answers with the last of the page.
WITH locked AS MATERIALIZED (
    SELECT run_id, node_key, scope
    FROM node_runs
    WHERE run_id = $1 AND (node_key, scope) > ($2, $3) AND state IN ('running', 'waiting')
    ORDER BY run_id, node_key, scope
    LIMIT $4
    FOR UPDATE
),
signalled AS (
    UPDATE node_runs n
    SET signalled = true,
        wake_at   = CASE WHEN n.state = 'waiting' AND n.waiting_for::text LIKE '{"type":"budget"%' THEN now()
                         ELSE n.wake_at END
    FROM locked l
    WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope
)
SELECT node_key, scope FROM locked ORDER BY node_key DESC, scope DESC LIMIT 1

-- Wakes nodes of an organization that wait for a budget, a page of its nodes that wait for something. $1 organization, $2
-- to $4 the last node seen. It waits for nobody.
WITH page AS MATERIALIZED (
    SELECT run_id, node_key, scope, waiting_for::text LIKE '{"type":"budget"%' AS is_for_budget
    FROM node_runs
    WHERE organization_id = $1 AND state = 'waiting' AND waiting_for IS NOT NULL
      AND (run_id, node_key, scope) > ($2, $3, $4)
    ORDER BY run_id, node_key, scope
    LIMIT 500
),
locked AS MATERIALIZED (
    SELECT n.run_id, n.node_key, n.scope
    FROM page p
    JOIN node_runs n ON n.run_id = p.run_id AND n.node_key = p.node_key AND n.scope = p.scope
    WHERE p.is_for_budget AND n.state = 'waiting' AND n.waiting_for::text LIKE '{"type":"budget"%'
    FOR UPDATE OF n SKIP LOCKED
),
woken AS (
    UPDATE node_runs n
    SET signalled = true, wake_at = now()
    FROM locked l
    WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope
)
SELECT run_id, node_key, scope FROM page ORDER BY run_id DESC, node_key DESC, scope DESC LIMIT 1

-- Runs that are to be looked at: finished, or marked as suspended. Each is put off, so that one of which neither is
-- possible yet is looked at again. $1 limit.
WITH found AS (
    SELECT id FROM runs WHERE wake_at <= now() ORDER BY wake_at LIMIT $1 FOR UPDATE SKIP LOCKED
),
-- For the planner, as in sweep_nodes.sql.
due AS (
    SELECT * FROM found LIMIT 500
)
UPDATE runs r
SET wake_at = CASE WHEN r.state IN ('queued', 'running', 'suspended')
                   THEN now() + (4 + 2 * random()) * interval '1 s' END
FROM due d
WHERE r.id = d.id
RETURNING r.id, r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended') AS is_over

-- Runs that are to be rechecked: finished, or marked as suspended. Each is deferred, so that one of which neither is
-- possible yet is rechecked later. $1 limit, $2 to $4 as $10 to $12 in sweep_nodes.sql. Answers with one row at least,
-- for the time.
WITH found AS (
    SELECT id, wake_at
    FROM runs
    WHERE wake_at <= now()
      AND wake_at >= least(coalesce($2::timestamptz, '-infinity'), now() - $4::bigint * interval '1 ms')
      AND wake_at < coalesce($3::timestamptz, 'infinity')
    ORDER BY wake_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),
-- For the planner, as in sweep_nodes.sql.
due AS (
    SELECT * FROM found LIMIT 500
),
deferred AS (
    UPDATE runs r
    SET wake_at = CASE WHEN r.state IN ('queued', 'running', 'suspended')
                       THEN now() + (4 + 2 * random()) * interval '1 s' END
    FROM due d
    WHERE r.id = d.id
    RETURNING r.id, d.wake_at AS due_at,
              r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended') AS is_over
)
SELECT now() AS swept_at, p.*
FROM (VALUES (1)) one
LEFT JOIN deferred p ON true

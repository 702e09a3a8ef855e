-- Has runs end whose deadline has passed. $1 limit, $2 why, as JSON. Looks at each once: one that has ended, or is to end
-- for another reason, is left as it is. What somebody holds is left for another time.
WITH found AS (
    SELECT id, state IN ('queued', 'running', 'suspended') AND cancel_requested_at IS NULL AS is_open
    FROM runs
    WHERE deadline_due_at <= now()
    ORDER BY deadline_due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),
changed AS (
    UPDATE runs r
    SET deadline_due_at     = NULL,
        cancel_requested_at = CASE WHEN f.is_open THEN now() ELSE r.cancel_requested_at END,
        cancel_state        = CASE WHEN f.is_open THEN 'timed_out' ELSE r.cancel_state END,
        error               = CASE WHEN f.is_open THEN $2::json ELSE r.error END,
        wake_at             = CASE WHEN f.is_open THEN now() ELSE r.wake_at END
    FROM found f
    WHERE r.id = f.id
    RETURNING f.is_open
)
SELECT count(*) AS looked_at FROM changed

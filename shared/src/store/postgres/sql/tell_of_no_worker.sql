-- Tells the logs of runs that wait while no worker lives. $1 to $3 organization, workspace and id of the run behind which
-- to look, empty and all zeros for the first; $4 runs, $5 for how long no worker must have lived, and a run have been
-- there (ms). Waits for nobody.
WITH outage AS MATERIALIZED (
    SELECT w.since, w.last_started_at
    FROM (
        -- A lease that nobody has declared dead yet has been dead since its time was over.
        SELECT coalesce(max(CASE state WHEN 'live' THEN seen_at + ttl_ms * interval '1 ms' ELSE seen_at END),
                        '-infinity'::timestamptz) AS since,
               coalesce(max(started_at), '-infinity'::timestamptz) AS last_started_at
        FROM worker_leases
        WHERE state IN ('live', 'stopped', 'dead')  -- all: by their index
    ) w
    -- This is all that is looked at while one lives.
    WHERE NOT EXISTS (
        SELECT 1 FROM worker_leases WHERE state = 'live' AND seen_at > now() - ttl_ms * interval '1 ms'
    )
),
open_runs AS (
    SELECT r.id, r.organization_id, r.workspace_id, o.last_started_at
    FROM outage o
    CROSS JOIN LATERAL (
        SELECT id, organization_id, workspace_id
        FROM runs
        WHERE ended_at IS NULL AND suspended_at IS NULL AND (organization_id, workspace_id, id) > ($1, $2, $3)
        ORDER BY organization_id, workspace_id, id
        LIMIT $4
    ) r
    WHERE o.since <= now() - $5::bigint * interval '1 ms'
),
-- For the planner, as in sweep_nodes.sql.
found AS MATERIALIZED (
    SELECT * FROM open_runs LIMIT 500
),
-- What somebody has told meanwhile is seen as it is now.
locked AS MATERIALIZED (
    SELECT r.id
    FROM found f
    JOIN runs r ON r.id = f.id
    WHERE r.state IN ('queued', 'running') AND r.cancel_requested_at IS NULL
      AND r.created_at <= now() - $5::bigint * interval '1 ms'
      AND (r.no_worker_at IS NULL OR r.no_worker_at < f.last_started_at)
    FOR UPDATE OF r SKIP LOCKED
),
marked AS (
    UPDATE runs r SET no_worker_at = now()
    FROM locked l
    WHERE r.id = l.id
    RETURNING r.id, r.organization_id, r.workspace_id, r.user_id, r.trace_id, r.root_span_id
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, trace_id, span_id)
    SELECT organization_id, workspace_id, user_id, id, 'warn', 'run.no_worker',
           'no worker lives: the run waits until one starts', trace_id, root_span_id
    FROM marked
    -- log: written
)
-- log: answer
SELECT f.organization_id, f.workspace_id, f.id, count(*) OVER () AS looked_at, (SELECT count(*) FROM marked) AS told
FROM found f
ORDER BY f.organization_id DESC, f.workspace_id DESC, f.id DESC
LIMIT 1

-- Marks those runs as suspended of which everything that is open waits. $1 runs, $2 when to recheck one of which
-- something works and something waits (ms).
--
-- Who moves a row that waits locks it first. So what is locked here, and waits, waits until this is done; and a sweep
-- that comes later sees what became of the run. A row that somebody holds is about to be moved: the run is rechecked
-- later. So is one that somebody holds as a whole. This waits for nobody.
WITH parked AS MATERIALIZED (
    SELECT n.run_id, n.wake_at
    FROM node_runs n
    WHERE n.run_id = ANY($1) AND n.state IN ('retry', 'waiting')
    FOR UPDATE SKIP LOCKED
),
held AS MATERIALIZED (
    SELECT run_id, count(*) AS waiting, min(wake_at) AS until FROM parked GROUP BY run_id
),
-- Everything as it was when this statement began, unlocked.
seen AS MATERIALIZED (
    SELECT r.id, r.wake_at,
           count(*) FILTER (WHERE n.state IN ('retry', 'waiting')) AS waiting,
           count(*) FILTER (WHERE n.state IN ('queued', 'running', 'skipping')) AS working,
           max(n.ended_at) AS ended_at
    FROM runs r
    JOIN node_runs n ON n.run_id = r.id
    WHERE r.id = ANY($1)
    GROUP BY r.id
),
-- Nodes before runs.
locked AS MATERIALIZED (
    SELECT r.id, r.state = 'running' AND r.cancel_requested_at IS NULL AS is_running, r.wake_at
    FROM runs r
    WHERE r.id = ANY($1) AND (SELECT count(*) FROM parked) >= 0
    FOR UPDATE SKIP LOCKED
),
verdict AS MATERIALIZED (
    SELECT l.id, s.waiting > 0 AS waits,
           s.waiting > 0 AND s.working = 0 AND s.waiting = coalesce(h.waiting, 0) AS is_idle,
           coalesce(greatest(s.ended_at, (SELECT max(a.ended_at) FROM node_attempts a WHERE a.run_id = l.id)), now())
               AS since,
           h.until
    FROM locked l
    JOIN seen s ON s.id = l.id
    LEFT JOIN held h ON h.run_id = l.id
    -- Somebody wants it to be rechecked: he knows more than this.
    WHERE l.is_running AND l.wake_at IS NOT DISTINCT FROM s.wake_at
),
changed AS (
    UPDATE runs r
    SET state        = CASE WHEN v.is_idle THEN 'suspended' ELSE r.state END,
        suspended_at = CASE WHEN v.is_idle THEN v.since END,
        wake_at      = CASE WHEN v.waits AND NOT v.is_idle THEN now() + $2::bigint * interval '1 ms' END
    FROM verdict v
    WHERE r.id = v.id
    RETURNING r.id, r.organization_id, r.workspace_id, r.user_id, r.trace_id, r.root_span_id, v.is_idle, v.until
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, data, trace_id,
                            span_id)
    SELECT organization_id, workspace_id, user_id, id, 'info', 'run.suspended', 'run suspended' || coalesce(' until ' || u.until, ''),
           json_build_object('until', u.until), trace_id, root_span_id
    FROM changed c
    CROSS JOIN LATERAL (SELECT to_char(c.until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS until) u
    WHERE c.is_idle
    -- log: written
)
-- log: answer
SELECT count(*) AS suspended FROM changed WHERE is_idle

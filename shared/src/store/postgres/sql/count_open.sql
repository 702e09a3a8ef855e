-- Counts what is open, over all tenants. $1 rows for each number at most, $2 for how long a timer may be due until it is
-- overdue (ms), $3 within what time a row is due that only waits for a worker (ms).
--
-- Each part goes by an index that holds open rows only, and stops at $1 of them. What has ended costs nothing, but for
-- the entries that no vacuum and no earlier walk has taken out of these indexes.
WITH open_runs AS MATERIALIZED (
    (SELECT id, state FROM runs WHERE ended_at IS NULL AND suspended_at IS NULL LIMIT $1)
    UNION ALL
    (SELECT id, state FROM runs WHERE suspended_at IS NOT NULL LIMIT $1)
)
SELECT 'run' AS part, state, count(*) AS total, NULL::bigint AS waited_ms
FROM open_runs
GROUP BY state
UNION ALL
-- By when they are due: what waits for longer than that, waits for a time of its own. In that order, so that the walk
-- stops where it is to.
SELECT 'node', state, count(*), (extract(epoch FROM now() - min(queued_at)) * 1000)::bigint
FROM (
    SELECT state, queued_at
    FROM node_runs
    WHERE wake_at < now() + $3::bigint * interval '1 ms' AND state IN ('queued', 'skipping')
    ORDER BY wake_at
    LIMIT $1
) n
GROUP BY state
UNION ALL
SELECT 'node', state, count(*), NULL
FROM (SELECT state FROM node_runs WHERE state = 'running' LIMIT $1) n
GROUP BY state
UNION ALL
SELECT 'node', state, count(*), NULL
FROM (SELECT state FROM node_runs WHERE state IN ('retry', 'waiting') ORDER BY wake_at LIMIT $1) n
GROUP BY state
UNION ALL
-- No index holds these. They are looked for among the nodes of open runs, of which a queued one has none of them: nothing
-- of it has ever been claimed.
SELECT 'node', state, count(*), NULL
FROM (
    SELECT n.state
    FROM open_runs r
    -- Skips nothing, and keeps this a walk from run to run.
    CROSS JOIN LATERAL (SELECT state FROM node_runs WHERE run_id = r.id OFFSET 0) n
    WHERE r.state <> 'queued'
    LIMIT $1
) n
WHERE state IN ('blocked', 'held', 'uncertain')
GROUP BY state
UNION ALL
SELECT 'timer', NULL, count(*), NULL
FROM (
    SELECT 1
    FROM node_runs
    WHERE state IN ('retry', 'waiting') AND wake_at < now() - $2::bigint * interval '1 ms'
    LIMIT $1
) n
UNION ALL
SELECT 'timer', NULL, count(*), NULL
FROM (SELECT 1 FROM runs WHERE deadline_due_at < now() - $2::bigint * interval '1 ms' LIMIT $1) r
UNION ALL
SELECT 'worker', NULL, count(*), NULL
FROM (
    SELECT 1
    FROM worker_leases
    WHERE state = 'live' AND seen_at > now() - ttl_ms * interval '1 ms'
    LIMIT $1
) w

-- Milliseconds until the next row that waits for a time of its own is due. $1 horizon (ms).
-- The states are those of the index node_runs_timers, which holds nothing of a backlog.
SELECT (extract(epoch FROM min(wake_at) - now()) * 1000)::bigint AS next_ms
FROM (
    SELECT min(wake_at) AS wake_at FROM node_runs
    WHERE wake_at > now() AND wake_at < now() + $1::bigint * interval '1 ms' AND state IN ('retry', 'waiting')
    UNION ALL
    SELECT min(wake_at) FROM runs WHERE wake_at > now() AND wake_at < now() + $1::bigint * interval '1 ms'
    UNION ALL
    SELECT min(deadline_due_at) FROM runs
    WHERE deadline_due_at > now() AND deadline_due_at < now() + $1::bigint * interval '1 ms'
) t

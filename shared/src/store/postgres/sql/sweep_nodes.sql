-- Handles due rows. $1 limit, $2 broker up, $3 first wake-up of a queued row (ms), $4 longest back-off (ms),
-- $5 queue deep: rows whose message is in there somewhere are not published; one that has none has -1 wakes. What is
-- published gets a publish span of its own.
WITH found AS (
    SELECT n.run_id, n.node_key, n.scope, n.state AS old_state,
           n.state = 'queued' AND n.wakes >= 0 AS has_message,
           (r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended')) AS is_over
    FROM node_runs n
    JOIN runs r ON r.id = n.run_id
    WHERE n.wake_at <= now()
      AND n.state IN ('queued', 'retry', 'waiting', 'skipping')
      -- With the broker down nothing is read at all, or an outage would have the whole backlog read every second. Rows
      -- of runs that are to end need no broker, and are found from their run by whoever finishes that.
      AND $2
    ORDER BY n.wake_at
    LIMIT $1
    FOR UPDATE OF n SKIP LOCKED
),
-- The planner takes a limit that it is not told for a tenth of all rows, and joins so many by walking through the whole
-- table. The number is the most that is ever asked for.
due AS (
    SELECT * FROM found LIMIT 500
),
moved AS (
    UPDATE node_runs n
    SET state     = CASE WHEN d.is_over THEN 'cancelled'
                         WHEN d.old_state IN ('retry', 'waiting') THEN 'queued'
                         ELSE n.state END,
        queued_at = CASE WHEN NOT d.is_over AND d.old_state IN ('retry', 'waiting') THEN now() ELSE n.queued_at END,
        ended_at  = CASE WHEN d.is_over THEN now() END,
        publish_span_id = CASE WHEN d.is_over OR (d.has_message AND $5) THEN n.publish_span_id
                               ELSE left(replace(gen_random_uuid()::text, '-', ''), 16) END,
        wakes     = CASE WHEN d.old_state IN ('retry', 'waiting') THEN 0 ELSE n.wakes + 1 END,
        wake_at   = CASE WHEN d.is_over THEN NULL
                         ELSE now() + least($4::float8,
                                  $3::float8 * CASE WHEN d.old_state IN ('retry', 'waiting') THEN 1
                                                    ELSE 2 ^ greatest(least(n.wakes, 16), 0) END)
                              * (0.75 + random() * 0.5) * interval '1 ms' END
    FROM due d
    WHERE n.run_id = d.run_id AND n.node_key = d.node_key AND n.scope = d.scope
    RETURNING n.run_id, n.node_key, n.scope, n.kind, n.publish_span_id, n.queued_at, d.has_message, d.is_over
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            trace_id, span_id)
    SELECT r.organization_id, r.workspace_id, r.user_id, r.id, m.node_key, m.scope, 'info', 'node.cancelled',
           m.kind || ' node ' || m.node_key || ' cancelled', r.trace_id, r.root_span_id
    FROM moved m
    JOIN runs r ON r.id = m.run_id
    WHERE m.is_over AND m.kind <> 'end'
)
SELECT m.run_id, m.node_key, m.scope, m.has_message, m.is_over, m.publish_span_id,
       coalesce(m.queued_at, now()) AS queued_at, r.organization_id, r.workspace_id, r.user_id, r.trace_id,
       CASE WHEN r.started_at IS NULL THEN r.publish_span_id ELSE r.root_span_id END AS parent_span_id, r.trace_flags
FROM moved m
JOIN runs r ON r.id = m.run_id

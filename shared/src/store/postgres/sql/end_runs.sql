-- Second half of finishing: ends runs that have nothing open left. A statement of its own, so that its snapshot
-- is younger than the first half. $1 runs, $2 the call: what it ended before is reported again.
--
-- A run that somebody holds is left for another time, as are its rows in the first half: the answer names it as one
-- that did not end.
WITH found AS MATERIALIZED (
    SELECT r.id, coalesce(o.runs, false) AS is_running, coalesce(o.waits, false) AS is_open
    FROM runs r
    CROSS JOIN LATERAL (
        SELECT bool_or(n.state = 'running') AS runs, bool_or(n.state <> 'running') AS waits
        FROM node_runs n
        WHERE n.run_id = r.id AND n.state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled')
    ) o
    WHERE r.id = ANY($1) AND r.cancel_requested_at IS NOT NULL AND r.state IN ('queued', 'running', 'suspended')
),
locked AS MATERIALIZED (
    SELECT r.id
    FROM found f
    JOIN runs r ON r.id = f.id
    WHERE NOT f.is_running AND NOT f.is_open AND r.state IN ('queued', 'running', 'suspended')
    FOR UPDATE OF r SKIP LOCKED
),
ended AS (
    UPDATE runs r
    SET state = r.cancel_state, ended_at = now(), wake_at = NULL, suspended_at = NULL, finish_id = $2
    FROM locked l
    WHERE r.id = l.id
    RETURNING r.*
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, data, trace_id,
                            span_id)
    SELECT organization_id, workspace_id, user_id, id,
           CASE state WHEN 'cancelled' THEN 'warn' ELSE 'error' END,
           'run.' || state,
           CASE WHEN error IS NULL THEN 'run ' || state
                ELSE 'run ' || state || ': ' || coalesce(error ->> 'message', '') END,
           error, trace_id, root_span_id
    FROM ended
    -- log: written
)
-- log: answer
SELECT has_ended, id, organization_id, workspace_id, user_id, version_id, workflow, version, step_mode, node_count,
       edge_count, trace_id, publish_span_id, root_span_id, trace_flags, trace_state, created_at, started_at, ended_at,
       state, segment, resumed_at, resumed_from, error::text AS error
FROM (SELECT *, true AS has_ended FROM ended
      UNION ALL
      SELECT *, true FROM runs WHERE id = ANY($1) AND finish_id = $2
      UNION ALL
      -- What runs, its worker finishes. All else that is open, or was to end and did not, somebody holds.
      SELECT r.*, false
      FROM found f
      JOIN runs r ON r.id = f.id
      WHERE (f.is_open OR NOT f.is_running) AND f.id NOT IN (SELECT id FROM ended)) r

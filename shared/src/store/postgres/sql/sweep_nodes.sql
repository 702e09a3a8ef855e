-- Handles due rows. $1 limit, $2 broker up, $3 first wake-up of a queued row (ms), $4 longest back-off (ms),
-- $5 queue deep: of rows whose message is in there somewhere most are not published. What is
-- published gets a publish span of its own. $6 wait after which a run goes on in a new trace (ms), $7 pause of a row
-- that comes before the recheck of its run, or whose run somebody holds (ms), $8 when to recheck a run that goes on
-- (ms), $9 the call, $10 and $11 the due times to read: from one to before the other, $12 how late a row may come to
-- light (ms). Waits for nobody. Answers with one row at least, for the time.
WITH found AS (
    SELECT n.run_id, n.node_key, n.scope, n.state AS old_state, n.wake_at AS due_at,
           -- A process of an earlier version writes -1 wakes for no message.
           n.state = 'queued' AND n.message_expected AND n.wakes >= 0 AS has_message,
           -- A message may be lost all the same. So beside a deep queue one more is published after two sweeps that
           -- defer it, after three more, after seven more: of a backlog that is there for hours, a few copies.
           n.deep_wakes < 2 OR (n.deep_wakes + 2) & (n.deep_wakes + 1) <> 0 AS is_patient,
           -- Whether the run has been suspended for long must be known before it goes on. Mostly it is; this is for
           -- the first seconds after nobody was there to sweep.
           n.state IN ('retry', 'waiting') AND n.wakes = 0 AND r.state = 'running' AND r.wake_at IS NOT NULL
               AND n.started_at <= now() - $6::bigint * interval '1 ms'
               AND NOT EXISTS (SELECT 1 FROM node_runs w
                               WHERE w.run_id = n.run_id AND w.state IN ('queued', 'running', 'skipping')) AS is_early,
           (r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended')) AS is_over
    FROM node_runs n
    JOIN runs r ON r.id = n.run_id
    WHERE n.wake_at <= now()
      AND n.wake_at >= least(coalesce($10::timestamptz, '-infinity'), now() - $12::bigint * interval '1 ms')
      AND n.wake_at < coalesce($11::timestamptz, 'infinity')
      AND n.state IN ('queued', 'retry', 'waiting', 'skipping')
      -- With the broker down nothing is read at all, or an outage would have the whole backlog read every second. Rows
      -- of runs that are to end need no broker, and are found from their run by whoever finishes that.
      AND $2
    ORDER BY n.wake_at
    LIMIT $1
    FOR UPDATE OF n SKIP LOCKED
),
-- The planner takes a limit that it does not know for a tenth of all rows, and joins so many by walking through the
-- whole table. The number is the most that is ever asked for.
due AS (
    SELECT f.*, f.old_state IN ('retry', 'waiting') AND NOT f.is_over AND NOT f.is_early AS is_awake
    FROM found f
    LIMIT 500
),
-- Nobody is waited for with these rows in hand, so that the order does not matter. A run may have been suspended, or
-- gone on in a new trace, since this statement began to read: what is locked is the latest. Later nothing changes: a
-- row of it is queued.
waking AS MATERIALIZED (
    SELECT r.id, r.organization_id, r.workspace_id, r.segment, r.trace_id, r.root_span_id, r.trace_flags,
           r.trace_state, coalesce(r.resumed_at, r.started_at) AS begun_at, r.resumed_from, r.suspended_at,
           r.wake_at, d.is_awake,
           d.is_awake AND r.state = 'suspended' AND r.cancel_requested_at IS NULL AS was_suspended,
           d.is_awake AND r.state = 'suspended' AND r.cancel_requested_at IS NULL
               AND coalesce(r.suspended_at <= now() - $6::bigint * interval '1 ms', false)
               -- Nothing works in a suspended run, unless a process of an earlier version has woken it.
               AND NOT EXISTS (SELECT 1 FROM node_runs n
                               WHERE n.run_id = r.id AND n.state IN ('queued', 'running', 'skipping')) AS in_new_trace,
           replace(gen_random_uuid()::text, '-', '') AS new_trace_id,
           left(replace(gen_random_uuid()::text, '-', ''), 16) AS new_root_span_id
    FROM runs r
    JOIN (SELECT run_id, bool_or(is_awake) AS is_awake FROM due WHERE is_awake OR is_early GROUP BY run_id) d
        ON d.run_id = r.id
    FOR UPDATE OF r SKIP LOCKED
),
-- A full join for the reason that is given below.
judged AS MATERIALIZED (
    SELECT d.run_id, d.node_key, d.scope, d.due_at, d.has_message, d.is_over,
           d.is_early AND w.id IS NOT NULL AS is_early,
           d.is_awake AND w.id IS NOT NULL AS is_awake,
           (d.is_awake OR d.is_early) AND w.id IS NULL AS is_held,
           d.has_message AND $5 AND d.is_patient AS is_deferred
    FROM due d
    FULL JOIN waking w ON w.id = d.run_id
),
moved AS (
    UPDATE node_runs n
    SET state     = CASE WHEN d.is_over THEN 'cancelled' WHEN d.is_awake THEN 'queued' ELSE n.state END,
        queued_at = CASE WHEN d.is_awake THEN now() ELSE n.queued_at END,
        ended_at  = CASE WHEN d.is_over THEN now() END,
        publish_span_id = CASE WHEN d.is_over OR d.is_early OR d.is_held OR d.is_deferred THEN n.publish_span_id
                               ELSE left(replace(gen_random_uuid()::text, '-', ''), 16) END,
        message_expected = n.message_expected OR NOT (d.is_over OR d.is_early OR d.is_held OR d.is_deferred),
        deep_wakes = CASE WHEN d.has_message AND $5 THEN n.deep_wakes + 1 ELSE 0 END,
        wakes     = CASE WHEN d.is_awake THEN 0 WHEN d.is_held THEN n.wakes ELSE n.wakes + 1 END,
        wake_at   = CASE WHEN d.is_over THEN NULL
                         WHEN d.is_early OR d.is_held THEN now() + $7::bigint * interval '1 ms'
                         ELSE now() + least($4::float8,
                                  $3::float8 * CASE WHEN d.is_awake THEN 1 ELSE 2 ^ greatest(least(n.wakes, 16), 0) END)
                              * (0.75 + random() * 0.5) * interval '1 ms' END
    FROM judged d
    WHERE n.run_id = d.run_id AND n.node_key = d.node_key AND n.scope = d.scope
    RETURNING n.run_id, n.node_key, n.scope, n.kind, n.publish_span_id, n.queued_at, d.due_at, d.is_over,
              d.has_message,
              d.is_over OR d.is_early OR d.is_held OR d.is_deferred AS is_not_published
),
resumed AS (
    UPDATE runs r
    SET state        = CASE WHEN w.was_suspended THEN 'running' ELSE r.state END,
        suspended_at = CASE WHEN w.was_suspended THEN NULL ELSE r.suspended_at END,
        -- Others may wait on. Of one that is to be rechecked first, it is time to do so.
        wake_at      = CASE WHEN w.was_suspended THEN now() + $8::bigint * interval '1 ms'
                            WHEN w.wake_at IS NOT NULL THEN least(w.wake_at, now()) END,
        segment      = w.segment + w.in_new_trace::int,
        trace_id     = CASE WHEN w.in_new_trace THEN w.new_trace_id ELSE w.trace_id END,
        root_span_id = CASE WHEN w.in_new_trace THEN w.new_root_span_id ELSE w.root_span_id END,
        trace_state  = CASE WHEN w.in_new_trace THEN NULL ELSE r.trace_state END,
        resumed_at   = CASE WHEN w.in_new_trace THEN now() ELSE r.resumed_at END,
        resumed_from = CASE WHEN w.in_new_trace THEN '00-' || w.trace_id || '-' || w.root_span_id || '-'
                                                     || lpad(to_hex(w.trace_flags::int), 2, '0')
                            ELSE w.resumed_from END
    FROM waking w
    WHERE r.id = w.id AND (w.was_suspended OR NOT w.is_awake)
    RETURNING r.id, r.organization_id, r.workspace_id, r.user_id, r.segment, r.trace_id, r.root_span_id,
              w.was_suspended, w.in_new_trace, w.trace_id AS earlier_trace_id
),
closed AS (
    INSERT INTO run_segments (run_id, segment, organization_id, workspace_id, trace_id, root_span_id, started_at,
                              suspended_at, resumed_from, resumed_as, closed_by, trace_state)
    SELECT w.id, w.segment, w.organization_id, w.workspace_id, w.trace_id, w.root_span_id, w.begun_at,
           w.suspended_at, w.resumed_from,
           '00-' || w.new_trace_id || '-' || w.new_root_span_id || '-' || lpad(to_hex(w.trace_flags::int), 2, '0'),
           $9::uuid, w.trace_state
    FROM waking w
    WHERE w.in_new_trace
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            data, trace_id, span_id)
    SELECT r.organization_id, r.workspace_id, r.user_id, r.id, m.node_key, m.scope, 'info', 'node.cancelled',
           m.kind || ' node ' || m.node_key || ' cancelled', NULL, r.trace_id, r.root_span_id
    FROM moved m
    JOIN runs r ON r.id = m.run_id
    WHERE m.is_over AND m.kind <> 'end'
    UNION ALL
    SELECT u.organization_id, u.workspace_id, u.user_id, u.id, NULL, NULL, 'info', 'run.resumed',
           CASE WHEN u.in_new_trace THEN 'run resumed in a new trace' ELSE 'run resumed' END,
           CASE WHEN u.in_new_trace
                THEN json_build_object('segment', u.segment, 'earlier_trace_id', u.earlier_trace_id) END,
           u.trace_id, u.root_span_id
    FROM resumed u
    WHERE u.was_suspended
    -- log: written
),
-- The planner expects one row of each of these, and would join them in loops, whose cost grows with the square of the
-- batch. A full join cannot be one, and stays full as long as no condition is strict.
woken AS MATERIALIZED (
    SELECT w.id, w.in_new_trace, coalesce(u.segment, w.segment) AS segment, coalesce(u.trace_id, w.trace_id) AS trace_id,
           coalesce(u.root_span_id, w.root_span_id) AS root_span_id,
           CASE WHEN NOT w.in_new_trace THEN w.trace_state END AS trace_state
    FROM waking w
    FULL JOIN resumed u ON u.id = w.id
)
-- log: answer
SELECT now() AS swept_at, m.*
FROM (VALUES (1)) one
LEFT JOIN (
    SELECT m.run_id, m.node_key, m.scope, m.due_at, m.is_over, m.is_not_published, m.has_message,
           coalesce(k.in_new_trace, false) AS in_new_trace, m.publish_span_id, coalesce(m.queued_at, now()) AS queued_at,
           r.organization_id, r.workspace_id, r.user_id, coalesce(k.trace_id, r.trace_id) AS trace_id,
           -- In the trace that the run began in. Another sweep may have opened the next one since this statement began.
           CASE WHEN coalesce(k.segment, r.segment) = 1 THEN r.publish_span_id END AS parent_span_id,
           coalesce(k.root_span_id, r.root_span_id) AS root_span_id, r.workflow,
           r.trace_flags, CASE WHEN k.id IS NULL THEN r.trace_state ELSE k.trace_state END AS trace_state
    FROM moved m
    FULL JOIN woken k ON k.id = m.run_id
    JOIN runs r ON r.id = coalesce(m.run_id, k.id)
) m ON true

-- Takes back running rows whose lease does not live, or that are held past their deadline. $1 limit, $2 crashes in a
-- row that raise no suspicion, $3 whether rows are taken by their deadlines, from $4 to before $5, or those whose lease
-- has ended lately. Each is a walk past all that have run, in those hours or under those leases, since the oldest
-- snapshot.
WITH found AS (
    SELECT h.*, w.state AS lease_state, w.held
    FROM worker_leases w
    CROSS JOIN LATERAL (
        SELECT n.run_id, n.node_key, n.scope, n.claim
        FROM node_runs n
        WHERE n.lease_id = w.lease_id AND n.state = 'running'
        LIMIT $1
    ) h
    WHERE w.state IN ('dead', 'stopped') AND w.seen_at > now() - interval '5 min' AND NOT $3
    UNION ALL
    SELECT n.run_id, n.node_key, n.scope, n.claim, w.state, w.held
    FROM (
        SELECT run_id, node_key, scope, claim, state, wake_at, lease_id
        FROM node_runs
        WHERE wake_at >= coalesce($4::timestamptz, '-infinity') AND wake_at < coalesce($5::timestamptz, 'infinity')
        -- Skips nothing, and keeps the state out of here: by an index of that alone, all ranges would cost the same.
        OFFSET 0
    ) n
    LEFT JOIN worker_leases w ON w.lease_id = n.lease_id
    WHERE n.state = 'running' AND (w.state IS DISTINCT FROM 'live' OR n.wake_at <= now()) AND $3
    ORDER BY run_id, node_key, scope
    LIMIT $1
),
-- The planner takes a limit that it does not know for a tenth of all rows. The number is the most that is ever asked
-- for.
suspicious AS MATERIALIZED (
    SELECT * FROM found LIMIT 500
),
-- A row that somebody else took back and claimed meanwhile has another claim number. The lease cannot show it: the
-- re-check after a lock sees the new row beside the lease of before.
stranded AS (
    SELECT n.run_id, n.node_key, n.scope, n.suspect AS was_suspect, n.claim, n.attempts, n.span_id, n.segment,
           n.lease_id, n.started_at,
           -- Of a worker that died it was noted what it ran, once: its rows may be taken back by several. One that was
           -- declared dead by a process of an earlier version had company, for all that is known.
           CASE s.lease_state
               WHEN 'dead' THEN coalesce(s.held = 1, false)
               WHEN 'live' THEN NOT EXISTS (
                   SELECT 1 FROM node_runs o
                   WHERE o.lease_id = n.lease_id AND o.state = 'running'
                     AND (o.run_id, o.node_key, o.scope) <> (n.run_id, n.node_key, n.scope))
               ELSE false
           END AS was_alone,
           -- A lease is closed when its worker holds nothing: what is there since, a claim that came late, nobody has run.
           s.lease_state IS DISTINCT FROM 'stopped' AS was_run,
           (r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended')) AS is_over
    FROM suspicious s
    JOIN node_runs n ON n.run_id = s.run_id AND n.node_key = s.node_key AND n.scope = s.scope AND n.claim = s.claim
    JOIN runs r ON r.id = n.run_id
    WHERE n.state = 'running'
    ORDER BY n.run_id, n.node_key, n.scope
    FOR UPDATE OF n SKIP LOCKED
),
taken AS (
    UPDATE node_runs n
    SET state     = CASE WHEN s.is_over THEN 'cancelled' ELSE 'queued' END,
        suspect   = NOT s.is_over AND (n.suspect OR (s.was_run AND n.crashes >= $2::bigint)),
        attempts  = n.attempts - (NOT s.was_run)::int,
        crashed   = n.crashed OR s.was_run,
        crashes   = n.crashes + s.was_run::int,
        strikes   = n.strikes + (s.was_suspect AND s.was_alone)::int,
        queued_at = now(),
        ended_at  = CASE WHEN s.is_over THEN now() END,
        wakes     = 0,
        message_expected = false,
        -- Spread over a second, so that a dead worker's load does not come back as one wave.
        wake_at   = CASE WHEN s.is_over THEN NULL ELSE now() + random() * interval '1 s' END
    FROM stranded s
    WHERE n.run_id = s.run_id AND n.node_key = s.node_key AND n.scope = s.scope
    RETURNING n.run_id, n.node_key, n.scope, n.kind, n.organization_id, n.workspace_id, s.claim, s.attempts, s.span_id,
              s.segment, s.lease_id, n.worker, s.started_at, s.was_run, s.is_over
),
attempt AS (
    INSERT INTO node_attempts (run_id, node_key, scope, claim, organization_id, workspace_id, attempt, outcome,
                               error, span_id, segment, lease_id, worker, started_at, ended_at)
    SELECT run_id, node_key, scope, claim, organization_id, workspace_id, attempts,
           CASE WHEN was_run THEN 'crashed' ELSE 'released' END,
           CASE WHEN was_run THEN '{"code":"crashed","message":"the worker died or stalled"}'::json END, span_id,
           segment, lease_id, worker, started_at, now()
    FROM taken
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            data, trace_id, span_id)
    SELECT r.organization_id, r.workspace_id, r.user_id, r.id, t.node_key, t.scope, e.level, e.event,
           t.kind || ' node ' || t.node_key || e.message, e.data, r.trace_id, coalesce(t.span_id, r.root_span_id)
    FROM taken t
    JOIN runs r ON r.id = t.run_id
    CROSS JOIN LATERAL (
        SELECT 0 AS rank, 'warn' AS level, 'node.crashed' AS event, ' lost its worker' AS message,
               json_build_object('attempt', t.attempts) AS data
        WHERE t.was_run
        UNION ALL
        SELECT 0, 'info', 'node.released', ' given back by its worker', json_build_object('attempt', t.attempts)
        WHERE NOT t.was_run
        UNION ALL
        SELECT 1, 'info', 'node.cancelled', ' cancelled', NULL WHERE t.is_over
    ) e
    WHERE t.kind <> 'end'
    ORDER BY t.run_id, t.node_key, t.scope, e.rank
    -- log: written
)
-- log: answer
SELECT t.node_key, t.scope, t.kind, t.attempts, t.span_id AS node_span_id, t.started_at AS node_started_at, now() AS at,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode,
       r.node_count, r.edge_count, r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state, r.created_at,
       t.was_run AS is_crash, NOT t.is_over AS is_retried
FROM taken t
JOIN runs r ON r.id = t.run_id

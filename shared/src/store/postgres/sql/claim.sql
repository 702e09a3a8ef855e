-- Claims a batch for one lease. The parameters are those of `ClaimRows` in claim.rs.
WITH wanted AS (
    SELECT * FROM {requests} r
),
-- Looked up once, however many rows are claimed.
holder AS MATERIALIZED (
    SELECT host || ':' || pid AS worker FROM worker_leases WHERE lease_id = {lease}
),
locked AS MATERIALIZED (
    SELECT w.ord, w.span_id AS new_span, n.run_id, n.node_key, n.scope, n.kind, n.state, n.claim, n.attempts,
           n.failures, n.strikes, n.suspect, n.crashes, n.crashed, n.timeout_ms, n.publish_span_id, n.waited_until,
           n.waiting_for, n.queued_at, n.started_at
    FROM wanted w
    JOIN node_runs n USING (run_id, node_key, scope)
    -- A claim may come late, from a worker that was declared dead meanwhile: nobody would do what it won.
    WHERE EXISTS (SELECT 1 FROM worker_leases WHERE lease_id = {lease} AND state = 'live')
      AND (n.state IN ('queued', 'skipping')
           -- The reply to the first try was lost: the row is this lease's already, under the very span that was asked
           -- for.
           OR (n.state = 'running' AND n.lease_id = {lease} AND n.span_id = w.span_id))
    ORDER BY n.run_id, n.node_key, n.scope
    FOR UPDATE OF n
),
-- The input of a run is sent once, with the first of its rows.
measured AS (
    SELECT l.*, r.segment, l.place_in_run = 1 AS brings_input,
           r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended') AS is_over,
           CASE
               WHEN l.place_in_run > 1 THEN 0
               WHEN pg_column_compression(r.input) IS NULL THEN pg_column_size(r.input)
               ELSE octet_length(r.input::text)
           END AS bytes
    FROM (SELECT *, row_number() OVER (PARTITION BY run_id ORDER BY ord) AS place_in_run FROM locked) l
    JOIN runs r ON r.id = l.run_id
),
verdict AS MATERIALIZED (
    SELECT m.*,
           CASE
               -- It does not fit, nor does anything behind it. The first one always does.
               WHEN m.bytes_until > {bytes_max} AND m.bytes_until > m.bytes THEN 'left'
               WHEN m.is_over THEN CASE WHEN m.state = 'running' THEN 'again' ELSE 'cancelled' END
               WHEN m.state = 'skipping' THEN 'skip'
               WHEN m.state = 'running' THEN 'again'
               -- Before the other suspects, of which one may be taken: it would stand in line behind all of them.
               WHEN m.crashes >= {crashes_in_company_max}
                    AND ({has_others}
                         OR EXISTS (SELECT 1 FROM node_runs o WHERE o.lease_id = {lease} AND o.state = 'running'))
                   THEN 'apart'
               -- One that is this lease's already (its reply was lost) is the one suspect.
               WHEN m.suspect AND NOT ({take_suspect} AND row_number() OVER (PARTITION BY m.suspect AND m.state <> 'skipping'
                                                                 ORDER BY m.state = 'running' DESC,
                                                                          m.crashes >= {crashes_in_company_max}, m.ord) = 1)
                   THEN 'deferred'
               ELSE 'won'
           END AS verdict
    FROM (SELECT *, sum(bytes) OVER (ORDER BY ord ROWS UNBOUNDED PRECEDING) AS bytes_until FROM measured) m
),
changed AS (
    UPDATE node_runs n
    SET state      = CASE v.verdict WHEN 'won' THEN 'running' WHEN 'cancelled' THEN 'cancelled' ELSE n.state END,
        claim      = n.claim + (v.verdict = 'won')::int,
        attempts   = n.attempts + (v.verdict = 'won')::int,
        lease_id   = CASE v.verdict WHEN 'won' THEN {lease} ELSE n.lease_id END,
        worker     = CASE v.verdict WHEN 'won' THEN (SELECT h.worker FROM holder h) ELSE n.worker END,
        span_id    = CASE v.verdict WHEN 'won' THEN v.new_span ELSE n.span_id END,
        segment    = CASE v.verdict WHEN 'won' THEN v.segment ELSE n.segment END,
        signalled  = n.signalled AND v.verdict <> 'won',
        started_at = CASE v.verdict WHEN 'won' THEN now() ELSE n.started_at END,
        ended_at   = CASE v.verdict WHEN 'cancelled' THEN now() END,
        wakes      = CASE WHEN v.verdict IN ('won', 'deferred', 'apart') THEN 0 ELSE n.wakes END,
        message_expected = n.message_expected AND v.verdict NOT IN ('deferred', 'apart'),
        wake_at    = CASE v.verdict
                         WHEN 'won' THEN now() + (n.timeout_ms + {grace_ms}) * interval '1 ms'
                         WHEN 'deferred' THEN now() + (3 + 4 * random()) * interval '1 s'
                         -- As long as the worker may take to have nothing else, before another one is asked.
                         WHEN 'apart' THEN now() + (30 + 10 * random()) * interval '1 s'
                     END
    FROM verdict v
    WHERE n.run_id = v.run_id AND n.node_key = v.node_key AND n.scope = v.scope
      AND v.verdict IN ('won', 'cancelled', 'deferred', 'apart')
    RETURNING v.ord
),
-- Nodes before runs, runs in key order: the same order in every statement, so that no two deadlock.
to_start AS MATERIALIZED (
    SELECT r.id, r.state = 'queued' AS is_first
    FROM runs r
    -- None is suspended of which a row is queued, but for one that a process of an earlier version has woken.
    WHERE r.state IN ('queued', 'suspended')
      AND r.id IN (SELECT run_id FROM verdict WHERE verdict = 'won')
      AND (SELECT count(*) FROM changed) >= 0
    ORDER BY r.id
    FOR UPDATE
),
started AS (
    UPDATE runs r SET state = 'running', started_at = coalesce(r.started_at, now()), suspended_at = NULL
    FROM to_start s
    WHERE r.id = s.id
    RETURNING r.id, s.is_first
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            data, trace_id, span_id)
    SELECT r.organization_id, r.workspace_id, r.user_id, r.id, t.node_key, t.scope, 'info', t.event, t.message,
           t.data::json, r.trace_id, coalesce(t.span_id, r.root_span_id)
    FROM (
        SELECT 0 AS rank, 0::bigint AS ord, s.id AS run_id, NULL AS node_key, NULL AS scope,
               'run.started' AS event, 'run started' AS message, NULL AS data, NULL AS span_id
        FROM started s
        WHERE s.is_first
        UNION ALL
        SELECT 1, v.ord, v.run_id, v.node_key, v.scope, 'node.started',
               v.kind || ' node ' || v.node_key || ' started', '{"attempt":' || v.attempts + 1 || '}', v.new_span
        FROM verdict v
        WHERE v.verdict = 'won' AND v.kind <> 'end'
        UNION ALL
        SELECT 1, v.ord, v.run_id, v.node_key, v.scope, 'node.cancelled',
               v.kind || ' node ' || v.node_key || ' cancelled', NULL, NULL
        FROM verdict v
        WHERE v.verdict = 'cancelled' AND v.kind <> 'end'
    ) t
    JOIN runs r ON r.id = t.run_id
    ORDER BY t.rank, t.ord, t.run_id
    -- log: written
)
-- log: answer
SELECT v.ord, v.verdict, v.kind,
       v.claim + (v.verdict = 'won')::int AS claim,
       v.attempts + (v.verdict = 'won')::int AS attempt,
       v.failures, v.strikes, v.suspect, v.crashes, v.crashed, v.waited_until, v.waiting_for::text AS waited_for,
       v.publish_span_id AS node_publish_span_id, v.queued_at,
       CASE v.verdict WHEN 'won' THEN now() ELSE v.started_at END AS node_started_at,
       clock_timestamp() AS answered_at,
       v.run_id IN (SELECT id FROM started WHERE is_first) AND v.verdict = 'won'
           AND row_number() OVER (PARTITION BY v.run_id, v.verdict ORDER BY v.ord) = 1 AS started_run,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version,
       CASE WHEN v.brings_input AND v.verdict <> 'left' THEN r.input::text END AS input,
       r.step_mode, r.node_count, r.edge_count, r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state,
       r.created_at
FROM verdict v
JOIN runs r ON r.id = v.run_id

-- Applies a batch of commits: rows flip, tokens are delivered, successors appear, runs end, log rows
-- are written, all in one autocommit statement. Only rows that really flipped count.
--
-- The parameters, and the columns of those that are tables, are those of `CommitRows` in commit_rows.rs.
--
-- Each step hands on what the next ones need of it. The planner expects one row from each and would join
-- two of them in a loop, whose cost grows with the square of the batch.
WITH main AS (
    SELECT * FROM {outcomes} e
),
-- Looked up once, however many rows there are.
holder AS MATERIALIZED (
    SELECT host || ':' || pid AS worker FROM worker_leases WHERE lease_id = {lease}
),
locked AS MATERIALIZED (
    SELECT m.ord, m.run_id, m.node_key, m.scope, m.state, m.input, m.output, m.error, m.delay_ms, m.skip_token,
           m.waiting_for, m.is_outside, n.kind, n.claim, n.attempts, n.span_id, n.started_at
    FROM main m
    JOIN node_runs n USING (run_id, node_key, scope)
    WHERE (m.claim IS NOT NULL AND n.state = 'running' AND n.lease_id = {lease} AND n.claim = m.claim)
       OR (m.claim IS NULL AND n.state = 'skipping')
    ORDER BY n.run_id, n.node_key, n.scope
    FOR UPDATE OF n
),
flipping AS MATERIALIZED (
    SELECT DISTINCT ON (l.run_id, l.node_key, l.scope)
           l.*, r.organization_id, r.workspace_id, r.user_id, r.workflow, r.trace_id, r.root_span_id, r.segment, o.is_over,
           r.wake_at IS NOT NULL AS is_watched,
           CASE WHEN o.is_over AND l.state IN ('retry', 'waiting', 'queued') THEN 'cancelled' ELSE l.state END
               AS new_state
    FROM locked l
    JOIN runs r ON r.id = l.run_id
    CROSS JOIN LATERAL (
        SELECT r.cancel_requested_at IS NOT NULL OR r.state NOT IN ('queued', 'running', 'suspended') AS is_over
    ) o
    ORDER BY l.run_id, l.node_key, l.scope, l.ord
),
flipped AS (
    UPDATE node_runs n
    SET state        = f.new_state,
        input        = coalesce(f.input::json, n.input),
        output       = f.output::json,
        error        = f.error::json,
        attempts     = n.attempts - (f.state IN ('waiting', 'queued'))::int,
        failures     = n.failures + (f.state = 'retry')::int,
        suspect      = n.suspect AND f.state = 'queued',
        crashes      = CASE WHEN f.state = 'queued' THEN n.crashes ELSE 0 END,
        -- Nobody claims a row that is skipped. When the reply is lost, these say whose commit it was, and which. The row
        -- has had no attempt, so nobody takes the token for a span.
        lease_id     = CASE WHEN f.state = 'skipped' THEN {lease} ELSE n.lease_id END,
        span_id      = CASE WHEN f.state = 'skipped' THEN f.skip_token ELSE n.span_id END,
        waited_until = CASE WHEN f.state = 'waiting' THEN now() + f.delay_ms * interval '1 ms'
                            WHEN f.state = 'queued' THEN n.waited_until END,
        waiting_for  = CASE WHEN f.state = 'waiting' THEN f.waiting_for::json
                            WHEN f.state = 'queued' THEN n.waiting_for END,
        -- What came from outside while this worked may be what it now waits for: it is to see for itself.
        wake_at      = CASE WHEN f.new_state = 'waiting' AND f.is_outside AND n.signalled THEN now()
                            WHEN f.new_state IN ('retry', 'waiting', 'queued') THEN now() + f.delay_ms * interval '1 ms' END,
        wakes        = 0,
        message_expected = f.new_state <> 'queued',
        queued_at    = CASE WHEN f.new_state = 'queued' THEN now() ELSE n.queued_at END,
        ended_at     = CASE WHEN f.new_state IN ('succeeded', 'failed', 'skipped', 'cancelled') THEN now() END
    FROM flipping f
    WHERE n.run_id = f.run_id AND n.node_key = f.node_key AND n.scope = f.scope
    RETURNING f.ord, f.run_id, f.node_key, f.scope, f.kind, f.state, f.new_state, f.error, f.claim, f.attempts,
              f.span_id, f.delay_ms, f.started_at, f.organization_id, f.workspace_id, f.user_id, f.workflow,
              f.trace_id, f.root_span_id, f.segment, f.is_over, f.is_watched
),
planned AS MATERIALIZED (
    SELECT f.ord, b.ord AS place, b.node_key, b.scope, b.kind, b.state, b.timeout_ms, b.publish_span_id, b.span_id,
           b.input, b.output, b.error, b.delay_ms,
           f.run_id, f.organization_id, f.workspace_id, f.user_id, f.trace_id, f.root_span_id, f.segment,
           CASE WHEN f.is_over AND b.state IN ('queued', 'running', 'waiting') THEN 'cancelled' ELSE b.state END
               AS new_state
    FROM {new_rows} b
    JOIN flipped f ON f.ord = b.commit_ord
),
attempt AS (
    INSERT INTO node_attempts (run_id, node_key, scope, claim, organization_id, workspace_id, attempt, outcome,
                               error, span_id, segment, lease_id, worker, started_at, ended_at)
    SELECT run_id, node_key, scope, claim, organization_id, workspace_id, attempts,
           CASE state WHEN 'queued' THEN 'released' ELSE state END, error::json, span_id, segment, {lease},
           (SELECT h.worker FROM holder h), started_at, now()
    FROM flipped
    WHERE state IN ('retry', 'waiting', 'queued')
    UNION ALL
    -- A node that was inlined and asked for a wait has had its attempt: before any claim.
    SELECT run_id, node_key, scope, 0, organization_id, workspace_id, 1, 'waiting', NULL, span_id, segment, {lease},
           (SELECT h.worker FROM holder h), now(), now()
    FROM planned
    WHERE new_state = 'waiting'
),
inserted AS (
    INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, state, claim, attempts,
                           lease_id, worker, timeout_ms, publish_span_id, span_id, segment, input, output, error,
                           waited_until, wake_at, queued_at, started_at, ended_at)
    SELECT p.run_id, p.node_key, p.scope, p.organization_id, p.workspace_id, p.kind, p.new_state,
           (p.new_state = 'running')::int,
           (p.new_state IN ('running', 'succeeded', 'failed'))::int,
           CASE WHEN p.new_state IN ('running', 'succeeded', 'failed', 'waiting') THEN {lease} END,
           CASE WHEN p.new_state IN ('running', 'succeeded', 'failed', 'waiting')
                THEN (SELECT h.worker FROM holder h) END,
           p.timeout_ms, p.publish_span_id, p.span_id, p.segment, p.input::json, p.output::json, p.error::json,
           CASE WHEN p.new_state = 'waiting' THEN now() + p.delay_ms * interval '1 ms' END,
           CASE p.new_state
               WHEN 'queued' THEN now() + {first_wake_ms} * interval '1 ms'
               WHEN 'running' THEN now() + (p.timeout_ms + {grace_ms}) * interval '1 ms'
               WHEN 'waiting' THEN now() + p.delay_ms * interval '1 ms'
           END,
           now(),
           CASE WHEN p.new_state IN ('running', 'succeeded', 'failed', 'waiting') THEN now() END,
           CASE WHEN p.new_state IN ('succeeded', 'failed', 'skipped', 'cancelled') THEN now() END
    FROM planned p
    ORDER BY p.place
    RETURNING 1
),
tokens AS MATERIALIZED (
    SELECT f.run_id, t.node_key, t.scope, max(f.ord) AS ord, min(t.kind) AS kind, max(t.timeout_ms) AS timeout_ms,
           max(t.fan_in) AS fan_in, sum(t.arrived)::int AS arrived, sum(t.live)::int AS live,
           bool_or(t.always) AS always,
           (array_agg(t.publish_span_id ORDER BY f.ord DESC))[1] AS publish_span_id,
           (array_agg(t.keep_span_id ORDER BY f.ord DESC))[1] AS keep_span_id,
           f.organization_id, f.workspace_id, f.user_id, f.trace_id, f.root_span_id, f.segment, f.is_over
    FROM {join_tokens} t
    JOIN flipped f ON f.ord = t.commit_ord
    GROUP BY f.run_id, t.node_key, t.scope, f.organization_id, f.workspace_id, f.user_id, f.trace_id, f.root_span_id,
             f.segment, f.is_over
),
-- A join counts down on its own row, so that two committers that each see the other's parent unfinished
-- still add up. EXCLUDED carries what this batch brings: fan_in - pending tokens, live of them live, and a
-- span if the committer wants to keep the join.
joined AS (
    INSERT INTO node_runs AS n (run_id, node_key, scope, organization_id, workspace_id, kind, state, fan_in, pending,
                                live, claim, attempts, lease_id, worker, timeout_ms, publish_span_id, span_id,
                                segment, wake_at, queued_at, started_at, ended_at)
    SELECT s.run_id, s.node_key, s.scope, s.organization_id, s.workspace_id, s.kind, s.state, s.fan_in,
           s.fan_in - s.arrived, s.live, (s.state = 'running')::int, (s.state = 'running')::int,
           CASE WHEN s.state = 'running' THEN {lease} END,
           CASE WHEN s.state = 'running' THEN (SELECT h.worker FROM holder h) END, s.timeout_ms, s.publish_span_id, s.keep_span_id, s.segment,
           CASE s.state
               WHEN 'running' THEN now() + (s.timeout_ms + {grace_ms}) * interval '1 ms'
               WHEN 'blocked' THEN NULL
               WHEN 'cancelled' THEN NULL
               ELSE now() + {first_wake_ms} * interval '1 ms'
           END,
           CASE WHEN s.state IN ('running', 'queued') THEN now() END,
           CASE WHEN s.state = 'running' THEN now() END,
           CASE WHEN s.state = 'cancelled' THEN now() END
    FROM (
        SELECT t.*,
               CASE WHEN t.is_over THEN 'cancelled'
                    WHEN t.arrived < t.fan_in THEN 'blocked'
                    WHEN t.live = 0 AND NOT t.always THEN 'skipping'
                    WHEN t.keep_span_id IS NOT NULL THEN 'running'
                    ELSE 'queued'
               END AS state
        FROM tokens t
        WHERE (SELECT count(*) FROM inserted) >= 0
        ORDER BY t.run_id, t.node_key, t.scope
    ) s
    ON CONFLICT (run_id, node_key, scope) DO UPDATE
    SET (pending, live, state, claim, attempts, lease_id, worker, publish_span_id, span_id, segment, wake_at,
         queued_at, started_at, ended_at) =
        (SELECT x.pending, x.live, x.state, n.claim + (x.state = 'running')::int,
                n.attempts + (x.state = 'running')::int,
                CASE WHEN x.state = 'running' THEN {lease} END,
                CASE WHEN x.state = 'running' THEN (SELECT h.worker FROM holder h) END,
                EXCLUDED.publish_span_id,
                CASE WHEN x.state = 'running' THEN EXCLUDED.span_id END,
                EXCLUDED.segment,
                CASE x.state
                    WHEN 'running' THEN now() + (n.timeout_ms + {grace_ms}) * interval '1 ms'
                    WHEN 'blocked' THEN NULL
                    WHEN 'cancelled' THEN NULL
                    ELSE now() + {first_wake_ms} * interval '1 ms'
                END,
                CASE WHEN x.state IN ('running', 'queued') THEN now() END,
                CASE WHEN x.state = 'running' THEN now() END,
                CASE WHEN x.state = 'cancelled' THEN now() END
         FROM (
             SELECT y.pending, y.live,
                    CASE WHEN EXCLUDED.state = 'cancelled' THEN 'cancelled'
                         WHEN y.pending > 0 THEN 'blocked'
                         WHEN y.live = 0 AND n.kind <> 'end' THEN 'skipping'
                         WHEN EXCLUDED.span_id IS NOT NULL THEN 'running'
                         ELSE 'queued'
                    END AS state
             FROM (SELECT n.pending - (EXCLUDED.fan_in - EXCLUDED.pending) AS pending, n.live + EXCLUDED.live AS live) y
         ) x)
    WHERE n.state = 'blocked'
    RETURNING n.run_id, n.node_key, n.scope, n.kind, n.state, n.claim, n.publish_span_id, n.span_id
),
activated AS MATERIALIZED (
    SELECT p.ord, p.run_id, p.node_key, p.scope, p.kind, p.new_state AS state, (p.new_state = 'running')::int AS claim,
           p.publish_span_id, p.span_id, p.organization_id, p.workspace_id, p.user_id, p.trace_id, p.root_span_id
    FROM planned p
    WHERE p.new_state IN ('queued', 'running', 'cancelled')
    UNION ALL
    SELECT t.ord, t.run_id, t.node_key, t.scope, j.kind, j.state, j.claim, j.publish_span_id, j.span_id,
           t.organization_id, t.workspace_id, t.user_id, t.trace_id, t.root_span_id
    -- A full join cannot be a loop. Each joined row has its tokens; the others fall to the condition.
    FROM tokens t
    FULL JOIN joined j ON j.run_id = t.run_id AND j.node_key = t.node_key AND j.scope = t.scope
    WHERE coalesce(j.state, '') IN ('queued', 'running', 'skipping', 'cancelled')
),
effect AS MATERIALIZED (
    SELECT DISTINCT ON (e.run_id) e.*
    FROM (
        SELECT f.run_id, f.ord, e.effect, e.output, e.error
        FROM {effects} e
        JOIN flipped f ON f.ord = e.commit_ord
        UNION ALL
        -- Perhaps nothing of the run works any more; a recheck of it will show.
        SELECT f.run_id, f.ord, 'park', NULL, NULL
        FROM flipped f
        WHERE f.new_state IN ('retry', 'waiting') AND (f.delay_ms >= {long_wait_ms} OR f.delay_ms IS NULL)
        UNION ALL
        SELECT p.run_id, p.ord, 'park', NULL, NULL
        FROM planned p
        WHERE p.new_state = 'waiting' AND (p.delay_ms >= {long_wait_ms} OR p.delay_ms IS NULL)
        UNION ALL
        -- Something of the run waits, and this may have been the last of it that worked: a branch has ended and led
        -- to nothing.
        SELECT f.run_id, f.ord, 'watch', NULL, NULL
        FROM flipped f
        WHERE f.is_watched AND f.new_state IN ('succeeded', 'failed', 'skipped', 'cancelled')
          AND f.ord NOT IN (SELECT a.ord FROM activated a WHERE a.state IN ('queued', 'running', 'skipping'))
          -- Not the run's row for each of many branches: it is changed by the last of them, or by the recheck where two
          -- end at once.
          AND (SELECT o.node_key
               FROM node_runs o
               WHERE o.run_id = f.run_id AND o.state IN ('queued', 'running', 'skipping')
                 AND (o.run_id, o.node_key, o.scope) NOT IN (SELECT g.run_id, g.node_key, g.scope FROM flipped g)
               LIMIT 1) IS NULL
    ) e
    ORDER BY e.run_id, e.effect, e.ord   -- of two effects in one batch: fail, park, succeed, watch
),
-- Nodes before runs, runs in key order.
to_change AS MATERIALIZED (
    SELECT e.*
    FROM effect e
    JOIN runs r ON r.id = e.run_id
    WHERE r.state IN ('queued', 'running', 'suspended') AND r.cancel_requested_at IS NULL
      AND (SELECT count(*) FROM joined) >= 0
    ORDER BY r.id
    FOR UPDATE OF r
),
changed AS (
    UPDATE runs r
    SET state               = CASE c.effect WHEN 'succeed' THEN 'succeeded' ELSE r.state END,
        output              = c.output::json,
        error               = c.error::json,
        ended_at            = CASE c.effect WHEN 'succeed' THEN now() END,
        cancel_requested_at = CASE c.effect WHEN 'fail' THEN now() END,
        cancel_state        = CASE c.effect WHEN 'fail' THEN 'failed' END,
        suspended_at        = NULL,
        -- Whoever commits a failure finishes the run at once; this is for the case that it dies first.
        wake_at             = CASE c.effect
                                  WHEN 'fail' THEN now() + interval '2 s'
                                  -- Always another value, so that a recheck which is under way sees that it has missed
                                  -- something.
                                  WHEN 'park' THEN least(r.wake_at - interval '1 us',
                                                         now() + {recheck_after_ms} * interval '1 ms')
                                  WHEN 'watch' THEN least(r.wake_at - interval '1 us', now())
                              END
    FROM to_change c
    WHERE r.id = c.run_id
    RETURNING c.ord, c.effect, r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version,
              r.step_mode, r.node_count, r.edge_count, r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags,
              r.created_at, r.started_at, r.ended_at, r.state, r.segment, r.resumed_at, r.resumed_from, r.trace_state
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            data, trace_id, span_id)
    SELECT t.organization_id, t.workspace_id, t.user_id, t.run_id, t.node_key, t.scope, t.level, t.event, t.message,
           t.data::json, t.trace_id, coalesce(t.span_id, t.root_span_id)
    FROM (
        SELECT f.ord, 0 AS rank, e.ord AS place, f.run_id, e.node_key, e.scope, e.level, e.event, e.message, e.data, e.span_id,
               f.organization_id, f.workspace_id, f.user_id, f.trace_id, f.root_span_id
        FROM {events} e
        JOIN flipped f ON f.ord = e.commit_ord
        WHERE NOT e.at_end OR f.ord IN (SELECT c.ord FROM changed c WHERE c.effect = 'succeed')
        UNION ALL
        -- It wanted to go on later and may not.
        SELECT f.ord, 1, 0, f.run_id, f.node_key, f.scope, 'info', 'node.cancelled',
               f.kind || ' node ' || f.node_key || ' cancelled', NULL, f.span_id,
               f.organization_id, f.workspace_id, f.user_id, f.trace_id, f.root_span_id
        FROM flipped f
        WHERE f.new_state = 'cancelled' AND f.state <> 'cancelled' AND f.kind <> 'end'
        UNION ALL
        SELECT a.ord, 2, 0, a.run_id, a.node_key, a.scope, 'info',
               CASE a.state WHEN 'running' THEN 'node.started' ELSE 'node.cancelled' END,
               a.kind || ' node ' || a.node_key || CASE a.state WHEN 'running' THEN ' started' ELSE ' cancelled' END,
               CASE a.state WHEN 'running' THEN '{"attempt":1}' END, a.span_id,
               a.organization_id, a.workspace_id, a.user_id, a.trace_id, a.root_span_id
        FROM activated a
        WHERE a.state IN ('running', 'cancelled') AND a.kind <> 'end'
    ) t
    ORDER BY t.ord, t.rank, t.place, t.node_key COLLATE "C", t.scope COLLATE "C"
    -- log: written
)
-- log: answer
-- A run that was to change and did not has been cancelled meanwhile, or was to fail before.
SELECT f.ord, 'flipped' AS what,
       f.is_over OR f.run_id IN (SELECT c.id FROM changed c WHERE c.effect = 'fail')
           OR (f.run_id IN (SELECT e.run_id FROM effect e) AND f.run_id NOT IN (SELECT c.id FROM changed c))
           AS finishing,
       f.kind, f.node_key, f.scope, f.new_state AS node_state, NULL::int AS claim,
       NULL::text AS node_publish_span_id, f.span_id AS node_span_id,
       f.run_id AS id, f.organization_id, f.workspace_id, f.user_id, NULL::uuid AS version_id, f.workflow,
       NULL::int AS version, NULL::bool AS step_mode, NULL::int AS node_count, NULL::int AS edge_count, f.trace_id,
       NULL::text AS publish_span_id, f.root_span_id, NULL::smallint AS trace_flags, NULL::timestamptz AS created_at,
       NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at, NULL::text AS state, NULL::int AS segment,
       NULL::timestamptz AS resumed_at, NULL::text AS resumed_from, NULL::text AS trace_state
FROM flipped f
UNION ALL
SELECT a.ord, 'activated', NULL, a.kind, a.node_key, a.scope, a.state, a.claim, a.publish_span_id, a.span_id,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL
FROM activated a
UNION ALL
SELECT c.ord, 'ended', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       c.id, c.organization_id, c.workspace_id, c.user_id, c.version_id, c.workflow, c.version, c.step_mode,
       c.node_count, c.edge_count, c.trace_id, c.publish_span_id, c.root_span_id, c.trace_flags, c.created_at,
       c.started_at, c.ended_at, c.state, c.segment, c.resumed_at, c.resumed_from,
       c.trace_state
FROM changed c
WHERE c.effect = 'succeed'

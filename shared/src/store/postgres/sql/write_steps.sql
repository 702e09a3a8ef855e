-- Writes what workers note on the way: steps that are over, what they cost, and the intents of those that come next, all
-- in one autocommit statement. The parameters, and the columns of those that are tables, are those of `WriteSteps` in
-- step_rows.rs.
--
-- Locks: rows of nodes in key order, then rows of their steps, which nobody else waits for, then totals in key order.
-- What is read of a row that is locked is its newest version; runs and the budgets of organizations are as they were
-- when the statement began: whoever changes them wakes afterwards what was refused by them.
--
-- A row that another statement has inserted since this one began is not seen, whatever was waited for, and a first try of
-- the very call may have: its reply was lost while it still waited for a total. Then the totals, which are newest
-- versions, hold what that try has reserved, and its step is missing here. Every write sets the node's deadline anew, so
-- a node whose deadline is not the one that was there when the statement began says that one came between
-- (`is_overtaken`): nothing is refused then, and the next statement sees all of it.
WITH locked AS MATERIALIZED (
    SELECT w.*, n.kind AS node_kind, n.span_id AS attempt_span_id, n.wake_at IS DISTINCT FROM before.wake_at AS is_overtaken
    FROM {writes} w
    JOIN node_runs n USING (run_id, node_key, scope)
    JOIN node_runs before USING (run_id, node_key, scope)
    WHERE n.state = 'running' AND n.lease_id = {lease} AND n.claim = w.claim
    ORDER BY n.run_id, n.node_key, n.scope
    FOR UPDATE OF n
),
held AS (
    UPDATE node_runs n
    SET wake_at = now() + (n.timeout_ms + {grace_ms}) * interval '1 ms', suspect = false, crashes = 0
    FROM locked l
    WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope
),
owned AS MATERIALIZED (
    SELECT l.*, r.organization_id, r.workspace_id, r.user_id, r.workflow, r.trace_id, r.root_span_id, r.max_nanos,
           r.max_tokens, r.max_steps
    FROM locked l
    JOIN runs r ON r.id = l.run_id
),
under_way AS MATERIALIZED (
    SELECT o.ord, o.run_id, o.node_key, o.scope, o.f_status, o.f_charge, o.organization_id, o.workspace_id, o.user_id,
           o.workflow, h.step, h.attempt, h.provider, h.model, coalesce(o.f_price_input, h.price_input) AS price_input,
           coalesce(o.f_price_output, h.price_output) AS price_output,
           coalesce(o.f_price_cache_read, h.price_cache_read) AS price_cache_read,
           coalesce(o.f_price_cache_write, h.price_cache_write) AS price_cache_write, h.reserved_nanos, h.reserved_input_tokens, h.reserved_output_tokens, h.reserved_day,
           h.trace_id, h.span_id, o.f_input_tokens, o.f_cached_tokens, o.f_cache_write_tokens, o.f_output_tokens,
           coalesce(h.claim = o.claim AND h.step = o.f_step AND h.attempt = o.f_attempt, false) AS is_finished,
           coalesce(h.claim < o.claim OR (h.step = o.b_step AND h.span_id <> o.b_span_id), false) AS is_left
    FROM owned o
    JOIN agent_trace_history h ON h.run_id = o.run_id AND h.node_key = o.node_key AND h.scope = o.scope
    WHERE h.status = 'started'
    FOR UPDATE OF h
),
tries AS MATERIALIZED (
    SELECT o.ord, o.b_digest, h.attempt, h.claim, h.span_id, h.digest, h.decided_by, h.expires_at, h.started_at,
           CASE WHEN h.status = 'started' AND h.claim = o.claim AND h.step = o.f_step AND h.attempt = o.f_attempt
                THEN o.f_status ELSE h.status END AS status
    FROM owned o
    JOIN agent_trace_history h ON h.run_id = o.run_id AND h.node_key = o.node_key AND h.scope = o.scope
                              AND h.step = o.b_step
    FOR UPDATE OF h
),
latest AS (
    SELECT DISTINCT ON (t.ord) t.*,
           bool_or(t.status NOT IN ('pending', 'approved', 'denied')) OVER w AS was_made,
           bool_or(t.decided_by IS NOT NULL AND t.status <> 'denied' AND t.digest = t.b_digest) OVER w AS was_allowed
    FROM tries t
    WINDOW w AS (PARTITION BY t.ord)
    ORDER BY t.ord, t.attempt DESC
),
wishes AS MATERIALIZED (
    SELECT o.*, t.attempt AS last_attempt, t.status AS last_status, t.started_at AS last_started_at,
           (NOT coalesce(t.was_made, false))::int AS steps,
           CASE
               WHEN o.b_step IS NULL THEN 'nothing'
               WHEN t.ord IS NULL OR t.status IN ('refused', 'lost')
                    OR (t.status = 'started' AND (t.claim < o.claim OR t.span_id <> o.b_span_id))
                   THEN CASE WHEN o.b_decision_ms IS NULL OR t.was_allowed THEN 'start' ELSE 'ask' END
               WHEN t.status = 'started' THEN 'again'
               WHEN t.status IN ('pending', 'approved') AND t.digest <> o.b_digest THEN 'over'
               WHEN t.status = 'pending' AND t.expires_at <= now() THEN 'expired'
               WHEN t.status = 'pending' THEN 'pending'
               WHEN t.status = 'approved' THEN 'resume'
               ELSE 'over'
           END AS wish
    FROM owned o
    LEFT JOIN latest t ON t.ord = o.ord
),
budgets AS MATERIALIZED (
    SELECT w.ord, w.organization_id, w.b_nanos, w.b_tokens, w.steps, b.*
    FROM wishes w
    LEFT JOIN organization_budgets d ON d.organization_id = w.organization_id AND d.period = 'day'
    LEFT JOIN organization_budgets m ON m.organization_id = w.organization_id AND m.period = 'month'
    CROSS JOIN LATERAL (
        VALUES ('run', 'run:' || w.run_id, w.max_nanos, w.max_tokens, w.max_steps),
               ('day', 'day:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD'), d.max_nanos, d.max_tokens, d.max_steps),
               ('month', 'month:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'), m.max_nanos, m.max_tokens, m.max_steps)
    ) b (period, bucket, max_nanos, max_tokens, max_steps)
    WHERE w.wish IN ('start', 'resume')
),
totals AS MATERIALIZED (
    SELECT t.*
    FROM (
        SELECT organization_id, bucket FROM budgets
        UNION
        SELECT u.organization_id, b.bucket
        FROM under_way u
        CROSS JOIN LATERAL (VALUES ('run:' || u.run_id), ('day:' || u.reserved_day), ('month:' || left(u.reserved_day, 7)))
            b (bucket)
        WHERE u.provider IS NOT NULL AND (u.is_finished OR u.is_left)
    ) k
    JOIN budget_totals t USING (organization_id, bucket)
    ORDER BY t.organization_id, t.bucket
    FOR UPDATE OF t
),
-- What is over costs what its provider counted, at the price that it was reserved at or at the one that is written for it:
-- rounded once, half up.
finished AS MATERIALIZED (
    SELECT u.*,
           CASE u.f_charge
               WHEN 'nothing' THEN CASE WHEN u.provider IS NOT NULL THEN 0 END
               WHEN 'reserved' THEN u.reserved_nanos
               -- The least of what is null and something is that.
               ELSE CASE WHEN u.price_input IS NOT NULL THEN
                    least(div(greatest(u.f_input_tokens::numeric - u.f_cached_tokens - u.f_cache_write_tokens, 0) * u.price_input
                              + u.f_cached_tokens::numeric * u.price_cache_read
                              + u.f_cache_write_tokens::numeric * u.price_cache_write
                              + u.f_output_tokens::numeric * u.price_output + 500000, 1000000),
                          {cost_max})::bigint END
           END AS cost_nanos,
           CASE u.f_charge WHEN 'reserved' THEN u.reserved_input_tokens ELSE coalesce(u.f_input_tokens, 0) END AS input_tokens,
           coalesce(u.f_cached_tokens, 0) AS cached_tokens,
           coalesce(u.f_cache_write_tokens, 0) AS cache_write_tokens,
           CASE u.f_charge WHEN 'reserved' THEN u.reserved_output_tokens ELSE coalesce(u.f_output_tokens, 0) END AS output_tokens
    FROM under_way u
    WHERE u.is_finished
),
settled AS (
    SELECT f.organization_id, b.bucket, sum(f.cost_nanos) AS nanos,
           sum(f.input_tokens::numeric + f.output_tokens) AS tokens, sum(f.reserved_nanos) AS reserved_nanos,
           sum(f.reserved_input_tokens::numeric + f.reserved_output_tokens) AS reserved_tokens
    FROM finished f
    CROSS JOIN LATERAL (VALUES ('run:' || f.run_id), ('day:' || f.reserved_day), ('month:' || left(f.reserved_day, 7)))
        b (bucket)
    WHERE f.provider IS NOT NULL
    GROUP BY f.organization_id, b.bucket
),
standings AS (
    SELECT b.*, t.bucket IS NOT NULL AS is_there,
           t.spent_nanos + coalesce(s.nanos, 0) AS spent_nanos,
           t.input_tokens + t.output_tokens::numeric + coalesce(s.tokens, 0) AS spent_tokens,
           t.steps::numeric AS spent_steps,
           greatest(t.open_nanos - coalesce(s.reserved_nanos, 0), 0) AS open_nanos,
           greatest(t.open_tokens - coalesce(s.reserved_tokens, 0), 0) AS open_tokens
    FROM budgets b
    LEFT JOIN totals t ON t.organization_id = b.organization_id AND t.bucket = b.bucket
    LEFT JOIN settled s ON s.organization_id = b.organization_id AND s.bucket = b.bucket
),
-- Whether it fits if nobody else is there, by all of its budgets. The rule is that of `judge` in domain/budget.rs.
possible AS (
    SELECT s.*, bool_and(s.is_there) OVER w AS is_ready,
           bool_and(s.is_there
                    AND (s.max_nanos IS NULL OR coalesce(s.b_nanos = 0 OR s.spent_nanos + s.b_nanos <= s.max_nanos, false))
                    AND (s.max_tokens IS NULL OR s.b_tokens = 0 OR s.spent_tokens + s.b_tokens <= s.max_tokens)
                    AND (s.max_steps IS NULL OR s.steps = 0 OR s.spent_steps + s.steps <= s.max_steps)) OVER w AS fits
    FROM standings s
    WINDOW w AS (PARTITION BY s.ord)
),
-- What those take that come before it in the batch and could be granted, whether or not they are.
beside AS (
    SELECT p.*,
           p.open_nanos + coalesce(sum(p.b_nanos) FILTER (WHERE p.fits) OVER w, 0) AS taken_nanos,
           p.open_tokens + coalesce(sum(p.b_tokens) FILTER (WHERE p.fits) OVER w, 0) AS taken_tokens,
           coalesce(sum(p.steps) FILTER (WHERE p.fits) OVER w, 0) AS taken_steps
    FROM possible p
    WINDOW w AS (PARTITION BY p.organization_id, p.bucket ORDER BY p.ord
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
judged AS MATERIALIZED (
    SELECT b.*,
           bool_and(b.fits
                    AND (b.max_nanos IS NULL
                         OR coalesce(b.b_nanos = 0 OR b.spent_nanos + b.taken_nanos + b.b_nanos <= b.max_nanos, false))
                    AND (b.max_tokens IS NULL OR b.b_tokens = 0
                         OR b.spent_tokens + b.taken_tokens + b.b_tokens <= b.max_tokens)
                    AND (b.max_steps IS NULL OR b.steps = 0
                         OR b.spent_steps + b.taken_steps + b.steps <= b.max_steps)) OVER (PARTITION BY b.ord) AS is_granted
    FROM beside b
),
-- Where a first try of the call has inserted the same row after this statement began, the step is found by the next one.
inserted AS (
    INSERT INTO agent_trace_history (run_id, node_key, scope, step, attempt, organization_id, workspace_id, user_id, node_kind,
                                     claim, lease_id, kind, name, status, digest, arguments, provider, model, price_input,
                                     price_output, price_cache_read, price_cache_write, reserved_nanos,
                                     reserved_input_tokens, reserved_output_tokens, reserved_day, trace_id, span_id,
                                     parent_span_id, expires_at, started_at)
    SELECT w.run_id, w.node_key, w.scope, w.b_step, coalesce(w.last_attempt, 0) + 1, w.organization_id, w.workspace_id,
           w.user_id, w.node_kind, w.claim, {lease}, i.kind, i.name, CASE w.wish WHEN 'ask' THEN 'pending' ELSE 'started' END,
           w.b_digest, i.arguments::json, x.provider, x.model, x.price_input, x.price_output, x.price_cache_read,
           x.price_cache_write, x.reserved_nanos, x.reserved_input_tokens, x.reserved_output_tokens,
           CASE WHEN x.provider IS NOT NULL THEN to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
           w.trace_id, w.b_span_id, w.attempt_span_id,
           CASE w.wish WHEN 'ask' THEN now() + w.b_decision_ms * interval '1 ms' END, now()
    FROM wishes w
    JOIN {intents} i ON i.write_ord = w.ord
    LEFT JOIN {reservations} x ON x.write_ord = w.ord AND w.wish = 'start'
    WHERE w.wish = 'ask' OR (w.wish = 'start' AND w.ord IN (SELECT ord FROM judged WHERE is_granted))
    ORDER BY w.ord
    ON CONFLICT DO NOTHING
    RETURNING run_id, node_key, scope, attempt, status
),
resumed AS (
    UPDATE agent_trace_history h
    SET status = 'started', claim = w.claim, lease_id = {lease}, provider = x.provider, model = x.model,
        price_input = x.price_input, price_output = x.price_output, price_cache_read = x.price_cache_read,
        price_cache_write = x.price_cache_write, reserved_nanos = x.reserved_nanos,
        reserved_input_tokens = x.reserved_input_tokens, reserved_output_tokens = x.reserved_output_tokens,
        reserved_day = CASE WHEN x.provider IS NOT NULL THEN to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') END,
        trace_id = w.trace_id, span_id = w.b_span_id, parent_span_id = w.attempt_span_id, started_at = now()
    FROM wishes w
    LEFT JOIN {reservations} x ON x.write_ord = w.ord
    WHERE w.wish = 'resume' AND w.ord IN (SELECT ord FROM judged WHERE is_granted)
      AND h.run_id = w.run_id AND h.node_key = w.node_key AND h.scope = w.scope AND h.step = w.b_step
      AND h.attempt = w.last_attempt
    RETURNING h.run_id, h.node_key, h.scope, h.attempt, h.status
),
began AS MATERIALIZED (
    SELECT w.ord, w.run_id, w.organization_id, w.b_nanos, w.steps, s.attempt, s.status, x.provider,
           x.reserved_nanos, x.reserved_input_tokens, x.reserved_output_tokens
    FROM wishes w
    JOIN (SELECT * FROM inserted UNION ALL SELECT * FROM resumed) s
        ON s.run_id = w.run_id AND s.node_key = w.node_key AND s.scope = w.scope
    LEFT JOIN {reservations} x ON x.write_ord = w.ord
),
lost AS (
    UPDATE agent_trace_history h
    SET status = 'lost', ended_at = now(), cost_nanos = h.reserved_nanos, estimated = h.provider IS NOT NULL
    FROM under_way u
    JOIN began b ON b.ord = u.ord AND b.status = 'started'
    WHERE u.is_left AND NOT u.is_finished
      AND h.run_id = u.run_id AND h.node_key = u.node_key AND h.scope = u.scope AND h.step = u.step AND h.attempt = u.attempt
    RETURNING u.ord, h.run_id, h.node_key, h.scope, h.node_kind, h.step, h.attempt, h.kind, h.name, h.provider, h.model,
              h.reserved_input_tokens, h.reserved_output_tokens, h.reserved_nanos, h.reserved_day, h.trace_id, h.span_id,
              h.parent_span_id, h.started_at, h.ended_at, h.organization_id, h.workspace_id, h.user_id, u.workflow
),
recorded AS (
    UPDATE agent_trace_history h
    SET status = f.f_status, observation = r.observation::json, thought = r.thought, error = r.error::json,
        response_model = r.response_model, latency_ms = r.latency_ms, input_tokens = f.f_input_tokens,
        cached_tokens = f.f_cached_tokens, cache_write_tokens = f.f_cache_write_tokens, output_tokens = f.f_output_tokens,
        price_input = f.price_input, price_output = f.price_output, price_cache_read = f.price_cache_read,
        price_cache_write = f.price_cache_write, cost_nanos = f.cost_nanos, estimated = f.f_charge = 'reserved' AND f.provider IS NOT NULL, ended_at = now()
    FROM finished f
    JOIN {results} r ON r.write_ord = f.ord
    WHERE h.run_id = f.run_id AND h.node_key = f.node_key AND h.scope = f.scope AND h.step = f.step AND h.attempt = f.attempt
    RETURNING f.ord, h.response_model, h.latency_ms
),
expired AS (
    UPDATE agent_trace_history h
    SET status = 'denied', error = '{"code":"approval_timeout","message":"nobody has allowed it in time"}', ended_at = now()
    FROM wishes w
    WHERE w.wish = 'expired'
      AND h.run_id = w.run_id AND h.node_key = w.node_key AND h.scope = w.scope AND h.step = w.b_step
      AND h.attempt = w.last_attempt
),
charged AS (
    INSERT INTO model_cost_logs (organization_id, workspace_id, user_id, run_id, workflow, node_key, scope, step, attempt,
                                 provider, model, response_model, status, input_tokens, cached_tokens, cache_write_tokens,
                                 output_tokens, cost_nanos, estimated, latency_ms, trace_id, span_id)
    SELECT f.organization_id, f.workspace_id, f.user_id, f.run_id, f.workflow, f.node_key, f.scope, f.step, f.attempt,
           f.provider, f.model, r.response_model, f.f_status, f.input_tokens, f.cached_tokens, f.cache_write_tokens,
           f.output_tokens, f.cost_nanos, f.f_charge = 'reserved', r.latency_ms, f.trace_id, f.span_id
    FROM finished f
    JOIN recorded r ON r.ord = f.ord
    WHERE f.provider IS NOT NULL
    UNION ALL
    SELECT l.organization_id, l.workspace_id, l.user_id, l.run_id, l.workflow, l.node_key, l.scope, l.step, l.attempt,
           l.provider, l.model, NULL, 'lost', l.reserved_input_tokens, 0, 0, l.reserved_output_tokens, l.reserved_nanos,
           true, NULL, l.trace_id, l.span_id
    FROM lost l
    WHERE l.provider IS NOT NULL
),
changes AS (
    SELECT f.ord, f.organization_id, b.bucket, f.cost_nanos AS nanos, f.input_tokens, f.cached_tokens,
           f.cache_write_tokens, f.output_tokens, 1 AS calls, (f.cost_nanos IS NULL)::int AS unpriced_calls, 0 AS steps,
           -f.reserved_nanos AS open_nanos, -(f.reserved_input_tokens::numeric + f.reserved_output_tokens) AS open_tokens
    FROM finished f
    CROSS JOIN LATERAL (VALUES ('run:' || f.run_id), ('day:' || f.reserved_day), ('month:' || left(f.reserved_day, 7)))
        b (bucket)
    WHERE f.provider IS NOT NULL
    UNION ALL
    SELECT l.ord, l.organization_id, b.bucket, l.reserved_nanos, l.reserved_input_tokens, 0, 0, l.reserved_output_tokens, 1,
           (l.reserved_nanos IS NULL)::int, 0, -l.reserved_nanos,
           -(l.reserved_input_tokens::numeric + l.reserved_output_tokens)
    FROM lost l
    CROSS JOIN LATERAL (VALUES ('run:' || l.run_id), ('day:' || l.reserved_day), ('month:' || left(l.reserved_day, 7)))
        b (bucket)
    WHERE l.provider IS NOT NULL
    UNION ALL
    SELECT b.ord, b.organization_id, j.bucket, 0, 0, 0, 0, 0, 0, 0, b.steps, b.reserved_nanos,
           b.reserved_input_tokens::numeric + b.reserved_output_tokens
    FROM began b
    JOIN judged j ON j.ord = b.ord
    WHERE b.status = 'started'
),
tally AS MATERIALIZED (
    SELECT t.organization_id, t.bucket, t.warned, c.ord,
           least(t.spent_nanos + c.nanos, 9223372036854775807)::bigint AS spent_nanos,
           least(greatest(t.open_nanos + c.open_nanos, 0), 9223372036854775807)::bigint AS open_nanos,
           least(greatest(t.open_tokens + c.open_tokens, 0), 9223372036854775807)::bigint AS open_tokens,
           least(t.input_tokens + c.input_tokens, 9223372036854775807)::bigint AS input_tokens,
           least(t.cached_tokens + c.cached_tokens, 9223372036854775807)::bigint AS cached_tokens,
           least(t.cache_write_tokens + c.cache_write_tokens, 9223372036854775807)::bigint AS cache_write_tokens,
           least(t.output_tokens + c.output_tokens, 9223372036854775807)::bigint AS output_tokens,
           t.calls + c.calls AS calls, t.unpriced_calls + c.unpriced_calls AS unpriced_calls, t.steps + c.steps AS steps
    FROM (
        SELECT organization_id, bucket, min(ord) AS ord, coalesce(sum(nanos), 0) AS nanos,
               sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
               sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens, sum(calls) AS calls,
               sum(unpriced_calls) AS unpriced_calls, sum(steps) AS steps, coalesce(sum(open_nanos), 0) AS open_nanos,
               coalesce(sum(open_tokens), 0) AS open_tokens
        FROM changes
        GROUP BY organization_id, bucket
    ) c
    JOIN totals t ON t.organization_id = c.organization_id AND t.bucket = c.bucket
),
warnings AS MATERIALIZED (
    SELECT y.organization_id, y.bucket, y.ord, y.period, w.*
    FROM (
        SELECT t.*, p.period, o.max_nanos AS run_max_nanos, o.max_tokens AS run_max_tokens, o.max_steps AS run_max_steps,
               m.max_nanos, m.max_tokens, m.max_steps
        FROM tally t
        JOIN owned o ON o.ord = t.ord
        CROSS JOIN LATERAL (SELECT split_part(t.bucket, ':', 1) AS period) p
        LEFT JOIN organization_budgets m ON m.organization_id = t.organization_id AND m.period = p.period
        WHERE NOT t.warned
    ) y
    CROSS JOIN LATERAL (
        SELECT *
        FROM (VALUES (1, 'usd', CASE y.period WHEN 'run' THEN y.run_max_nanos ELSE y.max_nanos END, y.spent_nanos::numeric),
                     (2, 'tokens', CASE y.period WHEN 'run' THEN y.run_max_tokens ELSE y.max_tokens END,
                      y.input_tokens + y.output_tokens::numeric),
                     (3, 'steps', CASE y.period WHEN 'run' THEN y.run_max_steps ELSE y.max_steps END, y.steps::numeric))
             v (rank, resource, max, spent)
        WHERE v.spent > 0 AND v.spent * 100 >= v.max::numeric * {warning_percent}
        ORDER BY v.rank
        LIMIT 1
    ) w
),
counted AS (
    UPDATE budget_totals t
    SET spent_nanos = y.spent_nanos, open_nanos = y.open_nanos, open_tokens = y.open_tokens,
        input_tokens = y.input_tokens, cached_tokens = y.cached_tokens, cache_write_tokens = y.cache_write_tokens,
        output_tokens = y.output_tokens, calls = y.calls, unpriced_calls = y.unpriced_calls, steps = y.steps,
        warned = t.warned OR EXISTS (SELECT 1 FROM warnings w
                                     WHERE w.organization_id = y.organization_id AND w.bucket = y.bucket)
    FROM tally y
    WHERE t.organization_id = y.organization_id AND t.bucket = y.bucket
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            data, trace_id, span_id)
    SELECT t.organization_id, t.workspace_id, t.user_id, t.run_id, t.node_key, t.scope, t.level, t.event, t.message,
           t.data::json, t.trace_id, coalesce(t.span_id, t.root_span_id)
    FROM (
        SELECT o.ord, 0 AS rank, e.ord AS place, o.organization_id, o.workspace_id, o.user_id, o.run_id, e.node_key, e.scope,
               e.level, e.event, e.message, e.data, o.trace_id, e.span_id, o.root_span_id
        FROM {events} e
        JOIN owned o ON o.ord = e.commit_ord
        WHERE CASE WHEN o.f_step IS NOT NULL THEN o.ord IN (SELECT ord FROM finished)
                   WHEN o.b_step IS NOT NULL THEN o.ord IN (SELECT ord FROM began)
                   ELSE true END
        UNION ALL
        SELECT o.ord, 1, 0, o.organization_id, o.workspace_id, o.user_id, o.run_id, o.node_key, o.scope, 'warn',
               'budget.warning',
               CASE w.period WHEN 'run' THEN 'the run has spent ' ELSE 'the organization has spent ' END
                   || CASE w.max WHEN 0 THEN 'all' ELSE div(w.spent * 100, w.max) || ' percent' END || ' of its ' || w.resource
                   || CASE w.period WHEN 'run' THEN '' ELSE ' for the ' || w.period END,
               json_build_object('period', w.period, 'resource', w.resource,
                                 'limit', CASE w.resource WHEN 'usd' THEN trim_scale(w.max / 1000000000.0) ELSE w.max END,
                                 'spent', CASE w.resource WHEN 'usd' THEN trim_scale(w.spent / 1000000000.0)
                                               ELSE w.spent END)::text,
               o.trace_id, NULL, o.root_span_id
        FROM warnings w
        JOIN owned o ON o.ord = w.ord
    ) t
    ORDER BY t.ord, t.rank, t.place
    -- log: written
),
-- A call whose reply was lost has found the same ones, at the very time at which its step began.
found_lost AS (
    SELECT l.ord, l.run_id, l.node_key, l.scope, l.node_kind, l.step, l.attempt, l.kind, l.name, l.provider,
           l.reserved_nanos AS cost_nanos, l.trace_id, l.span_id, l.parent_span_id, l.started_at, l.ended_at,
           l.reserved_input_tokens, l.reserved_output_tokens
    FROM lost l
    UNION ALL
    SELECT w.ord, h.run_id, h.node_key, h.scope, h.node_kind, h.step, h.attempt, h.kind, h.name, h.provider,
           h.cost_nanos, h.trace_id, h.span_id, h.parent_span_id, h.started_at, h.ended_at,
           h.reserved_input_tokens, h.reserved_output_tokens
    FROM wishes w
    JOIN agent_trace_history h ON h.run_id = w.run_id AND h.node_key = w.node_key AND h.scope = w.scope
    WHERE w.wish = 'again' AND h.status = 'lost' AND h.ended_at = w.last_started_at
),
answers AS (
    SELECT w.ord, w.run_id, coalesce(b.attempt, w.last_attempt) AS try,
           CASE w.wish WHEN 'expired' THEN 'denied' ELSE w.last_status END AS status,
           CASE
               WHEN w.wish IN ('nothing', 'pending', 'again', 'over') THEN w.wish
               WHEN w.wish = 'expired' THEN 'over'
               WHEN b.ord IS NOT NULL THEN b.status
               WHEN NOT j.is_ready THEN 'unprepared'
               WHEN NOT j.is_granted AND NOT w.is_overtaken THEN 'refused'
               ELSE 'unresolved'
           END AS begun
    FROM wishes w
    LEFT JOIN began b ON b.ord = w.ord
    LEFT JOIN (SELECT DISTINCT ord, is_ready, is_granted FROM judged) j ON j.ord = w.ord
)
-- log: answer
SELECT a.ord, a.begun, a.try, a.status, o.on_exhausted, now() AS answered_at,
       (SELECT array_agg(w.period) FROM warnings w WHERE w.ord = a.ord) AS warned,
       s.period, s.max_nanos, s.max_tokens, s.max_steps, s.b_nanos AS wish_nanos, s.b_tokens AS wish_tokens,
       s.steps::bigint AS wish_steps,
       least(s.spent_nanos, 9223372036854775807)::bigint AS spent_nanos,
       least(s.spent_tokens, 9223372036854775807)::bigint AS spent_tokens,
       least(s.spent_steps, 9223372036854775807)::bigint AS spent_steps,
       least(s.taken_nanos, 9223372036854775807)::bigint AS taken_nanos,
       least(s.taken_tokens, 9223372036854775807)::bigint AS taken_tokens,
       least(s.taken_steps, 9223372036854775807)::bigint AS taken_steps,
       l.step, l.attempt, l.node_key, l.scope, l.node_kind, l.kind, l.name, l.provider, l.cost_nanos, l.span_id,
       l.parent_span_id, l.started_at, l.ended_at, l.reserved_input_tokens, l.reserved_output_tokens,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode, r.node_count,
       r.edge_count, l.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state, r.created_at
FROM answers a
LEFT JOIN judged s ON s.ord = a.ord AND a.begun = 'refused'
LEFT JOIN found_lost l ON l.ord = a.ord
LEFT JOIN runs o ON o.id = a.run_id AND a.begun = 'refused'
LEFT JOIN runs r ON r.id = l.run_id
ORDER BY a.ord, s.period, l.step, l.attempt

-- Gives back rows that a lease holds: those that its worker does not know of, because the reply to their claim was
-- lost, or when the lease ends, all. What had begun its effect keeps its attempt and counts as crashed. A row that
-- somebody else has locked is left: whoever asks comes back for it.
-- The parameters are those of `ReleaseRows` in leases.rs.
WITH known AS (
    SELECT * FROM {known} k
),
locked AS MATERIALIZED (
    SELECT n.run_id, n.node_key, n.scope, n.attempts, k.run_id IS NOT NULL AS has_begun
    FROM node_runs n
    LEFT JOIN known k USING (run_id, node_key, scope)
    WHERE n.lease_id = {lease} AND n.state = 'running'
      AND ({claimed_until} IS NULL OR (n.started_at <= {claimed_until} AND k.run_id IS NULL))
    ORDER BY n.run_id, n.node_key, n.scope
    FOR UPDATE OF n SKIP LOCKED
),
released AS (
    UPDATE node_runs n
    SET state = 'queued', attempts = n.attempts - (NOT l.has_begun)::int, crashed = n.crashed OR l.has_begun,
        queued_at = now(), wakes = 0, message_expected = false, wake_at = now()
    FROM locked l
    WHERE n.run_id = l.run_id AND n.node_key = l.node_key AND n.scope = l.scope
    RETURNING n.run_id, n.node_key, n.scope, n.kind, n.claim, n.organization_id, n.workspace_id, l.attempts, n.span_id,
              n.segment, n.lease_id, n.worker, n.started_at
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
                            data, trace_id, span_id)
    SELECT r.organization_id, r.workspace_id, r.user_id, r.id, s.node_key, s.scope, 'info', 'node.released',
           s.kind || ' node ' || s.node_key || ' given back by its worker', json_build_object('attempt', s.attempts),
           r.trace_id, coalesce(s.span_id, r.root_span_id)
    FROM released s
    JOIN runs r ON r.id = s.run_id
    WHERE s.kind <> 'end'
    -- log: written
),
attempt AS (
    INSERT INTO node_attempts (run_id, node_key, scope, claim, organization_id, workspace_id, attempt, outcome, span_id,
                               segment, lease_id, worker, started_at, ended_at)
    SELECT run_id, node_key, scope, claim, organization_id, workspace_id, attempts, 'released', span_id, segment, lease_id,
           worker, started_at, now()
    FROM released
)
-- log: answer
SELECT t.node_key, t.scope, t.kind, t.attempts, t.span_id AS node_span_id, t.started_at AS node_started_at, now() AS at,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode,
       r.node_count, r.edge_count, r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.trace_state, r.created_at,
       false AS is_crash, true AS is_retried
FROM released t
JOIN runs r ON r.id = t.run_id

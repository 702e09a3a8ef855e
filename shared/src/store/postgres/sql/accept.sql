-- Accepts a batch of runs: run, entry nodes and log row of each in one commit.
-- The parameters are those of `AcceptRuns` in accept.rs.
WITH wanted AS (
    SELECT * FROM {runs} r
),
-- named: begin
-- The drafts among what was asked for by its number. Each look-up is one by its key, whatever the tables held when the
-- statement was planned.
drafts AS MATERIALIZED (
    SELECT i.id AS run_id, d.id, d.version, d.node_count, d.edge_count, d.started_at
    FROM wanted i
    CROSS JOIN LATERAL (
        SELECT id, organization_id, workspace_id, name, version, node_count, edge_count, started_at
        FROM workflow_drafts
        WHERE id = i.version_id
        LIMIT 1
    ) d
    WHERE i.pinned
      AND d.organization_id = i.organization_id AND d.workspace_id = i.workspace_id AND d.name = i.workflow
),
-- Those that have no run yet. Whoever prunes them either leaves them, or has been first: then they are not here.
held AS MATERIALIZED (
    SELECT d.id
    FROM (SELECT DISTINCT id FROM drafts WHERE started_at IS NULL) u
    JOIN workflow_drafts d ON d.id = u.id
    ORDER BY d.id
    FOR NO KEY UPDATE OF d
),
-- named: end
-- A run is of the version that its caller planned it by. Unless it was asked for by its number, it must still be the
-- latest.
fresh AS (
    SELECT i.*, v.version, v.node_count, v.edge_count
    FROM wanted i
    JOIN workflows w ON w.organization_id = i.organization_id AND w.workspace_id = i.workspace_id
                    AND w.name = i.workflow AND w.archived_at IS NULL
    CROSS JOIN LATERAL (
        SELECT organization_id, workspace_id, name, version, node_count, edge_count
        FROM workflow_versions
        WHERE id = i.version_id
        LIMIT 1
    ) v
    WHERE (i.pinned OR w.latest_id = i.version_id)
      AND v.organization_id = i.organization_id AND v.workspace_id = i.workspace_id AND v.name = i.workflow
    -- named: begin
    UNION ALL
    SELECT i.*, d.version, d.node_count, d.edge_count
    FROM drafts d
    JOIN wanted i ON i.id = d.run_id
    JOIN workflows w ON w.organization_id = i.organization_id AND w.workspace_id = i.workspace_id
                    AND w.name = i.workflow AND w.archived_at IS NULL
    WHERE d.started_at IS NOT NULL OR d.id IN (SELECT id FROM held)
    -- named: end
),
accepted AS (
    INSERT INTO runs (id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count,
                      edge_count, state, step_mode, input, idempotency_key, idempotency_digest,
                      trace_id, publish_span_id, root_span_id, trace_flags, trace_state, max_nanos, max_tokens,
                      max_steps, on_exhausted, deadline_at, deadline_due_at)
    SELECT id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count,
           edge_count, 'queued', step_mode, input::json, idempotency_key, idempotency_digest,
           trace_id, publish_span_id, root_span_id, trace_flags, trace_state, max_nanos, max_tokens,
           max_steps, on_exhausted, d.deadline, d.deadline
    FROM fresh
    -- The one of them that there is, or the earlier one.
    CROSS JOIN LATERAL (SELECT least(deadline_at, now() + deadline_ms * interval '1 ms') AS deadline) d
    -- Two batches with the same keys wait for each other's in the same order.
    ORDER BY organization_id, workspace_id, idempotency_key, id
    ON CONFLICT DO NOTHING
    RETURNING id, organization_id, workspace_id, user_id, version_id, workflow, version, trace_id, created_at
),
-- named: begin
started AS (
    UPDATE workflow_drafts d
    SET started_at = now()
    FROM held h
    WHERE d.id = h.id AND h.id IN (SELECT version_id FROM accepted)
),
-- named: end
entries AS (
    INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, state, timeout_ms,
                           publish_span_id, queued_at, wake_at)
    SELECT a.id, e.node_key, e.scope, a.organization_id, a.workspace_id, e.kind, 'queued', e.timeout_ms,
           e.publish_span_id, now(), now() + {first_wake_ms} * interval '1 ms'
    FROM {entries} e
    JOIN accepted a ON a.id = e.run_id
    ORDER BY a.id, e.ord
),
logged AS (
    INSERT INTO event_logs (organization_id, workspace_id, user_id, run_id, level, event, message, trace_id, span_id)
    SELECT a.organization_id, a.workspace_id, a.user_id, a.id, 'info', 'run.accepted',
           'run of ' || a.workflow || ' version ' || a.version || ' accepted', a.trace_id, w.request_span_id
    FROM accepted a JOIN wanted w ON w.id = a.id
    ORDER BY w.ord
    -- log: written
)
-- log: answer
SELECT w.ord, f.id IS NOT NULL AS fresh, a.version, a.created_at,
       CASE WHEN f.id IS NULL THEN (
           SELECT x.archived_at IS NOT NULL
           FROM workflows x
           WHERE x.organization_id = w.organization_id AND x.workspace_id = w.workspace_id AND x.name = w.workflow
       ) END AS archived
FROM wanted w
LEFT JOIN fresh f ON f.id = w.id
LEFT JOIN accepted a ON a.id = w.id

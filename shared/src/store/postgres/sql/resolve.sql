-- Finds out which commits that flipped nothing are repetitions of ones whose reply was lost, and what those had
-- done. Lease and claim number stay on an ended row for this; attempts that did not end their row are on record.
-- Says the same as commit.sql.
--
-- The parameters are those of `ResolveCommits` in resolve.rs.
WITH mine AS MATERIALIZED (
    SELECT a.commit_ord AS ord, a.run_id, a.succeeds
    FROM {commits} a
    JOIN node_runs n USING (run_id, node_key, scope)
    WHERE CASE
              WHEN a.state IN ('retry', 'waiting', 'queued') THEN
                  EXISTS (SELECT 1 FROM node_attempts t
                          WHERE t.run_id = a.run_id AND t.node_key = a.node_key AND t.scope = a.scope
                            AND t.claim = a.claim AND t.lease_id = {lease}
                            AND t.outcome = CASE a.state WHEN 'queued' THEN 'released' ELSE a.state END)
              -- Two messages for a dead path may have one worker skip it twice: only one of them ended it.
              ELSE n.state = a.state AND n.lease_id = {lease}
                   AND CASE WHEN a.claim IS NULL THEN n.span_id = a.skip_token ELSE n.claim = a.claim END
          END
)
SELECT m.ord, 'flipped' AS what, r.cancel_requested_at IS NOT NULL AS finishing,
       NULL::text AS node_key, NULL::text AS scope, NULL::text AS node_state, NULL::int AS claim,
       NULL::text AS node_publish_span_id, NULL::text AS node_span_id,
       NULL::uuid AS id, NULL::text AS organization_id, NULL::text AS workspace_id, NULL::text AS user_id,
       NULL::uuid AS version_id, NULL::text AS workflow, NULL::int AS version, NULL::bool AS step_mode,
       NULL::int AS node_count, NULL::int AS edge_count, NULL::text AS trace_id, NULL::text AS publish_span_id,
       NULL::text AS root_span_id, NULL::smallint AS trace_flags, NULL::timestamptz AS created_at,
       NULL::timestamptz AS started_at, NULL::timestamptz AS ended_at, NULL::text AS state, NULL::int AS segment,
       NULL::timestamptz AS resumed_at, NULL::text AS resumed_from, NULL::text AS trace_state
FROM mine m
JOIN runs r ON r.id = m.run_id
UNION ALL
-- The publish span on a row is that of the commit which activated it: of two that delivered to a join, one finds its
-- own. A row that was retained is this lease's to go on with only if it still runs under the span that it was retained
-- for.
SELECT m.ord, 'activated', NULL, n.node_key, n.scope, n.state, n.claim, n.publish_span_id, n.span_id,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL
FROM mine m
JOIN {specs} w ON w.commit_ord = m.ord
JOIN node_runs n ON n.run_id = m.run_id AND n.node_key = w.node_key AND n.scope = w.scope
                AND n.publish_span_id = w.publish_span_id
WHERE n.state IN ('queued', 'skipping', 'cancelled')
   OR (n.state = 'running' AND n.lease_id = {lease} AND n.claim = 1 AND n.span_id = w.span_id)
UNION ALL
SELECT m.ord, 'ended', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode,
       r.node_count, r.edge_count, r.trace_id, r.publish_span_id, r.root_span_id, r.trace_flags, r.created_at,
       r.started_at, r.ended_at, r.state, r.segment, r.resumed_at, r.resumed_from,
       r.trace_state
FROM mine m
JOIN runs r ON r.id = m.run_id
WHERE m.succeeds AND r.state = 'succeeded'

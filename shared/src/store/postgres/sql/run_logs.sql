-- A page of a run's log; one row of nulls for a run without more. While the run is open, only rows of
-- transactions older than every open one are shown: an older row can then no longer appear. Open ones count in every
-- database of the server, so a long one that writes, anywhere, holds the tail of all open runs back.
-- $1 organization, $2 workspace, $3 run, $4 and $5 the last row seen, $6 rows.
SELECT l.id AS log_id, l.commit_xid::text AS commit_xid, l.ts, l.level, l.event, l.message, l.node_key, l.scope,
       l.data::text AS data, l.trace_id, l.span_id
FROM runs r
LEFT JOIN LATERAL (
    SELECT *
    FROM event_logs e
    WHERE e.run_id = r.id
      AND (e.commit_xid, e.id) > ($4::xid8, $5::bigint)
      AND (r.state NOT IN ('queued', 'running', 'suspended')
           OR e.commit_xid < pg_snapshot_xmin(pg_current_snapshot()))
    ORDER BY e.commit_xid, e.id
    LIMIT $6
) l ON true
WHERE r.organization_id = $1 AND r.workspace_id = $2 AND r.id = $3
ORDER BY l.commit_xid, l.id

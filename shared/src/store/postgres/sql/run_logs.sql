-- A page of a run's log; one row of nulls for a run without more. While the run is open, only rows of
-- transactions older than every open one are shown: an older row can then no longer appear. Open ones count in every
-- database of the server, so a long one that writes, anywhere, holds the tail of all open runs back.
-- Transaction ids say this of one cluster only. Rows of earlier epochs, from before a restore, come first and are all
-- there; a page goes through the epochs from that of the last row seen.
-- $1 organization, $2 workspace, $3 run, $4 and $5 the last row seen, $6 rows, $7 rows that are read for them at most,
-- $8 levels, $9 node or null, $10 from when on, or null. The last row that may be read is there whether it passes or
-- not: the next page goes on behind it.
SELECT l.id AS log_id, l.commit_xid::text AS commit_xid, l.ts, l.level, l.event, l.message, l.node_key, l.scope,
       l.data::text AS data, l.trace_id, l.span_id, l.matches
FROM runs r
LEFT JOIN LATERAL (
    SELECT *
    FROM (
        SELECT epoch.first_log_id, e.*,
               e.level = ANY($8::text[]) AND ($9::text IS NULL OR e.node_key = $9)
                   AND ($10::timestamptz IS NULL OR e.ts >= $10) AS matches,
               row_number() OVER (ORDER BY epoch.first_log_id, e.commit_xid, e.id) AS place
        FROM (
            SELECT first_log_id, lead(first_log_id) OVER (ORDER BY first_log_id) AS end_log_id FROM log_epochs
        ) epoch
        CROSS JOIN LATERAL (
            SELECT *
            FROM event_logs e
            WHERE e.run_id = r.id
              AND e.id >= epoch.first_log_id
              AND (epoch.end_log_id IS NULL OR e.id < epoch.end_log_id)
              AND (e.commit_xid, e.id) > (CASE WHEN $5::bigint >= epoch.first_log_id THEN $4::xid8 ELSE '0'::xid8 END,
                                          CASE WHEN $5::bigint >= epoch.first_log_id THEN $5::bigint ELSE 0 END)
              AND (epoch.end_log_id IS NOT NULL
                   OR r.state NOT IN ('queued', 'running', 'suspended')
                   OR e.commit_xid < pg_snapshot_xmin(pg_current_snapshot()))
            ORDER BY e.commit_xid, e.id
            LIMIT $7
        ) e
        WHERE epoch.end_log_id IS NULL OR epoch.end_log_id > $5
        ORDER BY epoch.first_log_id, e.commit_xid, e.id
        LIMIT $7
    ) f
    WHERE f.matches OR f.place = $7
    ORDER BY f.first_log_id, f.commit_xid, f.id
    LIMIT $6
) l ON true
WHERE r.organization_id = $1 AND r.workspace_id = $2 AND r.id = $3
ORDER BY l.first_log_id, l.commit_xid, l.id

-- A page of the workers, newest first. $1 and $2 when the last one seen had started and its lease, both null for the
-- first page; $3 rows, $4 how long those that are gone are shown (ms).
--
-- Of one that was declared dead, it is kept when that was. Its last heartbeat was before that by as long as it may be silent,
-- or by more where nobody was there to notice.
--
-- The index holds them by their state, so that each state is a range of it.
SELECT w.lease_id, w.host, w.pid, w.version,
       CASE WHEN w.state = 'live' AND w.seen_at <= now() - w.ttl_ms * interval '1 ms' THEN 'dead' ELSE w.state END
           AS status,
       w.slots, w.busy, w.started_at,
       CASE w.state WHEN 'dead' THEN greatest(w.started_at, w.seen_at - w.ttl_ms * interval '1 ms') ELSE w.seen_at END
           AS seen_at
FROM (VALUES ('live'), ('stopped'), ('dead')) s (state)
CROSS JOIN LATERAL (
    SELECT *
    FROM worker_leases l
    WHERE l.state = s.state
      AND l.started_at <= coalesce($1, 'infinity'::timestamptz)
      AND (l.started_at, l.lease_id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2::uuid, l.lease_id))
      AND l.seen_at > now() - $4::bigint * interval '1 ms'
    ORDER BY l.started_at DESC, l.lease_id DESC
    LIMIT $3
) w
ORDER BY w.started_at DESC, w.lease_id DESC
LIMIT $3

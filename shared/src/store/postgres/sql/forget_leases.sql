-- Deletes leases that ended long ago: no row is running under one of them, and one that were would be taken back as if
-- its lease were dead. $1 how long ago (ms).
DELETE FROM worker_leases
WHERE lease_id IN (
    SELECT lease_id FROM worker_leases
    WHERE state IN ('stopped', 'dead')
      AND started_at < now() - $1::bigint * interval '1 ms' AND seen_at < now() - $1::bigint * interval '1 ms'
    -- Enough for a fleet that restarts all the time: every process comes by every two seconds.
    LIMIT 100
    FOR UPDATE SKIP LOCKED
)

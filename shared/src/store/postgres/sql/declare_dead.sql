-- Declares leases dead that have missed their heartbeats. $1 whether to count the rows that each was running, which walks
-- past all that it ran since the oldest snapshot.
UPDATE worker_leases w
SET state = 'dead',
    seen_at = now(),
    held = CASE WHEN $1 THEN (SELECT count(*) FROM node_runs n WHERE n.lease_id = w.lease_id AND n.state = 'running') END
WHERE state = 'live' AND seen_at < now() - ttl_ms * interval '1 ms'

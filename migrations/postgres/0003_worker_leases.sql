-- One row a life of a worker process. The lease id is the fencing token.

CREATE TABLE worker_leases (
    lease_id   uuid        PRIMARY KEY,
    host       text        NOT NULL,
    pid        bigint      NOT NULL,
    version    text        NOT NULL,
    state      text        NOT NULL,           -- live, stopped, dead
    ttl_ms     bigint      NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

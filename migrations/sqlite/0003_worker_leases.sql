-- One row a life of a worker. The lease id is the fencing token.

CREATE TABLE worker_leases (
    lease_id   TEXT    PRIMARY KEY NOT NULL,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    version    TEXT    NOT NULL,
    state      TEXT    NOT NULL,           -- live, stopped, dead
    ttl_ms     INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) STRICT;

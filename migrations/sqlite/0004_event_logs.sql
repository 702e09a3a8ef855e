-- What happened, written in the commit of the state change that each row tells of. Insert-only.
--
-- There is one writer, so ids grow in the order of the commits and a follower needs nothing else.
-- AUTOINCREMENT, so that an id is never handed out twice, whatever is deleted.

CREATE TABLE event_logs (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    ts              INTEGER NOT NULL,
    organization_id TEXT    NOT NULL,
    workspace_id    TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    run_id          TEXT    NOT NULL,
    node_key        TEXT,
    scope           TEXT,
    level           TEXT    NOT NULL,
    event           TEXT    NOT NULL,
    message         TEXT    NOT NULL,
    data            TEXT    CHECK (json_valid(data)),
    trace_id        TEXT    NOT NULL,
    span_id         TEXT    NOT NULL
) STRICT;

CREATE INDEX event_logs_of_run ON event_logs (run_id, id);

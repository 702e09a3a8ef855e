-- What happened, written in the commit of the state change that each row tells of. Insert-only.
--
-- Sequence numbers are handed out before a commit, so a reader that follows ids alone would skip
-- rows that commit late. Rows are therefore ordered by their transaction first, and a follower is
-- shown only rows of transactions older than every one that is still open.

CREATE TABLE event_logs (
    id              bigint      GENERATED ALWAYS AS IDENTITY,
    commit_xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    ts              timestamptz NOT NULL DEFAULT now(),
    organization_id text        NOT NULL,
    workspace_id    text        NOT NULL,
    user_id         text        NOT NULL,
    run_id          uuid        NOT NULL,
    node_key        text,
    scope           text,
    level           text        NOT NULL,
    event           text        NOT NULL,
    message         text        NOT NULL,
    data            json,
    trace_id        text        NOT NULL,
    span_id         text        NOT NULL,
    PRIMARY KEY (run_id, commit_xid, id)
);

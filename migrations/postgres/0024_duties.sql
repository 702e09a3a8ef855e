-- What one process does for all, such as counting what is open: who has taken it on, and until when. A promise between
-- processes, and no lock: whoever does not renew it in time has lost it.

CREATE TABLE duties (
    name   text        PRIMARY KEY,
    holder uuid        NOT NULL,   -- one life of a process
    until  timestamptz NOT NULL
) WITH (fillfactor = 50);

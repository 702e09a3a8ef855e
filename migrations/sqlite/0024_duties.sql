-- What one process does for all, such as counting what is open: who has taken it on, and until when.

CREATE TABLE duties (
    name   TEXT    PRIMARY KEY NOT NULL,
    holder TEXT    NOT NULL,   -- one life of a process
    until  INTEGER NOT NULL
) STRICT;

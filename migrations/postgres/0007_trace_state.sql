-- What a caller's systems have added to the context of its trace, to be passed on.

ALTER TABLE runs ADD COLUMN trace_state text;

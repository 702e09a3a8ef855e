-- What a key may do, until when, and who made it. Keys that are there already may do everything, as they could before;
-- so may those that processes of the version before make.

ALTER TABLE api_keys
    ADD COLUMN scopes       text NOT NULL DEFAULT 'read run approve write admin',  -- words with a space between
    ADD COLUMN name         text,                -- null: nobody has named it
    ADD COLUMN created_by   text,                -- the user; null: a program made it at its start
    ADD COLUMN expires_at   timestamptz,         -- null: never
    ADD COLUMN revoked_at   timestamptz,         -- a revoked key stays, and is good for nothing
    ADD COLUMN last_used_at timestamptz;         -- noted once a minute at most

-- What a key may do, until when, and who made it. Keys that are there already may do everything, as they could before.

ALTER TABLE api_keys ADD COLUMN scopes       TEXT NOT NULL DEFAULT 'read run approve write admin';  -- words with a space between
ALTER TABLE api_keys ADD COLUMN name         TEXT;     -- null: nobody has named it
ALTER TABLE api_keys ADD COLUMN created_by   TEXT;     -- the user; null: a program made it at its start
ALTER TABLE api_keys ADD COLUMN expires_at   INTEGER;  -- null: never
ALTER TABLE api_keys ADD COLUMN revoked_at   INTEGER;  -- a revoked key stays, and is good for nothing
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;  -- noted once a minute at most
